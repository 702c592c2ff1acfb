"""What of one canonical topic was read: stamps, progress, and both as they were at an offset."""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from schemas import DecodeError
from schemas.batches import PROGRESS, Progress

Stamp = tuple[int, int]
"""Raw offset and index in the raw record; they rise within a raw partition and record type."""

NO_STAMP: Stamp = (-1, -1)


class _Entry(NamedTuple):
    """One message since the resume offset, and what it changed."""

    offset: int
    last_tile_time_ns: int
    stamp_key: str
    stamp_before: Stamp | None
    progress_key: int
    progress_before: int | None


class TopicState(msgspec.Struct):
    """A topic as of its resume offset.

    `stamps`: highest stamp applied, by "raw partition/record"; `progress`: highest watermark by
    raw partition. `first`: the first watermark by raw partition, which never changes.
    """

    resume: int
    stamps: dict[str, Stamp]
    progress: dict[int, int]
    first: dict[int, int]


class TopicProgress:
    """Stamps and progress of one canonical topic, which `raw_partitions` feed."""

    def __init__(self, topic: str, raw_partitions: int, state: TopicState | None = None) -> None:
        state = state or TopicState(0, {}, {}, {})
        self._topic = topic
        self._raw_partitions = raw_partitions
        self._stamps = dict(state.stamps)
        self._progress = dict(state.progress)
        self.first = dict(state.first)
        self._entries: deque[_Entry] = deque()
        self.next_offset = state.resume
        """Messages before it are applied already."""

    def header(self, headers: Mapping[str, bytes]) -> tuple[str, int, Progress | None]:
        """Return (record, raw partition, progress) of a message; raises DecodeError."""
        record = headers.get("record", b"").decode("ascii", "replace")
        try:
            raw = int(headers["raw"])
        except (KeyError, ValueError):
            raise DecodeError(f"expected a raw partition, got {headers.get('raw')!r}", path="headers.raw") from None
        value = headers.get(Progress.header)
        progress = None if value is None else Progress.decode(value)
        for partition in {raw} if progress is None else {raw, progress.raw_partition}:
            if not 0 <= partition < self._raw_partitions:
                problem = f"expected a raw partition below {self._raw_partitions}, got {partition}"
                raise DecodeError(problem, path="headers.raw")
        if progress is None and record == PROGRESS:
            raise DecodeError("expected progress, got none", path="headers.progress")
        return record, raw, progress

    def stamp(self, record: str, raw: int) -> Stamp:
        """Return the highest stamp applied."""
        return self._stamps.get(f"{raw}/{record}", NO_STAMP)

    def applied(
        self,
        offset: int,
        record: str,
        raw: int,
        *,
        stamp: Stamp | None = None,
        last_tile_time_ns: int = -1,
        progress: Progress | None = None,
    ) -> None:
        """Note a message: its highest stamp, the latest tile time of its new events, its progress."""
        key = f"{raw}/{record}"
        told = -1 if progress is None else progress.raw_partition
        before = self._stamps.get(key), self._progress.get(told)
        self._entries.append(_Entry(offset, last_tile_time_ns, key, before[0], told, before[1]))
        if stamp is not None:
            self._stamps[key] = stamp
        if progress is not None:
            self.first.setdefault(told, progress.watermark_ns)
            self._progress[told] = max(progress.watermark_ns, self._progress.get(told, progress.watermark_ns))
        self.next_offset = offset + 1

    def watermark_ns(self) -> int | None:
        """Return the least watermark of all raw partitions; None before all are heard."""
        if len(self._progress) < self._raw_partitions:
            return None
        return min(self._progress.values())

    def first_ns(self) -> int | None:
        """Return the greatest first watermark of all raw partitions; None before all are heard."""
        if len(self.first) < self._raw_partitions:
            return None
        return max(self.first.values())

    def forget(self, border_ns: int) -> None:
        """Drop messages at the front that hold no event of an open tile."""
        while self._entries and self._entries[0].last_tile_time_ns < border_ns:
            self._entries.popleft()

    @property
    def resume(self) -> int:
        """Return the offset of the earliest message that a restart has to read."""
        return self._entries[0].offset if self._entries else self.next_offset

    def state(self) -> TopicState:
        """Return stamps and progress as they were at the resume offset.

        Were they those of now, re-read events would be taken for repeats, and tiles would close
        before their events are there.
        """
        stamps: dict[str, Stamp | None] = dict(self._stamps)
        progress: dict[int, int | None] = dict(self._progress)
        for entry in reversed(self._entries):
            stamps[entry.stamp_key] = entry.stamp_before
            progress[entry.progress_key] = entry.progress_before
        return TopicState(
            self.resume,
            {key: stamp for key, stamp in sorted(stamps.items()) if stamp is not None},
            {key: value for key, value in sorted(progress.items()) if value is not None},
            dict(sorted(self.first.items())),
        )
