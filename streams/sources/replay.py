"""Put raw messages on the raw topics, with the heartbeats that make their silences data.

Replay is the declared heartbeat writer of the topics that it fills (DESIGN 4.1), in capture time.
What it writes, and in which order, follows from the messages and the rules alone; the speed decides
only when.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Protocol

import msgspec
from confluent_kafka import KafkaException

from schemas import ForeshockError, Rules
from schemas.instruments import partition_of_key
from streams.sources import HEARTBEAT, RawMessage

DEADLINE_SECONDS = 120.0
"""How long to wait for room in the producer's queue, and for the last acknowledgements: a producer takes a minute to
notice that its connection leads nowhere any more."""
_REPORT_SECONDS = 0.1
_SHORTEST_SLEEP_SECONDS = 0.001

Placed = tuple[str, int, RawMessage]
"""Topic, partition and message."""


def with_heartbeats(messages: Iterable[RawMessage], rules: Rules) -> Iterator[Placed]:
    """Yield `messages` with their topics and partitions, and heartbeats in each raw partition.

    Heartbeats come in rounds, one record in each partition of each raw topic, at each row border +
    allowed lateness: a heartbeat at such a time moves the watermark of a silent partition exactly
    onto the border. A message at the time of a round comes before it.

    * The first round is the last one not after the first message: all raw partitions then start at
      one border, behind which nothing of the first seconds is lost.
    * A silence of up to `rules.listing_ns`, in which rows are still written, has all its rounds.
    * A longer one parts two runs. The first ends like the last run of all: its rounds go on until
      every venue is idle and the watermark is past all that was sent (see `quiet_ns`). The next
      begins like the first, so that a year between two captures costs as much as 20 s.
    """
    rounds = _Rounds(rules)
    greatest = -1
    for message in messages:
        now = max(greatest, message.receive_time_ns)
        if greatest < 0:
            rounds.begin(now)
        elif now - greatest > rules.listing_ns + quiet_ns(rules):
            yield from rounds.until(greatest + quiet_ns(rules) + rules.row_interval_ns)
            rounds.begin(now)
        yield from rounds.until(now)
        yield message.topic, _partition(message, rules), message
        greatest = now
    if greatest >= 0:
        yield from rounds.until(greatest + quiet_ns(rules) + rules.row_interval_ns)


def quiet_ns(rules: Rules) -> int:
    """Return for how long heartbeats go on after the last message of a run, in nanoseconds.

    After the idle timeout no venue holds the watermark, so the last round puts it on a border past
    every event that was not more than idle timeout + greatest venue lag ahead of its receive time.
    """
    return rules.idle_timeout_ns + rules.max_venue_lag_ns + rules.allowed_lateness_ns


class _Rounds:
    """Where the next round of heartbeats is due."""

    def __init__(self, rules: Rules) -> None:
        self._interval = rules.row_interval_ns
        self._lateness = rules.allowed_lateness_ns
        self._places = [(t, p) for t, count in rules.raw_partitions.items() for p in range(count)]
        self._next = 0

    def begin(self, time_ns: int) -> None:
        """Make the last round not after `time_ns` due, unless it has been."""
        border = (time_ns - self._lateness) // self._interval * self._interval
        self._next = max(self._next, border + self._lateness)

    def until(self, time_ns: int) -> Iterator[Placed]:
        """Yield the rounds due before `time_ns`."""
        while self._next < time_ns:
            for topic, partition in self._places:
                yield topic, partition, RawMessage(topic, b"", b"", "replay", HEARTBEAT, self._next)
            self._next += self._interval


def _partition(message: RawMessage, rules: Rules) -> int:
    count = rules.raw_partitions.get(message.topic)
    if count is None:
        known = ", ".join(rules.raw_partitions)
        raise ForeshockError(f"{message.topic}: not a raw topic of these rules, which know {known}")
    return _partition_of_key(message.key, count)


_partition_of_key = lru_cache(maxsize=65_536)(partition_of_key)


class Producer(Protocol):
    """What replay needs of confluent-kafka's producer, which is to be idempotent with acks=all."""

    def produce(self, topic: str, **record: Any) -> None:
        """Queue a record; raises BufferError where the queue is full."""

    def poll(self, timeout: float) -> int:
        """Serve delivery reports for up to `timeout` seconds."""

    def flush(self, timeout: float) -> int:
        """Wait for all reports; return how many are still missing."""


