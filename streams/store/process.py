"""The store's process: one consumer, one buffer and table for each topic.

It resumes from the tables alone. The offsets that it commits to its group serve lag monitoring.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as ConfluentMessage

from featurestore.backfill import CanonicalMessage
from featurestore.store.intake import INTAKES
from featurestore.store.location import Store
from featurestore.store.tables import TABLE_OF
from featurestore.store.writing import TableWriter
from schemas import StateError
from schemas.errors import DecodeError
from schemas.metrics import DEAD_LETTERS, JOINING, REBALANCES, STORE_COMMIT_DURATION, STORE_REPEATS, STORE_ROWS
from streams.dead_letters import dead_letter
from streams.ends import Place, ends_of, known_end
from streams.kafka import DEADLINE_SECONDS, NOT_ALLOWED, Outbox, consumer, to_message
from streams.lag import Lag
from streams.logs import log_to_stderr
from streams.metrics_server import Metrics, MetricsServer
from streams.settings import Settings
from streams.stage import Message
from streams.store.buffer import TopicBuffer
from streams.topic_setup import require_topics_of
from streams.watchdog import Pulse, Watchdog, exit_now

LOGGER = logging.getLogger("foreshock.store")
STAGE = "store"
TOPICS = tuple(INTAKES)
_MESSAGES_AT_ONCE = 500
_WAIT_SECONDS = 0.1
_METER_SECONDS = 0.5
_QUEUE_KBYTES = 32 << 10


class StoreProcess:
    """One process of the consumer group `store`; for one thread."""

    def __init__(self, settings: Settings, metrics: Metrics, store: Store) -> None:
        self._settings = settings
        self._metrics = metrics
        self._lag = Lag(metrics)
        metrics[JOINING].labels(STAGE).set_function(self.joining_seconds)
        member = f"{STAGE}-{settings.worker}" if settings.worker >= 0 else None
        self._consumer = consumer(
            settings, STAGE, instance=member, overrides={"queued.max.messages.kbytes": _QUEUE_KBYTES}
        )
        self._outbox = Outbox(settings, member or STAGE)
        self._buffers = {
            topic: TopicBuffer(topic, TableWriter(store, table), settings.rules) for topic, table in TABLE_OF.items()
        }
        self._again: set[Place] = set()
        self._meter_at = 0.0
        self._commit_at = time.monotonic() + settings.store_commit_seconds
        self._stepped_at = time.monotonic()
        self._joining_since: float | None = time.monotonic()

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set, then commit and leave the group.

        Raises StateError where a table is not as this process left it, or cannot be written: both
        must end the process.
        """
        self._consumer.subscribe(list(TOPICS), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        while not stopping.is_set():
            self.step()
        self._commit(TOPICS, all_offsets=True)
        self._consumer.close()

    def step(self) -> None:
        """Read one batch of messages, and commit what is due."""
        self._again.clear()
        for message in self._consumer.consume(_MESSAGES_AT_ONCE, timeout=_WAIT_SECONDS):
            self._take(message)
        now = self._stepped_at = time.monotonic()
        full = [topic for topic, buffer in self._buffers.items() if buffer.rows >= self._settings.store_commit_rows]
        if now >= self._commit_at:
            self._commit_at = now + self._settings.store_commit_seconds
            self._commit(TOPICS)
        elif full:
            self._commit(full)
        if now >= self._meter_at:
            self._meter_at = now + _METER_SECONDS
            self._report()

    def _take(self, received: ConfluentMessage) -> None:
        error = received.error()
        if error is not None:
            if error.fatal() or error.code() in NOT_ALLOWED:
                raise StateError(f"the store cannot read any more: {error.str()}")
            LOGGER.warning("reading: %s", error.str())
            return
        message = to_message(received)
        place = (message.topic, message.partition)
        if place in self._again:
            return
        buffer = self._buffers[message.topic]
        again = buffer.expects(message.partition, message.offset)
        if again is not None:
            self._again.add(place)
            self._consumer.seek(TopicPartition(*place, again))
            return
        self._put(buffer, message)

    def _put(self, buffer: TopicBuffer, message: Message) -> None:
        try:
            buffer.put(
                CanonicalMessage(message.topic, message.partition, message.offset, message.headers, message.value)
            )
        except DecodeError as problem:
            self._outbox.emit(dead_letter(STAGE, message, problem))
            self._metrics[DEAD_LETTERS].labels(STAGE, "decode").inc()

    def _commit(self, topics: Iterable[str], *, all_offsets: bool = False) -> None:
        """Write what waits to the tables; dead letters are with Kafka before their offsets are passed."""
        self._outbox.flush_acknowledged()
        committed = []
        for topic in topics:
            buffer = self._buffers[topic]
            if not buffer.is_due(all_offsets=all_offsets):
                continue
            started = time.monotonic()
            appended = buffer.commit(all_offsets=all_offsets)
            table = TABLE_OF[topic].name
            self._metrics[STORE_COMMIT_DURATION].labels(table).observe(time.monotonic() - started)
            self._metrics[STORE_ROWS].labels(table).inc(appended.rows)
            self._metrics[STORE_REPEATS].labels(table).inc(appended.repeats)
            committed += [TopicPartition(topic, p, offset) for p, offset in buffer.committed().items()]
            self._stepped_at = time.monotonic()
        if committed:
            try:
                self._consumer.commit(offsets=committed, asynchronous=True)
            except KafkaException as error:
                LOGGER.info("offsets not committed, lag may look larger than it is: %s", error)

    # Assignment; called within `consume`.

    def _assigned(self, reader: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            buffer = self._buffers[partition.topic]
            low, high = reader.get_watermark_offsets(partition, timeout=DEADLINE_SECONDS)
            held = buffer.resume(partition.partition)
            partition.offset = low if held is None else held
            if not low <= partition.offset <= high:
                raise StateError(
                    f"{partition.topic}[{partition.partition}]: the table goes to offset {held}, the topic holds {low} "
                    f"to {high}; it was deleted or kept too short: set FORESHOCK_STORE_URL to a new place"
                )
            buffer.assign(partition.partition, partition.offset)
        reader.assign(partitions)
        self._metrics[REBALANCES].labels(STAGE).inc()
        self._joining_since = None
        LOGGER.info("assigned %s", [f"{p.topic}[{p.partition}]@{p.offset}" for p in partitions])

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._joining_since = time.monotonic()
        self._commit({partition.topic for partition in partitions}, all_offsets=True)
        self._drop(partitions)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget partitions that others have by now: the tables would refuse what we have of them."""
        self._joining_since = time.monotonic()
        self._drop(partitions)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._buffers[partition.topic].drop([partition.partition])
            self._lag.forget((partition.topic, partition.partition))

    # What others may look at.

    def _report(self) -> None:
        for place, offset in self.positions().items():
            end = known_end(self._consumer, place)
            if end is not None:
                self._lag.tell(place, offset, end)

    def positions(self) -> dict[Place, int]:
        """Return the next offset of each partition that is read; for the watchdog's thread."""
        return {
            (topic, partition): offset
            for topic, buffer in self._buffers.items()
            for partition, offset in buffer.positions().items()
        }

    def ends(self) -> Mapping[Place, int] | None:
        """Return the next offsets of the logs, None where the broker does not answer; for the watchdog."""
        return ends_of(self._consumer, self.positions())

    def idle_seconds(self) -> float:
        """Return how long ago the last batch or commit was done; for the watchdog."""
        return time.monotonic() - self._stepped_at

    def joining_seconds(self) -> float:
        """Return for how long the group has owed us an assignment; for the watchdog."""
        since = self._joining_since
        return 0.0 if since is None else time.monotonic() - since


def run_store(settings: Settings) -> None:
    """Run the store's process until SIGTERM or SIGINT; the work of `foreshock store run`.

    Raises StateError where topics are missing. Any other end is with a code that is not 0.
    """
    log_to_stderr(settings, "store")
    require_topics_of(settings, STAGE)
    metrics = Metrics(STAGE)
    metrics.tell_build(settings.rules.rules_id)
    metrics.tell_live(live=settings.heartbeat_writer == "ingest")
    server = MetricsServer(metrics, settings.metrics_port, settings.metrics_address)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = StoreProcess(settings, metrics, Store(settings.store_url, os.environ))
    watchdog = Watchdog(
        Pulse(settings.session_timeout_seconds),
        settings.stall_seconds,
        process.positions,
        process.ends,
        process.idle_seconds,
        process.joining_seconds,
    )
    watchdog.start()
    try:
        process.run(stopping)
    except Exception as error:  # noqa: BLE001 - whatever it is, a restart from the tables is safe
        exit_now(1, "store failed", error)
    watchdog.stop()
    server.close()
