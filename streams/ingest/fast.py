"""Runs of usual records by columns: the same events, in the same order, and the same state as one by one.

`Normaliser.feed` is the definition. A stretch of records is taken by columns where their formats
read many frames at once and each holds one event; what is unusual in it (a late event, one of the
future, a venue that is forgotten) goes through `feed`, as does every record of another kind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from featurestore.clock import EventClock
from schemas import EVENTS, DecodeError, StateError
from schemas.batches import Progress
from streams.formats import AGGREGATE, run_decoders
from streams.formats.run import DecodeRun, FrameRun
from streams.ingest.buffer import Buffer, Piece, Texts
from streams.ingest.lateness import Judged, Times, judge
from streams.ingest.normaliser import HEARTBEAT, LAST_NS, Normaliser, partition_of_instrument, source_name
from streams.ingest.state import NormaliserState, TradeKind
from streams.stage import Headers, Record

_LEAST = 32
"""A shorter stretch is not worth its columns."""
_SPLIT = 256
"""The least half of a stretch that is tried alone where the whole cannot be taken."""
_MAX_GROUPS = 1_024
_TIME_DIGITS = 19
_POWERS = 10 ** np.arange(_TIME_DIGITS - 1, -1, -1, dtype=np.int64)
_TIME_HEADER = "receive_time_ns"


class RawRun(NamedTuple):
    """Records of one raw partition in offset order; `key` returns that of the record at an index."""

    offsets: Sequence[int]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]
    key: Callable[[int], bytes | None]


class _Group(NamedTuple):
    """Records of one source and format that can be read at once; heartbeats have nothing to read."""

    source: str
    decode: DecodeRun | None


_BEATS = _Group("", None)


class _Part(NamedTuple):
    """Events of one record type and canonical partition: their rows, and their columns."""

    record: str
    partition: int
    rows: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any] | Texts]


class _Stretch(NamedTuple):
    """Decoded records without a gap, `first` being the index of the first in its run."""

    first: int
    received: Times
    times: Times
    venues: list[str]
    codes: NDArray[np.intp]
    parts: list[_Part]
    names: Mapping[str, tuple[list[str], NDArray[np.int64], NDArray[np.intp]]]
    """By record type: instruments, the rows of its events, and the instrument of each."""
    aggregates: Mapping[str, bool]
    """Whether an instrument's trades are aggregated."""


