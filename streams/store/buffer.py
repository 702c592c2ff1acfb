"""Messages of one topic that wait for the next commit of its table; no Kafka and no clock in here."""

from collections.abc import Iterable, Mapping

from featurestore.backfill import CanonicalMessage
from featurestore.store.intake import INTAKES, Taken, build, take
from featurestore.store.writing import Appended, Place, TableWriter
from schemas import Rules

_REREADS_BEFORE_A_HOLE = 3
MOST_READ_AGAIN = 1_000
"""Messages without a new record after which their offsets are committed alone: a restart reads no more of them."""


class TopicBuffer:
    """Takes the messages of one topic, each offset once and in order, and commits them with their offsets."""

    def __init__(self, topic: str, writer: TableWriter, rules: Rules) -> None:
        self.topic = topic
        self.rows = 0
        """Records that wait."""
        self._writer = writer
        self._rules = rules
        self._taken: list[Taken] = []
        self._next: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._rereads: dict[tuple[int, int, int], int] = {}

    def resume(self, partition: int) -> int | None:
        """Return the offset at which the table lacks messages of a partition, None where it has none."""
        return self._writer.resume(self.topic, partition)

    def assign(self, partition: int, offset: int) -> None:
        """Expect messages of a partition from this offset on."""
        self._next[partition] = self._committed[partition] = offset

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget what was not committed of partitions that are somebody else's."""
        gone = set(partitions)
        for partition in gone:
            self._next.pop(partition, None)
            self._committed.pop(partition, None)
        self._taken = [each for each in self._taken if each.partition not in gone]
        self._count()

    def expects(self, partition: int, offset: int) -> int | None:
        """Return None where this offset is to be taken or left out, else the one to read from again.

        What comes after a rebalance may begin with what was fetched before it, so a jump is first
        read again; only one that comes back is one of the log.
        """
        expected = self._next.get(partition)
        if expected is None or offset <= expected:
            return None
        jump = (partition, expected, offset)
        self._rereads[jump] = self._rereads.get(jump, 0) + 1
        if self._rereads[jump] > _REREADS_BEFORE_A_HOLE:
            del self._rereads[jump]
            return None
        return expected

    def put(self, message: CanonicalMessage) -> None:
        """Take one message; raises DecodeError for bytes that are none, and counts them as read."""
        expected = self._next.get(message.partition)
        if expected is None or message.offset < expected:
            return
        self._next[message.partition] = message.offset + 1
        taken = take(message)
        if taken is not None:
            self._taken.append(taken)
            self.rows += INTAKES[self.topic].size(taken.content)

    def commit(self, *, all_offsets: bool = False) -> Appended:
        """Write what waits, with the offsets up to which the table then holds all; raises StateError.

        Offsets of messages that held nothing new move with the next record, or alone: once there are
        many of them, or where `all_offsets` asks for it since this is the last commit.
        """
        moved: dict[Place, int] = {
            (self.topic, partition): offset
            for partition, offset in self._next.items()
            if offset != self._committed[partition]
        }
        appended = self._writer.append(build(self._taken, self._rules), moved) if self.rows else Appended(0, 0)
        alone = not appended.rows and self._may_move_alone(all_offsets)
        if alone:
            self._writer.move(moved)
        if appended.rows or alone:
            self._committed.update({partition: offset for (_, partition), offset in moved.items()})
        self._taken.clear()
        self._count()
        return appended

    def is_due(self, *, all_offsets: bool = False) -> bool:
        """Return whether there is anything that `commit` would write."""
        return self.rows > 0 or self._may_move_alone(all_offsets)

    def _may_move_alone(self, all_offsets: bool) -> bool:
        passed = sum(offset - self._committed[partition] for partition, offset in self._next.items())
        return passed >= (1 if all_offsets else MOST_READ_AGAIN)

    def positions(self) -> Mapping[int, int]:
        """Return the next offset to read of each partition; a copy."""
        return dict(self._next)

    def committed(self) -> Mapping[int, int]:
        """Return the offset up to which the table holds each partition; a copy."""
        return dict(self._committed)

    def _count(self) -> None:
        self.rows = sum(INTAKES[self.topic].size(each.content) for each in self._taken)
