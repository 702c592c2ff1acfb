"""Ingest on Kafka: raw topics in batches to canonical topics, in one process of any number.

The order that makes a kill at any moment harmless: outputs acknowledged by Kafka, then the
checkpoint of their raw partition (its chunks, then its manifest), then its offset committed.
Reading resumes from the checkpoint, never from the commit. A predecessor that still writes does no
harm: what it writes bears the same stamps.
"""

import gc
import logging
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as ConfluentMessage

from schemas import StateError
from schemas.metrics import (
    CHECKPOINT_BYTES,
    CHECKPOINT_DURATION,
    INGEST_DELAY,
    JOINING,
    REBALANCES,
    STATE_RESTORE_DURATION,
)
from schemas.topics import INGEST_CHECKPOINT, RAW_TOPICS
from streams.ends import ends_of, known_end
from streams.ingest.checkpoints import Found, Owner, Place, Write, last_checkpoints
from streams.ingest.fast import FastNormaliser, RawRun
from streams.ingest.meters import Meters
from streams.ingest.normaliser import HEARTBEAT, STAGE
from streams.ingest.state import NormaliserState
from streams.kafka import DEADLINE_SECONDS, NOT_ALLOWED, DeliveryError, Outbox, bounds, consumer, read_topic
from streams.logs import log_to_stderr
from streams.metrics_server import Metrics, MetricsServer
from streams.retrying import patiently
from streams.settings import Settings
from streams.topic_setup import require_topics_of
from streams.watchdog import Pulse, Watchdog, exit_now

LOGGER = logging.getLogger("foreshock.ingest")
HANDOVER_SECONDS = 3.0
"""Bound on the last checkpoints of partitions that are taken from us."""
_FRAMES_AT_ONCE = 8_000
_WAIT_SECONDS = 0.004
"""How long to gather frames: a heartbeat that completes a row waits for it, on its way out and back."""
_MANY_FRAMES = 1_000
"""Where more than so many frames of a raw partition are waiting, ingest is catching up with it."""
_CATCHING_UP_SECONDS = 0.2
"""So long are frames gathered then, and so much longer may a micro-batch stay unfilled and progress unsaid."""
_OUTPUT_LIMIT = 20_000
"""Outputs under way before reading waits for Kafka."""
_REREADS_BEFORE_A_HOLE = 3
_METER_SECONDS = 0.5
_OBJECTS_BETWEEN_COLLECTIONS = 100_000
_QUEUE_KBYTES = 32 << 10
_FETCH_BYTES = 16 << 10
"""What a fetch waits for, up to `fetch_wait_ms`: answered at the first record, 2,000 a second kept a core of the
broker busy with fetches of one record each."""


class _Saving:
    """A checkpoint under way: `number` is the record that Kafka has to acknowledge next."""

    def __init__(self, place: Place, state: NormaliserState, owner: Owner, number: int) -> None:
        self.place = place
        self.offset = state.next_offset
        value = state.encode()
        self.bytes = len(value)
        self.records = owner.generation(value)
        self.ahead = [part for part in (self.records.chunks, self.records.manifest) if part]
        self.number = number
        self.started = time.monotonic()


