"""Stand-ins of confluent-kafka's classes, on the in-memory log: what `streams.kafka` makes its clients of."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from streams.simulation.broker import Broker, Place
from streams.simulation.clock import VirtualLoop, current, here
from streams.simulation.groups import Group, Member
from streams.stage import Message


class Surroundings(NamedTuple):
    """What clients find around them. `batch`: draws how many records one read brings."""

    loop: VirtualLoop
    broker: Broker
    ingest: Group[Place]
    batch: Callable[[], int]
    delivery_seconds: float


class Read:
    """A record, or an error, as a consumer hands it out."""

    __slots__ = ("_error", "_place", "_record")

    def __init__(self, record: Message | None, place: Place, error: KafkaError | None = None) -> None:
        self._record = record
        self._place = place
        self._error = error

    def error(self) -> KafkaError | None:
        """Return what went wrong, None for a record."""
        return self._error

    def topic(self) -> str:
        """Return the topic."""
        return self._place[0]

    def partition(self) -> int:
        """Return the partition."""
        return self._place[1]

    def offset(self) -> int:
        """Return the offset, -1 for an error."""
        return -1 if self._record is None else self._record.offset

    def key(self) -> bytes | None:
        """Return the key."""
        return None if self._record is None else self._record.key

    def value(self) -> bytes | None:
        """Return the value."""
        return None if self._record is None else self._record.value

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return all headers as they were sent."""
        return [] if self._record is None else list(self._record.header_pairs())

    def timestamp(self) -> tuple[int, int]:
        """Return that the time is of creation, and the time in milliseconds."""
        return 1, 0 if self._record is None else self._record.timestamp_ms


class Producer:
    """An idempotent producer: acknowledgements come when it is polled.

    `at_once`: as soon as they are there, as to one that is polled all the time.
    """

    around: Surroundings

    def __init__(self, config: dict[str, Any], logger: Any = None) -> None:
        self.process = here()
        self._answers: deque[Callable[[], None]] = deque()
        self._under_way = 0
        self.at_once = self.process.stage != "ingest"
        self._sender = self.around.broker.sender()
        self.process.senders.append(self._sender)

    def produce(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        on_delivery: Callable[[KafkaError | None, Read], None],
        partition: int = -1,
    ) -> None:
        """Send a record; a step at which its process may die."""
        self.process.step()
        broker = self.around.broker
        number = broker.partition_for(topic, key) if partition < 0 else partition
        plain = {name: text or b"" for name, text in headers}
        message = Message(topic, number, -1, key, plain, value, -1, headers)
        self._under_way += 1
        answered = False

        def acknowledge(written: Message | None) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            error = None if written is not None else KafkaError(KafkaError._MSG_TIMED_OUT)  # noqa: SLF001 - its name
            answer = partial(on_delivery, error, Read(written or message, (topic, number)))
            if self.at_once and self.process.alive and not self.process.frozen:
                self._under_way -= 1
                answer()
            else:
                self._answers.append(answer)

        broker.send(self.process, self._sender, message, acknowledge)
        loop = self.around.loop
        loop.network.at(loop.now + self.around.delivery_seconds, lambda: acknowledge(None))

    def poll(self, _: float = 0) -> int:
        """Tell what was acknowledged."""
        count = len(self._answers)
        while self._answers:
            self._answers.popleft()()
            self._under_way -= 1
        return count

    def flush(self, seconds: float) -> int:
        """Wait for all acknowledgements, at most so long."""
        loop = self.around.loop
        give_up = loop.now + seconds
        while self._under_way and loop.now < give_up:
            self.poll()
            self.process.step()
            loop.pass_time(0.001)
        return self._under_way