class Progress(msgspec.Struct):
    """How far a replay is. `lag_seconds`: how far behind the time at which its speed wants it."""

    messages: int = 0
    heartbeats: int = 0
    receive_time_ns: int = 0
    lag_seconds: float = 0.0


def replay(
    messages: Iterable[RawMessage],
    producer: Producer,
    rules: Rules,
    *,
    speed: float = math.inf,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Put `messages` and heartbeats on the raw topics, `speed` times as fast as they were received.

    Runs that are apart (see `with_heartbeats`) follow each other without a wait. `progress` is
    called some times a second with an object that is used again. Returns when Kafka has
    acknowledged everything.

    Raises:
        ForeshockError: Kafka did not take a record; what came before it in its partition is there.
    """
    if not speed > 0:
        raise ForeshockError(f"expected a speed above 0 (math.inf: as fast as possible), got {speed}")
    done = Progress()
    log = _RawLog(producer, clock)
    pace = _Pace(speed, rules.row_interval_ns, clock)
    report_at = clock()
    for topic, partition, message in with_heartbeats(messages, rules):
        done.receive_time_ns = max(done.receive_time_ns, message.receive_time_ns)
        done.lag_seconds = pace.wait(done.receive_time_ns, producer.poll)
        log.write(topic, partition, message)
        if message.format == HEARTBEAT:
            done.heartbeats += 1
        else:
            done.messages += 1
        if progress is not None and clock() >= report_at:
            report_at = clock() + _REPORT_SECONDS
            progress(done)
    log.close()
    if progress is not None:
        progress(done)
    return done


class _Pace:
    """Waits until a receive time is due: one capture second takes 1 / speed seconds."""

    def __init__(self, speed: float, longest_step_ns: int, clock: Callable[[], float]) -> None:
        self._ns_per_second = speed * 1e9
        self._longest_step_ns = longest_step_ns
        self._clock = clock
        self._last_ns = 0
        self._due = 0.0

    def wait(self, time_ns: int, poll: Callable[[float], int]) -> float:
        """Poll until `time_ns` is due; return by how many seconds it is late."""
        if math.isinf(self._ns_per_second):
            return 0.0
        step = time_ns - self._last_ns
        # Heartbeats leave no longer step within a run: this is the start of one.
        self._due = self._clock() if step > self._longest_step_ns else self._due + step / self._ns_per_second
        self._last_ns = time_ns
        while (left := self._due - self._clock()) > _SHORTEST_SLEEP_SECONDS:
            poll(left)
        return max(0.0, -left)


class _RawLog:
    """Writes to the raw topics in order, each record exactly where it belongs, or raises."""

    def __init__(self, producer: Producer, clock: Callable[[], float]) -> None:
        self._producer = producer
        self._clock = clock
        self._failure: str | None = None

    def write(self, topic: str, partition: int, message: RawMessage) -> None:
        give_up = self._clock() + DEADLINE_SECONDS
        while not self._queued(topic, partition, message):
            if self._clock() > give_up:
                raise ForeshockError(f"{topic}: the producer's queue stayed full for {DEADLINE_SECONDS:g} s")
            self._producer.poll(0.05)
        self._producer.poll(0)
        self._check()

    def _queued(self, topic: str, partition: int, message: RawMessage) -> bool:
        try:
            self._producer.produce(
                topic,
                value=message.value,
                key=message.key or None,
                partition=partition,
                headers=message.headers(),
                timestamp=message.receive_time_ns // 1_000_000,
                on_delivery=self._settle,
            )
        except BufferError:
            return False
        except KafkaException as problem:
            raise ForeshockError(
                f"{topic}: a message of {len(message.value)} bytes of connection {message.key.decode()} "
                f"cannot be sent: {problem}"
            ) from problem
        return True

    def _settle(self, error: Any, record: Any) -> None:
        if error is not None and self._failure is None:
            self._failure = f"{record.topic()}[{record.partition()}]: a raw message was not delivered: {error}"

    def _check(self) -> None:
        if self._failure is not None:
            raise ForeshockError(self._failure)

    def close(self) -> None:
        """Wait until everything is acknowledged."""
        missing = self._producer.flush(DEADLINE_SECONDS)
        self._check()
        if missing:
            raise ForeshockError(f"{missing} raw messages not acknowledged within {DEADLINE_SECONDS:g} s")