class FastNormaliser(Normaliser):
    """A Normaliser that takes many records at once, and writes progress once for many borders.

    Where several borders are crossed between two flushes, the last one's progress stands for all:
    it says the same of the events before it, and micro-batches fill up instead of ending at each
    border. `progress_is_due`: a flush has progress to write, and rows may wait for it.
    """

    _due: Progress | None = None

    @cached_property
    def _groups(self) -> dict[Any, _Group | None]:
        return {}

    @property
    def progress_is_due(self) -> bool:
        """Whether a border was crossed since the last flush."""
        return self._due is not None

    def flush(self) -> list[Record]:
        """Return everything that is buffered, and the progress that is due behind it."""
        if self._due is not None:
            self._write_progress(self._due)
            self._due = None
        return super().flush()

    def state(self) -> NormaliserState:
        """Return the state as after `flush`; raises StateError where there was none."""
        if self._due is not None:
            raise StateError("a state is taken after a flush, or it would miss progress")
        return super().state()

    def _advance(self, offset: int, before_ns: int, after_ns: int) -> None:
        if not self._progressed:  # the first one says where rows begin
            super()._advance(offset, before_ns, after_ns)
        elif before_ns // self._rules.row_interval_ns != after_ns // self._rules.row_interval_ns:
            self._due = Progress(self._raw_partition, offset, after_ns)

    def feed_run(self, run: RawRun) -> None:
        """Take records as `feed` does, each of them; raises StateError as it does."""
        count = len(run.offsets)
        if count < _LEAST or list(run.offsets) != list(range(self._next_offset, self._next_offset + count)):
            return self._feed_each(run, range(count))
        done = 0
        for start, stop, groups, received in self._stretches(run):
            self._feed_each(run, range(done, start))
            self._take_stretch(run, start, stop, groups, received)
            done = stop
        return self._feed_each(run, range(done, count))

    def _feed_each(self, run: RawRun, indexes: range) -> None:
        for index in indexes:
            self.feed(run.offsets[index], run.key(index), run.values[index], run.headers[index])

    # Which records can be taken at once.

    def _stretches(self, run: RawRun) -> Iterator[tuple[int, int, list[_Group | None], Times]]:
        """Yield (first, last + 1, group of each record, receive times) of what may be taken at once."""
        try:
            texts: Any = [headers[2][1] for headers in run.headers]  # type: ignore[index]
            groups = self._groups_of(run.headers)
            received = _times(texts)
        except (LookupError, TypeError, ValueError, OverflowError):
            return
        slow = [index for index, group in enumerate(groups) if group is None]
        start = 0
        for stop in (*slow, len(groups)):
            if stop - start >= _LEAST:
                yield start, stop, groups[start:stop], received[start:stop]
            start = stop + 1

    def _groups_of(self, headers: Sequence[Any]) -> list[_Group | None]:
        """Return the group of each record; raises TypeError or ValueError where headers are others than ours."""
        keys = [(source, name, time[0]) for source, name, time in headers]
        known = self._groups
        try:
            return [known[key] for key in keys]
        except KeyError:
            pass
        for key in dict.fromkeys(keys):
            if key not in known:
                if len(known) >= _MAX_GROUPS:
                    known.clear()
                known[key] = self._new_group(key)
        return [known.get(key) for key in keys]

    def _new_group(self, key: Any) -> _Group | None:
        (source_header, source), (format_header, name), time_header = key
        if (source_header, format_header, time_header) != ("source", "format", _TIME_HEADER):
            return None
        if name == HEARTBEAT:
            return _BEATS
        decode = run_decoders().get(name.decode("ascii", "replace")) if name in self._formats else None
        if decode is None:
            return None
        try:
            return _Group(source_name(source), decode)
        except DecodeError:
            return None

    # Taking them.

    def _take_stretch(self, run: RawRun, start: int, stop: int, groups: list[_Group | None], received: Times) -> None:
        if not self._progressed:
            self._feed_each(run, range(start, start + 1))
            start, groups, received = start + 1, groups[1:], received[1:]
        stretch = self._decoded(run, start, groups, received)
        if stretch is None and stop - start >= 2 * _SPLIT:
            # One odd frame in thousands: most of the others can still be taken at once.
            middle = (stop - start) // 2
            self._take_stretch(run, start, start + middle, groups[:middle], received[:middle])
            return self._take_stretch(run, start + middle, stop, groups[middle:], received[middle:])
        if stretch is None:
            return self._feed_each(run, range(start, stop))
        done = 0
        while done < stop - start:
            judged = judge(
                self._clock.state(),
                self._rules,
                received[done:],
                stretch.times[done:],
                stretch.venues,
                stretch.codes[done:],
            )
            self._take_usual(stretch, done, judged, run.offsets[start])
            done += judged.usual
            if done < stop - start:
                self._feed_each(run, range(start + done, start + done + 1))
                done += 1
        return None

    def _decoded(self, run: RawRun, start: int, groups: list[_Group | None], received: Times) -> _Stretch | None:
        members: dict[_Group | None, list[int]] = {}
        for row, group in enumerate(groups):
            members.setdefault(group, []).append(row)
        found: list[tuple[str, FrameRun]] = []
        for group, rows in members.items():
            if group is None:
                return None
            if group.decode is None:
                continue
            values: Any = [run.values[start + row] for row in rows]
            runs = None if None in values else group.decode(values, group.source)
            if runs is None:
                return None
            places = np.array(rows)
            found += [(group.source, each._replace(rows=places[each.rows])) for each in runs]
        return self._stretch(run.offsets[start], start, found, received)

    def _stretch(self, offset: int, first: int, found: list[tuple[str, FrameRun]], received: Times) -> _Stretch | None:
        count = len(received)
        times, codes = np.zeros(count, np.int64), np.full(count, -1)
        venues = list(dict.fromkeys(source for source, _ in found))
        for source, frames in found:
            times[frames.rows] = frames.times_ns
            codes[frames.rows] = venues.index(source)
        known = np.maximum.accumulate(np.maximum(received, self._clock.receive_time_ns))
        tiles = np.where(times > 0, times, known)
        aggregates = _aggregates(frames for _, frames in found)
        if aggregates is None or not self._are_of_their_kind(aggregates, int(known[-1])):
            return None
        parts: list[_Part] = []
        names: dict[str, tuple[list[str], NDArray[np.int64], NDArray[np.intp]]] = {}
        for record in dict.fromkeys(frames.record for _, frames in found):
            if EVENTS[record].topic != self._topic:
                return None
            events = _Events([each for each in found if each[1].record == record])
            names[record] = events.names, events.rows, events.codes
            columns = events.columns(times, received, tiles, offset, self._raw_partition)
            places = [partition_of_instrument(name, self._rules.partitions) for name in events.names]
            parts += _parted(record, events.rows, np.array(places)[events.codes], columns)
        return _Stretch(first, received, times, venues, codes, parts, names, aggregates)

    def _are_of_their_kind(self, aggregates: Mapping[str, bool], last_ns: int) -> bool:
        """Return whether all trades count: none is of the other kind, and no memory of one runs out."""
        oldest_ns = last_ns - self._rules.listing_ns
        known = ((self._trade_kinds.get(name), aggregate) for name, aggregate in aggregates.items())
        return all(
            kind is None or (kind.aggregate is aggregate and kind.heard_ns > oldest_ns) for kind, aggregate in known
        )

    def _take_usual(self, stretch: _Stretch, done: int, judged: Judged, offset: int) -> None:
        """Take the usual records from row `done` on; `offset` is that of row 0."""
        count = judged.usual
        if not count:
            return
        stop = done + count
        self._fill(stretch.parts, done, stop)
        borders = judged.watermarks[: count + 1] // self._rules.row_interval_ns
        crossings = np.flatnonzero(borders[1:] != borders[:-1])
        if len(crossings):
            crossing = int(crossings[-1])
            self._advance(offset + done + crossing, *judged.watermarks[crossing : crossing + 2].tolist())
        self._note(stretch, done, stop, judged.receive_times)
        self._clock = EventClock(self._rules, judged.state(count))
        self._next_offset = offset + stop

    def _fill(self, parts: list[_Part], begin: int, end: int) -> None:
        """Put the events of rows [begin, end) into their buffers, and send those that fill up."""
        pieces = []
        for part in parts:
            low, high = np.searchsorted(part.rows, (begin, end)).tolist()
            if low < high:
                pieces.append((int(part.rows[low]), part, low, high))
        cuts: list[tuple[int, Buffer, int, Piece]] = []
        for _, part, low, high in sorted(pieces, key=lambda piece: piece[0]):
            buffer = self._buffer(part.partition, part.record)
            room = self._batch_events - len(buffer)
            place = low
            while place < high:
                size = min(room, high - place)
                piece = Piece(part.columns, place, place + size)
                cuts.append((int(part.rows[place + size - 1]), buffer, part.partition, piece))
                place, room = place + size, self._batch_events
        for _, buffer, partition, piece in sorted(cuts, key=lambda cut: cut[0]):
            buffer.extend(piece)
            self._buffered += piece.stop - piece.start
            if len(buffer) >= self._batch_events:
                self._emit(partition, buffer)

    def _note(self, stretch: _Stretch, begin: int, end: int, receive_times: Times) -> None:
        """Count the records of rows [begin, end), and remember which instruments were heard."""
        tally = self.tally
        events = int(np.count_nonzero(stretch.codes[begin:end] >= 0))
        tally.frames += end - begin
        tally.decoded += events
        tally.heartbeats += end - begin - events
        timed = np.flatnonzero(stretch.times[begin:end])
        if len(timed):
            last = begin + int(timed[-1])
            tally.last_event_time_ns = int(stretch.times[last])
            tally.last_receive_time_ns = int(stretch.received[last])
            tally.last_venue = stretch.venues[int(stretch.codes[last])]
        for record, (names, rows, codes) in stretch.names.items():
            low, high = np.searchsorted(rows, (begin, end)).tolist()
            if low == high:
                continue
            tally.events[record] += high - low
            heard = np.zeros(len(names), np.int64)
            heard[codes[low:high]] = receive_times[rows[low:high] - begin]
            for code in _in_order(codes[low:high]):
                self._hear(record, names[code], int(heard[code]), stretch.aggregates)

    def _hear(self, record: str, name: str, heard_ns: int, aggregates: Mapping[str, bool]) -> None:
        if record == "quote":
            self.books.hear_ticker(name, heard_ns)
        elif record == "trade":
            kind = self._trade_kinds.get(name)
            if kind is None:
                self._trade_kinds[name] = TradeKind(aggregates[name], heard_ns)
            else:
                kind.heard_ns = heard_ns


