"""Parity on Kafka: reads canonical topics and rows side by side, and tells what differs."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, TopicPartition

from featurestore.backfill import CanonicalMessage
from featurestore.catalogue import Catalogue
from schemas.errors import StateError
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, OPS_MODEL
from streams.announcements import AnnouncementLog
from streams.backfill.topics import canonical_messages
from streams.ends import Place, ends_of, known_end
from streams.follower import Follower
from streams.kafka import DEADLINE_SECONDS, Outbox, consumer, read_topic, to_message
from streams.logs import log_to_stderr
from streams.metrics_server import Metrics, MetricsServer
from streams.parity.account import Account
from streams.parity.checker import Checker, Verdict
from streams.settings import Settings
from streams.stage import Message
from streams.topic_setup import require_topics_of
from streams.watchdog import Pulse, Watchdog, exit_now

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
_PATIENCE = 5
"""Times `stall_seconds` before it counts as stuck: one closing of a long log takes a while with what cores are left."""


class ParityProcess:
    """Follows the logs from their beginning; for one thread."""

    def __init__(self, settings: Settings, catalogue: Catalogue, account: Account, share: float) -> None:
        self._account = account
        self._partitions = settings.partitions
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
        self._next: dict[Place, int] = {}
        self._assign()
        self._allowed_ns = 0
        self._held: set[Place] = set()
        self._stepped_at = time.monotonic()

    def _assign(self) -> None:
        for place in self._places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=DEADLINE_SECONDS)[0]
            self._next[place.topic, place.partition] = place.offset
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
            now = self._stepped_at = time.monotonic()
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
        self._next[message.topic, message.partition] = message.offset + 1
        self._stepped_at = time.monotonic()
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
        self._tell_lag()

    def _hold(self) -> None:
        """Read no more of what would only fill the memory."""
        wanted: set[Place] = set()
        if self._checker.pending_events > _MAX_PENDING:
            wanted = self._checker.ahead(self._allowed_ns)
        if self._checker.waiting > _MAX_WAITING:
            wanted |= {(place.topic, place.partition) for place in self._places if place.topic == FEATURE_ROW}
        for act, places in ((self._consumer.pause, wanted - self._held), (self._consumer.resume, self._held - wanted)):
            if places:
                act([TopicPartition(*place) for place in sorted(places)])
        self._held = wanted

    def _tell_lag(self) -> None:
        for partition in range(self._partitions):
            self._account.tell_behind(partition, self._checker.behind_ns(partition))
        for place, offset in self._next.items():
            end = known_end(self._consumer, place)
            if end is not None:
                self._account.tell_lag(place, offset, end)

    # For the watchdog's thread.

    def positions(self) -> dict[Place, int]:
        """Return the offsets that must move while the log grows: those that are not held."""
        held = self._held
        return {place: offset for place, offset in self._next.copy().items() if place not in held}

    def ends(self) -> Mapping[Place, int] | None:
        """Return the next offsets of the logs, None where the broker does not answer."""
        return ends_of(self._consumer, self.positions())

    def idle_seconds(self) -> float:
        """Return how long ago the last message or look was done."""
        return time.monotonic() - self._stepped_at


def watchdog(process: ParityProcess, settings: Settings) -> Watchdog:
    """Return what ends a process that stands still."""
    # Nobody takes its partitions over: a process that was stopped for a while goes on where it was.
    never = Pulse(math.inf)
    stall_seconds = _PATIENCE * settings.stall_seconds
    return Watchdog(never, stall_seconds, process.positions, process.ends, process.idle_seconds, lambda: 0.0)


def row_verdicts(checker: Checker, message: Message) -> list[Verdict]:
    """Return what a row message of the topic lets be compared."""
    row_id, row_time_ns = message.headers["row_id"].decode(), int(message.headers["row_time_ns"])
    return checker.row(message.partition, message.offset, row_id, row_time_ns, message.value or b"")


def run_parity(settings: Settings, share: float) -> None:
    """Check rows until SIGTERM or SIGINT; the work of `foreshock parity`."""
    log_to_stderr(settings, "parity")
    os.nice(_NICENESS)
    require_topics_of(settings, NAME)
    catalogue = Catalogue.discover(settings.rules)
    metrics, outbox = Metrics(NAME), Outbox(settings, NAME)
    metrics.tell_live(live=settings.heartbeat_writer == "ingest")
    metrics.tell_build(settings.rules.rules_id, catalogue.feature_set_id)
    server = MetricsServer(metrics, settings.metrics_port, settings.metrics_address)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = ParityProcess(settings, catalogue, Account(settings, metrics, outbox, share), share)
    watching = watchdog(process, settings)
    watching.start()
    try:
        process.run(stopping)
    except Exception as error:  # noqa: BLE001 - whatever it is, it starts again from the beginning of the logs
        exit_now(1, "parity failed", error)
    watching.stop()
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
