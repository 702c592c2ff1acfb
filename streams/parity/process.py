"""Parity on Kafka: reads canonical topics and rows side by side, and tells what differs."""

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from featurestore.backfill import CanonicalMessage
from featurestore.catalogue import Catalogue
from schemas.errors import StateError
from schemas.forecasts import Parity, cloud_event_headers, encode_json
from schemas.metrics import PARITY_CHECKED, PARITY_MISMATCH
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, OPS_MODEL, OPS_PARITY
from streams.announcements import AnnouncementLog
from streams.backfill.topics import canonical_messages
from streams.follower import Follower
from streams.kafka import Outbox, consumer, read_topic, require_topics, to_message
from streams.logs import log_to_stderr
from streams.metrics_server import Metrics, MetricsServer
from streams.parity.checker import Checker, Difference, Verdict, difference
from streams.settings import Settings
from streams.stage import Message

LOGGER = logging.getLogger("foreshock.parity")
NAME = "parity"
SUMMARY_SECONDS = 30.0
_MESSAGES_AT_ONCE = 500
_LOOK_SECONDS = 0.25
_MAX_PENDING = 200_000
"""Events in open tiles above which topics that are ahead are not read."""
_MAX_WAITING = 5_000
"""Rows not recomputed yet above which no more are read."""
_NICENESS = 10
"""It must never take a core from a stage."""


class Tally(NamedTuple):
    """What one partition's rows came to."""

    checked: int = 0
    mismatched: int = 0
    last_ns: int = 0


MOST_MISMATCHES = 1_000


class Account:
    """Counts verdicts, and tells of them: as metrics, and on `ops.parity`."""

    def __init__(self, settings: Settings, metrics: Metrics, outbox: Outbox, share: float) -> None:
        self._settings = settings
        self._metrics = metrics
        self._outbox = outbox
        self._share = share
        self._told: dict[int, Tally] = {}
        self.tallies: dict[int, Tally] = {}
        self.mismatches: deque[Parity] = deque(maxlen=MOST_MISMATCHES)
        """The last of them; all are on the topic."""
        for partition in range(settings.partitions):
            metrics[PARITY_CHECKED].labels(str(partition))

    def poll(self) -> None:
        """Take in what Kafka acknowledged; raises DeliveryError."""
        self._outbox.poll()

    def take(self, verdicts: Iterable[Verdict]) -> None:
        """Count verdicts and publish those that are mismatches."""
        for verdict in verdicts:
            partition = verdict.partition
            checked, mismatched, last_ns = self.tallies.get(partition, Tally())
            last_ns = max(last_ns, verdict.row_time_ns)
            self.tallies[partition] = Tally(checked + 1, mismatched + bool(verdict.reason), last_ns)
            self._metrics[PARITY_CHECKED].labels(str(partition)).inc()
            if verdict.reason:
                self._metrics[PARITY_MISMATCH].labels(str(partition), verdict.reason).inc()
                self._tell_mismatch(verdict)

    def _tell_mismatch(self, verdict: Verdict) -> None:
        found = self._difference(verdict)
        record = Parity(
            kind="mismatch",
            partition=verdict.partition,
            row_time_ns=verdict.row_time_ns,
            share=self._share,
            row_id=verdict.row_id,
            offset=verdict.offset,
            reason=verdict.reason,
            values=found.values,
            instruments=found.instruments,
            columns=found.columns,
        )
        LOGGER.error("%s[%d]@%d: %s", FEATURE_ROW, verdict.partition, verdict.offset, verdict.reason)
        self.mismatches.append(record)
        self._send(record, f"{verdict.row_id}/{verdict.offset}")

    def _difference(self, verdict: Verdict) -> Difference:
        expected = verdict.recomputed
        if expected is None and verdict.first_offset >= 0:
            expected = self._row_at(verdict.partition, verdict.first_offset)
        if expected is None or verdict.offset < 0:
            return Difference(0, [], [])
        return difference(expected, self._row_at(verdict.partition, verdict.offset))

    def _row_at(self, partition: int, offset: int) -> bytes:
        for row in read_topic(self._settings, FEATURE_ROW, partitions=[partition], start={partition: offset}):
            return row.value or b""
        return b""

    def summarise(self) -> None:
        """Publish how far each partition is, where that is news."""
        for partition, tally in sorted(self.tallies.items()):
            if self._told.get(partition) == tally:
                continue
            self._told[partition] = tally
            checked, mismatched, last_ns = tally
            record = Parity(
                kind="summary",
                partition=partition,
                row_time_ns=last_ns,
                share=self._share,
                checked=checked,
                mismatched=mismatched,
            )
            self._send(record, f"{partition}@{last_ns}")

    def _send(self, record: Parity, event_id: str) -> None:
        headers = cloud_event_headers("parity", event_id, record.row_time_ns, str(record.partition))
        self._outbox.send(OPS_PARITY, encode_json(record), key=str(record.partition).encode(), headers=headers)