class _Events:
    """Events of one record type from several sources, by row."""

    def __init__(self, found: list[tuple[str, FrameRun]]) -> None:
        rows = np.concatenate([frames.rows for _, frames in found])
        self._order = np.argsort(rows, kind="stable")
        self._found = found
        self.rows = rows[self._order]
        instruments = [name for _, frames in found for name in frames.instruments]
        self.names = list(dict.fromkeys(instruments))
        numbers = {name: number for number, name in enumerate(self.names)}
        self.codes: NDArray[np.intp] = np.array([numbers[name] for name in instruments], np.intp)[self._order]

    def columns(
        self, times: Times, received: Times, tiles: Times, first_offset: int, raw_partition: int
    ) -> dict[str, NDArray[Any] | Texts]:
        """Return all columns of a micro-batch."""
        rows = self.rows
        columns: dict[str, NDArray[Any] | Texts] = {
            "instrument_id": Texts(pa.array(self.names, pa.string()), self.codes),
            "venue": self._repeated([source for source, _ in self._found]),
            "id": self._repeated([frames.identity for _, frames in self._found]),
            "event_time_ns": times[rows],
            "sequence": self._joined([frames.sequences for _, frames in self._found]),
            "receive_time_ns": received[rows],
            "tile_time_ns": tiles[rows],
            "raw_partition": np.full(len(rows), raw_partition, np.int16),
            "raw_offset": rows + first_offset,
            "raw_index": np.zeros(len(rows), np.int32),
        }
        for name in self._found[0][1].fields:
            columns[name] = self._joined([frames.fields[name] for _, frames in self._found])
        return columns

    def _joined(self, columns: list[NDArray[Any]]) -> NDArray[Any]:
        return columns[0] if len(columns) == 1 else np.concatenate(columns)[self._order]

    def _repeated(self, texts: list[str]) -> Texts:
        """Return a text column that is one text for each source."""
        codes = np.repeat(np.arange(len(texts)), [len(frames.rows) for _, frames in self._found])
        return Texts(pa.array(texts, pa.string()), self._joined([codes]) if len(texts) == 1 else codes[self._order])