class _Delay:
    """Measures the way of one batch at a time, from frames read to all of their events acknowledged."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since: float | None = None
        self._last: int | None = None
        """The number of its last output, None while it is not sent."""

    def begin(self) -> None:
        """Frames were read."""
        if self._since is None:
            self._since = time.monotonic()

    def sent(self, outbox: Outbox) -> None:
        """All that was read by now has been sent."""
        if self._since is not None and self._last is None:
            self._last = outbox.sequence

    def settle(self, outbox: Outbox) -> None:
        """Take in what Kafka has acknowledged."""
        if self._since is not None and self._last is not None and self._last <= outbox.settled:
            self._metrics[INGEST_DELAY].observe(time.monotonic() - self._since)
            self._since = self._last = None


class Ingest:
    """One process of the consumer group `ingest`; for one thread.

    `live`: this group is the declared writer of heartbeats on the raw topics, by its clock.
    """

    def __init__(self, settings: Settings, metrics: Metrics, *, live: bool = False) -> None:
        self._settings = settings
        self._rules = settings.rules
        self._metrics = metrics
        self._meters = Meters(metrics)
        member = f"{STAGE}-{settings.worker}" if settings.worker >= 0 else None
        overrides = {"queued.max.messages.kbytes": _QUEUE_KBYTES, "fetch.min.bytes": _FETCH_BYTES}
        self._consumer = consumer(settings, STAGE, instance=member, overrides=overrides)
        self._outbox = Outbox(settings, member or STAGE)
        self._normalisers: dict[Place, FastNormaliser] = {}
        self._owners: dict[Place, Owner] = {}
        self._saving: dict[Place, _Saving] = {}
        self._saved: dict[Place, int] = {}
        self._rereads: dict[tuple[Place, int, int], int] = {}
        self._reread: set[Place] = set()
        self._behind: set[Place] = set()
        self._live = live
        self._beaten_ns = 0
        self._batch_seconds = max(settings.batch_ms, 1.0) / 1e3
        self._flush_at = self._meter_at = 0.0
        self._checkpoint_at = time.monotonic() + settings.checkpoint_seconds
        self._stepped_at = time.monotonic()
        self._joining_since: float | None = time.monotonic()
        self._delay = _Delay(metrics)
        metrics[JOINING].labels(STAGE).set_function(self.joining_seconds)

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set, then save and leave the group.

        Raises DeliveryError when Kafka did not take an output, StateError where a checkpoint does
        not fit: both must end the process.
        """
        self.join()
        while not stopping.is_set():
            self.step()
        self.leave()

    def join(self) -> None:
        """Ask the group for partitions; the steps that follow take them up."""
        self._consumer.subscribe(
            list(RAW_TOPICS), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def leave(self) -> None:
        """Save and leave the group."""
        self._hand_over(self._normalisers)
        self._consumer.close()
        self._outbox.flush_acknowledged()

    def step(self) -> None:
        """Read and process one batch of frames."""
        wait = _CATCHING_UP_SECONDS if self._behind else min(_WAIT_SECONDS, self._batch_seconds)
        messages = self._consumer.consume(_FRAMES_AT_ONCE, timeout=wait)
        if messages:
            self._delay.begin()
        self._take_all(messages)
        self._reread.clear()
        now = self._stepped_at = time.monotonic()
        # Where more is waiting to be read, what fills the micro-batches is already there.
        self._behind = {place for place in self._normalisers if self._lag(place) > _MANY_FRAMES}
        patience = _CATCHING_UP_SECONDS if self._behind else 0.0
        everything = now >= self._flush_at + patience
        self._send(everything=everything)
        if everything:
            self._delay.sent(self._outbox)
        if self._live:
            self._beat(time.time_ns())
        self._outbox.poll()
        self._settle()
        if now >= self._checkpoint_at:
            self._checkpoint_at = now + self._settings.checkpoint_seconds
            self._save(self._normalisers)
        if now >= self._meter_at:
            self._meter_at = now + _METER_SECONDS
            self._report(self._normalisers)
        self._wait_for_room()

    # Records.

    def _take_all(self, messages: Iterable[ConfluentMessage]) -> None:
        found: dict[Place, list[ConfluentMessage]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._failed(error)
            else:
                found.setdefault((str(message.topic()), _number(message.partition())), []).append(message)
        for place, run in found.items():
            normaliser = self._normalisers.get(place)
            if normaliser is not None:
                self._take_run(place, normaliser, run)

    def _take_run(self, place: Place, normaliser: FastNormaliser, run: list[ConfluentMessage]) -> None:
        """Take the records of one raw partition: at once where they follow on what was taken before."""
        offsets = [_number(message.offset()) for message in run]
        expected = normaliser.next_offset
        if place not in self._reread and offsets == list(range(expected, expected + len(run))):
            values: Any = [message.value() for message in run]
            headers: Any = [message.headers() or [] for message in run]
            return normaliser.feed_run(RawRun(offsets, values, headers, lambda index: cast("Any", run[index].key())))
        for offset, message in zip(offsets, run, strict=True):
            self._take(place, normaliser, offset, message)
        return None

    def _take(self, place: Place, normaliser: FastNormaliser, offset: int, message: ConfluentMessage) -> None:
        if place in self._reread or offset < normaliser.next_offset:
            return None
        if offset > normaliser.next_offset and not self._is_hole(place, normaliser.next_offset, offset):
            return None
        headers: Any = message.headers() or []
        key: Any = message.key()
        value: Any = message.value()
        return normaliser.feed(offset, key, value, headers)

    def _failed(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in NOT_ALLOWED:
            raise StateError(f"ingest cannot read any more: {error.str()}")
        LOGGER.warning("reading: %s", error.str())

    def _is_hole(self, place: Place, expected: int, offset: int) -> bool:
        """Say whether the log has no record from `expected` to `offset`.

        A batch that spans a rebalance may begin with what was fetched before it, so a jump is first
        read again; only one that comes back is one of the log.
        """
        jump = (place, expected, offset)
        self._rereads[jump] = self._rereads.get(jump, 0) + 1
        if self._rereads[jump] > _REREADS_BEFORE_A_HOLE:
            LOGGER.warning("%s[%d]: the log has no offsets %d to %d", *place, expected, offset - 1)
            del self._rereads[jump]
            return True
        self._reread.add(place)
        self._consumer.seek(TopicPartition(*place, expected))
        return False

    def _send(self, *, everything: bool) -> None:
        """Send what is complete, or all there is; where rows may wait for progress, all that stands before it."""
        if everything:
            self._flush_at = time.monotonic() + self._batch_seconds
        for place, normaliser in self._normalisers.items():
            flush = everything or (normaliser.progress_is_due and place not in self._behind)
            for output in normaliser.flush() if flush else normaliser.ready():
                self._outbox.emit(output, normaliser.receive_time_ns)

    def _beat(self, now_ns: int) -> None:
        """Write the heartbeat of the last border + allowed lateness, once."""
        row_ns, lateness_ns = self._rules.row_interval_ns, self._rules.allowed_lateness_ns
        due_ns = (now_ns - lateness_ns) // row_ns * row_ns + lateness_ns
        if due_ns <= self._beaten_ns:
            return
        self._beaten_ns = due_ns
        headers = [("source", STAGE.encode()), ("format", HEARTBEAT), ("receive_time_ns", b"%d" % due_ns)]
        for topic, partition in self._normalisers:
            self._outbox.send(topic, b"", headers=headers, partition=partition)

    def _wait_for_room(self) -> None:
        give_up = time.monotonic() + self._settings.delivery_timeout_seconds
        while self._outbox.pending > _OUTPUT_LIMIT:
            time.sleep(0.002)
            self._outbox.poll()
            self._stepped_at = time.monotonic()
            if self._stepped_at > give_up:
                raise DeliveryError(f"{self._outbox.pending} records not acknowledged in time")

    # Checkpoints.

    def _save(self, places: Iterable[Place]) -> None:
        """Begin the checkpoints of `places` as of what has been fed."""
        self._send(everything=True)
        for place in places:
            normaliser = self._normalisers[place]
            if place not in self._saving and self._saved.get(place) != normaliser.next_offset:
                self._saving[place] = _Saving(place, normaliser.state(), self._owners[place], self._outbox.sequence)

    def _settle(self) -> None:
        """Take the checkpoints under way one step on where Kafka has acknowledged the last one."""
        self._delay.settle(self._outbox)
        if not self._saving:
            return
        settled = self._outbox.settled
        committable = []
        for saving in [saving for saving in self._saving.values() if saving.number <= settled]:
            if saving.ahead:
                saving.number = self._write(saving.ahead.pop(0))
            else:
                committable.append(TopicPartition(*saving.place, saving.offset))
                self._finish(saving)
        if committable:
            self._commit(committable)

    def _write(self, writes: Iterable[Write]) -> int:
        """Send records of checkpoints and return the number of the last."""
        number = self._outbox.sequence
        for key, value in writes:
            number = self._outbox.send(INGEST_CHECKPOINT, value, key=key)
        return number

    def _finish(self, saving: _Saving) -> None:
        del self._saving[saving.place]
        self._write(saving.records.stale)
        self._saved[saving.place] = saving.offset
        labels = (STAGE, "/".join(map(str, saving.place)))
        self._metrics[CHECKPOINT_BYTES].labels(*labels).set(saving.bytes)
        self._metrics[CHECKPOINT_DURATION].labels(STAGE).observe(time.monotonic() - saving.started)

    def _commit(self, offsets: list[TopicPartition]) -> None:
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            LOGGER.info("offsets not committed, lag may look larger than it is: %s", error)

    def _hand_over(self, places: Iterable[Place]) -> None:
        """Save `places` in bounded time, and forget them."""
        places = list(places)
        give_up = time.monotonic() + HANDOVER_SECONDS
        self._finish_saving(give_up)
        self._save(places)
        self._finish_saving(give_up)
        self._drop(places)

    def _finish_saving(self, give_up: float) -> None:
        while self._saving and time.monotonic() < give_up:
            self._outbox.poll()
            self._settle()
            time.sleep(0.002)

    def _drop(self, places: Iterable[Place]) -> None:
        places = list(places)
        self._report(places)
        for place in places:
            for known in (self._normalisers, self._owners, self._saving, self._saved):
                known.pop(place, None)
            self._meters.forget(*place)
        self._rereads.clear()

    # Assignment; called within `consume`.

    def _assigned(self, reader: Consumer, partitions: list[TopicPartition]) -> None:
        saved = patiently(self._checkpoints, DEADLINE_SECONDS) if partitions else {}
        for partition in partitions:
            place = (partition.topic, partition.partition)
            low, high = bounds(reader, *place)
            found = saved.get(place)
            self._owners[place] = Owner(place, uuid.uuid4().hex, found)
            state = NormaliserState.decode(found.blob) if found and found.blob else None
            normaliser = self._restored(place, state, low, high)
            self._normalisers[place] = normaliser
            partition.offset = normaliser.next_offset
        reader.assign(partitions)
        self._metrics[REBALANCES].labels(STAGE).inc()
        self._metrics[STATE_RESTORE_DURATION].labels(STAGE).observe(self.joining_seconds())
        self._joining_since = None
        LOGGER.info("assigned %s", [f"{p.topic}[{p.partition}]@{p.offset}" for p in partitions])

    def _restored(self, place: Place, state: NormaliserState | None, low: int, high: int) -> FastNormaliser:
        """Return a Normaliser in the state of the checkpoint, or at the log's beginning."""
        normaliser = FastNormaliser(*place, self._rules, self._settings.batch_events)
        if state is None:
            fresh = normaliser.state()
            fresh.next_offset = low
            normaliser.restore(fresh)
            return normaliser
        if not low <= state.next_offset <= high:
            topic, partition = place
            raise StateError(
                f"{topic}[{partition}]: the checkpoint resumes at {state.next_offset}, the topic holds {low} to "
                f"{high}; it was deleted or kept too short: delete {INGEST_CHECKPOINT} and all inner topics"
            )
        normaliser.restore(state)
        self._saved[place] = state.next_offset
        return normaliser

    def _checkpoints(self) -> dict[Place, Found]:
        """Return the last checkpoint of every raw partition."""
        return last_checkpoints((record.key, record.value) for record in read_topic(self._settings, INGEST_CHECKPOINT))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._joining_since = time.monotonic()
        self._hand_over(place for p in partitions if (place := (p.topic, p.partition)) in self._normalisers)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget partitions that others have by now."""
        self._joining_since = time.monotonic()
        self._drop(place for p in partitions if (place := (p.topic, p.partition)) in self._normalisers)

    # What others may look at.

    def _report(self, places: Iterable[Place]) -> None:
        for place in places:
            self._meters.update(*place, self._normalisers[place], known_end(self._consumer, place))

    def _lag(self, place: Place) -> int:
        """Return how many records are known to wait."""
        return (known_end(self._consumer, place) or 0) - self._normalisers[place].next_offset

    def positions(self) -> dict[Place, int]:
        """Return the next offset of each raw partition; for the watchdog's thread."""
        return {place: normaliser.next_offset for place, normaliser in list(self._normalisers.items())}

    def ends(self) -> Mapping[Place, int] | None:
        """Return the next offsets of the logs, None where the broker does not answer; for the watchdog."""
        return ends_of(self._consumer, list(self._normalisers))

    def idle_seconds(self) -> float:
        """Return how long ago the last batch was processed; for the watchdog."""
        return time.monotonic() - self._stepped_at

    def joining_seconds(self) -> float:
        """Return for how long the group has owed us an assignment; for the watchdog."""
        since = self._joining_since
        return 0.0 if since is None else time.monotonic() - since


def run_ingest(settings: Settings, *, live: bool = False) -> None:
    """Run one process of ingest until SIGTERM or SIGINT; the work of `foreshock ingest`.

    Raises StateError where topics are missing or a checkpoint does not fit, DeliveryError where
    Kafka did not take an output. Any other end is with a code that is not 0.
    """
    log_to_stderr(settings, STAGE)
    require_topics_of(settings, STAGE)
    metrics = Metrics(STAGE)
    metrics.tell_build(settings.rules.rules_id)
    metrics.tell_live(live=live)
    server = MetricsServer(metrics, settings.metrics_port, settings.metrics_address)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    ingest = Ingest(settings, metrics, live=live)
    # A read of thousands of frames is as many lists of headers: collecting among them, which finds no
    # garbage, took half of the time of reading.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    pulse = Pulse(settings.session_timeout_seconds)
    watchdog = Watchdog(
        pulse, settings.stall_seconds, ingest.positions, ingest.ends, ingest.idle_seconds, ingest.joining_seconds
    )
    watchdog.start()
    try:
        ingest.run(stopping)
    except Exception as error:  # noqa: BLE001 - whatever it is, a restart from the checkpoint is safe
        exit_now(1, "ingest failed", error)
    watchdog.stop()
    server.close()


def _number(value: int | None) -> int:
    return -1 if value is None else value