class ParityProcess:
    """Follows the logs from their beginning; for one thread."""

    def __init__(self, settings: Settings, catalogue: Catalogue, account: Account, share: float) -> None:
        self._account = account
        self._log = AnnouncementLog()
        self._sets = Follower(settings, OPS_MODEL)
        for message in self._sets.read():
            self._log.add(message)
        if not self._log.announced:
            raise StateError("no feature set is announced; run `foreshock features announce`")
        self._checker = Checker(settings.rules, catalogue, tuple(self._log.announced), share)
        self._checker.allow(0)
        self._consumer = consumer(settings, NAME)
        self._places = [
            TopicPartition(t, p, 0) for t in (*EVENT_TOPICS, FEATURE_ROW) for p in range(settings.partitions)
        ]
        self._assign()
        self._allowed_ns = 0
        self._held: set[tuple[str, int]] = set()

    def _assign(self) -> None:
        for place in self._places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=20.0)[0]
        self._consumer.assign(self._places)

    def run(self, stopping: threading.Event) -> None:
        """Check until told to stop; raises StateError where Kafka cannot be read."""
        look_at = summary_at = 0.0
        while not stopping.is_set():
            for message in self._consumer.consume(_MESSAGES_AT_ONCE, timeout=0.1):
                error = message.error()
                if error is None:
                    self._take(to_message(message))
                elif not error.retriable() and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise StateError(f"{message.topic()}: cannot be read: {error.str()}")
            self._account.poll()
            now = time.monotonic()
            if now >= look_at:
                look_at = now + _LOOK_SECONDS
                self._look()
            if now >= summary_at:
                summary_at = now + SUMMARY_SECONDS
                self._account.summarise()

    def close(self) -> None:
        """Say how far it came, and stop reading."""
        self._account.summarise()
        self._consumer.close()
        self._sets.close()

    def _take(self, message: Message) -> None:
        if message.topic == FEATURE_ROW:
            self._account.take(row_verdicts(self._checker, message))
        else:
            self._account.take(self._checker.apply(CanonicalMessage(*message[:3], message.headers, message.value)))

    def _look(self) -> None:
        """Go as far as rows are there: a set that begins before the last row was announced before it."""
        last_ns = self._checker.last_row_ns
        if last_ns > self._allowed_ns:
            for announced in filter(None, map(self._log.add, self._sets.read())):
                self._checker.announce(announced)
            self._allowed_ns = last_ns
            self._checker.allow(last_ns)
        self._account.take(self._checker.advance())
        self._hold()

    def _hold(self) -> None:
        """Read no more of what would only fill the memory."""
        wanted: set[tuple[str, int]] = set()
        if self._checker.pending_events > _MAX_PENDING:
            wanted = self._checker.ahead(self._allowed_ns)
        if self._checker.waiting > _MAX_WAITING:
            wanted |= {(place.topic, place.partition) for place in self._places if place.topic == FEATURE_ROW}
        for act, places in ((self._consumer.pause, wanted - self._held), (self._consumer.resume, self._held - wanted)):
            if places:
                act([TopicPartition(*place) for place in sorted(places)])
        self._held = wanted


def row_verdicts(checker: Checker, message: Message) -> list[Verdict]:
    """Return what a row message of the topic lets be compared."""
    row_id, row_time_ns = message.headers["row_id"].decode(), int(message.headers["row_time_ns"])
    return checker.row(message.partition, message.offset, row_id, row_time_ns, message.value or b"")


def run_parity(settings: Settings, share: float) -> None:
    """Check rows until SIGTERM or SIGINT; the work of `foreshock parity`."""
    log_to_stderr(settings)
    os.nice(_NICENESS)
    require_topics(settings, [*EVENT_TOPICS, FEATURE_ROW, OPS_MODEL, OPS_PARITY])
    catalogue = Catalogue.discover(settings.rules)
    metrics, outbox = Metrics(), Outbox(settings, NAME)
    metrics.tell_build(settings.rules.rules_id, catalogue.feature_set_id)
    server = MetricsServer(metrics, settings.metrics_port)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = ParityProcess(settings, catalogue, Account(settings, metrics, outbox, share), share)
    process.run(stopping)
    process.close()
    outbox.flush_acknowledged()
    server.close()


def check_once(settings: Settings, share: float = 1.0, said: Callable[[str], None] = lambda _: None) -> Account:
    """Check the rows that are on the topic now; what came of it is on `ops.parity` too.

    Rows that featurize has not written yet are not missed.
    """
    log = AnnouncementLog(read_topic(settings, OPS_MODEL))
    checker = Checker(settings.rules, Catalogue.discover(settings.rules), tuple(log.announced), share)
    outbox = Outbox(settings, NAME)
    account = Account(settings, Metrics(), outbox, share)
    for message in read_topic(settings, FEATURE_ROW):
        account.take(row_verdicts(checker, message))
    # A set that begins after the last row may not be read of yet.
    checker.allow(checker.last_row_ns)
    for count, canonical in enumerate(canonical_messages(settings), start=1):
        account.take(checker.apply(canonical))
        if count % 1_000 == 0:
            said(f"{sum(tally.checked for tally in account.tallies.values()):,} row messages checked")
    account.take(checker.advance())
    account.summarise()
    outbox.flush_acknowledged()
    return account