def _parted(
    record: str, rows: NDArray[np.int64], places: NDArray[np.int64], columns: Mapping[str, NDArray[Any] | Texts]
) -> Iterator[_Part]:
    """Yield the events of each canonical partition."""
    for partition in np.flatnonzero(np.bincount(places)).tolist():
        chosen = np.flatnonzero(places == partition)
        mine = {
            name: Texts(column.table, column.codes[chosen]) if isinstance(column, Texts) else column[chosen]
            for name, column in columns.items()
        }
        yield _Part(record, partition, rows[chosen], mine)


def _aggregates(found: Iterator[FrameRun]) -> dict[str, bool] | None:
    """Return whether each instrument's trades are aggregated; None where it has both kinds."""
    kinds: dict[str, bool] = {}
    for frames in found:
        if frames.record == "trade":
            aggregate = frames.identity == AGGREGATE
            if any(kinds.setdefault(name, aggregate) is not aggregate for name in set(frames.instruments)):
                return None
    return kinds


def _in_order(codes: NDArray[np.intp]) -> list[int]:
    """Return the distinct codes in the order of their first appearance."""
    return list(dict.fromkeys(codes.tolist()))


def _times(texts: list[bytes]) -> Times:
    """Return receive times from headers; raises ValueError where `feed` has to say what is wrong."""
    text = b"".join(texts)
    if set(map(len, texts)) != {_TIME_DIGITS} or not text.isdigit():
        raise ValueError("a receive time is none, or of long ago")
    digits = np.frombuffer(text, np.uint8).reshape(-1, _TIME_DIGITS) - np.uint8(ord("0"))
    times: Times = digits.astype(np.int64) @ _POWERS
    if times.min() <= 0 or times.max() > LAST_NS:
        raise ValueError("a receive time is out of range")
    return times
