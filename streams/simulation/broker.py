"""The log: topics and partitions with offsets, producers whose records and acknowledgements take time, compaction."""

import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from schemas.instruments import partition_of_key
from schemas.rules import Rules
from schemas.topics import topics
from streams.simulation.clock import Network, Process
from streams.stage import Message

Place = tuple[str, int]
Acknowledge = Callable[[Message | None], None]
"""Told the record as the log has it, or None: it was not delivered."""


class Delays(NamedTuple):
    """How long one record takes to the log, and its acknowledgement back; None: it is lost."""

    there: float
    back: float | None


class _Sending:
    """A record on its way to the log."""

    __slots__ = ("acknowledge", "back", "dropped", "message", "process")

    def __init__(self, process: Process | None, message: Message, back: float | None, acknowledge: Acknowledge) -> None:
        self.process = process
        self.message = message
        self.back = back
        self.acknowledge = acknowledge
        self.dropped = False


class Broker:
    """All topics of one history. `delays` is asked once for each record sent."""

    def __init__(
        self, rules: Rules, network: Network, now: Callable[[], float], delays: Callable[[Process | None], Delays]
    ) -> None:
        declared = topics(rules)
        self.partitions = {name: topic.partitions for name, topic in declared.items()}
        self.compacted = {name for name, topic in declared.items() if topic.compacted}
        self.written: dict[Place, list[Message]] = {
            (name, partition): [] for name, count in self.partitions.items() for partition in range(count)
        }
        """Every record that a place ever got; the place in the list is its offset."""
        self._kept: dict[Place, list[int]] = {}
        """Offsets that compaction has left, of places where it ran, and those since."""
        self._network = network
        self._now = now
        self._delays = delays
        self._under_way: dict[tuple[int, Place], list[_Sending]] = {}
        self._last_arrival: dict[tuple[int, Place], float] = {}
        self.watchers: list[Callable[[Message, Process | None], None]] = []
        """Called with each record that is written, and by whom."""
        self.digest = 0
        self._senders = 0

    def sender(self) -> int:
        """Return a number for one more producer."""
        self._senders += 1
        return self._senders

    # Reading.

    def end(self, place: Place) -> int:
        """Return the offset that the next record gets."""
        return len(self.written[place])

    def read(self, place: Place, offset: int, most: int) -> list[Message]:
        """Return records from an offset on, without those that compaction has removed."""
        log, kept = self.written[place], self._kept.get(place)
        if kept is None:
            return log[offset : offset + most]
        start = bisect_left(kept, offset)
        return [log[each] for each in kept[start : start + most]]

    def held(self, place: Place) -> Iterable[Message]:
        """Return all records that the place holds now."""
        return self.read(place, 0, self.end(place))

    # Writing.

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """Return the partition of a record that names none."""
        count = self.partitions[topic]
        return 0 if count == 1 or key is None else partition_of_key(key, count)

    def append(self, message: Message, process: Process | None = None) -> Message:
        """Write a record now; its offset is given here."""
        place = message.topic, message.partition
        log = self.written[place]
        written = message._replace(offset=len(log), timestamp_ms=int(self._now() * 1000))
        log.append(written)
        if place in self._kept:
            self._kept[place].append(written.offset)
        told = b"%b %d %d " % (message.topic.encode(), message.partition, round(self._now() * 1e6))
        self.digest = zlib.crc32(message.value or b"", zlib.crc32(message.key or b"", zlib.crc32(told, self.digest)))
        for watcher in self.watchers:
            watcher(written, process)
        return written

    def send(self, process: Process, sender: int, message: Message, acknowledge: Acknowledge) -> None:
        """Send a record: those of one sender to one place arrive in their order."""
        delays = self._delays(process)
        place = sender, (message.topic, message.partition)
        arrival = max(self._now() + delays.there, self._last_arrival.get(place, 0.0))
        self._last_arrival[place] = arrival
        sending = _Sending(process, message, delays.back, acknowledge)
        self._under_way.setdefault(place, []).append(sending)
        self._network.at(arrival, lambda: self._arrive(place, sending))

    def _arrive(self, place: tuple[int, Place], sending: _Sending) -> None:
        self._under_way[place].remove(sending)
        if sending.dropped:
            return
        written = self.append(sending.message, sending.process)
        if sending.back is not None:
            self._network.at(self._now() + sending.back, lambda: sending.acknowledge(written))

    def drop(self, sender: int, keep: Callable[[int], int]) -> None:
        """Lose what a killed sender had not brought out yet: of each place all behind a first few of `keep`."""
        for (owner, _), sent in self._under_way.items():
            if owner == sender and sent:
                for sending in sent[keep(len(sent)) :]:
                    sending.dropped = True

    def compact(self, place: Place) -> int:
        """Remove what later records of the same key replace; return how many."""
        held = list(self.held(place))
        last: Mapping[bytes | None, int] = {message.key: message.offset for message in held}
        # The newest record stays even where it deletes its key, as in an active segment.
        left = [m for m in held if last[m.key] == m.offset and (m.value is not None or m is held[-1])]
        self._kept[place] = [message.offset for message in left]
        return len(held) - len(left)

    def show_all(self) -> None:
        """Let readers have every record that was ever written: for those who look at the whole history."""
        self._kept.clear()