class Consumer:
    """A consumer by `assign`, or a member of ingest's group by `subscribe`."""

    around: Surroundings

    def __init__(self, config: dict[str, Any], logger: Any = None) -> None:
        self.process = current.get()
        self._tells_ends = bool(config.get("enable.partition.eof"))
        self._positions: dict[Place, int] = {}
        self._ended: set[Place] = set()
        self._member: Member[Place] | None = None
        self._callbacks: dict[str, Callable[[Consumer, list[TopicPartition]], None]] = {}
        self._skip: int = 0

    # By hand.

    def assign(self, places: Iterable[TopicPartition]) -> None:
        """Read these places from their offsets on."""
        self._positions = {(place.topic, place.partition): max(place.offset, 0) for place in places}
        self._ended.clear()

    def seek(self, place: TopicPartition) -> None:
        """Read on from an offset."""
        if (place.topic, place.partition) in self._positions:
            self._positions[place.topic, place.partition] = place.offset

    def get_watermark_offsets(self, place: TopicPartition, timeout: float = 0, cached: bool = False) -> tuple[int, int]:
        """Return the first offset and the next one."""
        return 0, self.around.broker.end((place.topic, place.partition))

    def consume(self, count: int, timeout: float = 0) -> list[Read]:
        """Return records, each place in order; takes part in rebalances, as librdkafka does here."""
        if self.process is not None:
            self.process.step()
        if self._member is not None:
            self._follow(self._member)
            count = min(count, self.around.batch())
        found: list[Read] = []
        for place, position in list(self._positions.items()):
            records = self.around.broker.read(place, position, count - len(found))
            found += [Read(record, place) for record in records]
            end = self.around.broker.end(place)
            at_end = not records or records[-1].offset + 1 >= end
            self._positions[place] = end if at_end else records[-1].offset + 1
            if at_end and self._tells_ends and place not in self._ended:
                self._ended.add(place)
                found.append(Read(None, place, KafkaError(KafkaError._PARTITION_EOF)))  # noqa: SLF001 - its name
            if len(found) >= count:
                break
        if self._member is not None and len(self._positions) > 1:
            # The next read begins with another place: none is starved.
            first = next(iter(self._positions))
            self._positions[first] = self._positions.pop(first)
        return found

    def close(self) -> None:
        """Leave the group."""
        if self._member is not None:
            self._revoke(self._member, "on_revoke")
            self.around.ingest.leave(self._member)
            self._member = None

    def skip(self, records: int) -> None:
        """Lose what was fetched of one place: the next read begins behind it."""
        for place, position in self._positions.items():
            if position + records < self.around.broker.end(place):
                self._positions[place] = position + records
                return

    # In the group.

    def subscribe(self, topics: Iterable[str], **callbacks: Callable[["Consumer", list[TopicPartition]], None]) -> None:
        """Join ingest's group."""
        self._callbacks = callbacks
        self._member = Member(here())
        here().consumer = self
        self.around.ingest.join(self._member)

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool = True) -> None:
        """Commit, where the group still knows this member."""
        if self._member is not None:
            self.process.step() if self.process else None
            found = {(place.topic, place.partition): place.offset for place in offsets}
            self.around.ingest.commit(self._member, found)

    def _follow(self, member: Member[Place]) -> None:
        if member.lost:
            self._revoke(member, "on_lost")
            self.around.ingest.join(member)
        elif member.must_rejoin:
            self._revoke(member, "on_revoke")
            self.around.ingest.join(member)
        given = member.take()
        if given is not None:
            self._callbacks["on_assign"](self, [TopicPartition(*place) for place in given])

    def _revoke(self, member: Member[Place], how: str) -> None:
        owned, member.owned = member.owned, []
        if owned:
            self._callbacks[how](self, [TopicPartition(*place) for place in owned])
        self._positions = {}


class AdminClient:
    """Answers which topics there are."""

    around: Surroundings

    def __init__(self, config: dict[str, Any], logger: Any = None) -> None:
        pass

    def list_topics(self, timeout: float = 0) -> "_Topics":
        """Return all topics with their partitions."""
        return _Topics({name: _Partitions(range(count)) for name, count in self.around.broker.partitions.items()})


class _Partitions(NamedTuple):
    partitions: range


class _Topics(NamedTuple):
    topics: dict[str, _Partitions]
