"""Events of tiles that are still open, and their order and repeats when the tiles close."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from featurestore.levels import Levels, level_matrix, list_fields
from schemas import Depth

_ORDERING = ("venue", "sequence", "id", "tile_time_ns", "raw_partition", "raw_offset", "raw_index")
_MOST_BITS = 62
_UNKNOWN = "unknown_book"


@dataclass(frozen=True)
class _Chunk:
    first_ns: int
    last_ns: int
    batch: pa.RecordBatch
    begun: bool = False
    """Whether its first events were taken before."""


class Pending:
    """Accepted events of open tiles, by record type, as they came."""

    def __init__(self) -> None:
        self._chunks: dict[str, list[_Chunk]] = {}
        self._taken_ns = 0
        self.events = 0
        """Number of events that are held."""

    def add(self, record: str, batch: pa.RecordBatch, span_ns: tuple[int, int] | None = None) -> None:
        """Hold the events of one message; `span_ns`: the first and last of their tile times, where known."""
        if span_ns is None:
            times = batch.column("tile_time_ns").to_numpy()
            span_ns = int(times.min()), int(times.max())
        if record == Depth.record:
            batch = batch.append_column(_UNKNOWN, _without_levels(batch))
        self._chunks.setdefault(record, []).append(_Chunk(*span_ns, batch))
        self.events += batch.num_rows

    def first_ns(self) -> int | None:
        """Return the earliest tile time that is held."""
        return min((chunk.first_ns for chunks in self._chunks.values() for chunk in chunks), default=None)

    def take(self, border_ns: int) -> dict[str, "Events"]:
        """Remove and return the events with tile time below `border_ns`, by record type.

        Borders rise, and no event is added below one of before.
        """
        taken = {}
        for record in sorted(self._chunks):
            inside = [chunk for chunk in self._chunks[record] if chunk.first_ns < border_ns]
            if not inside:
                continue
            kept = (_rest(chunk, border_ns) for chunk in self._chunks[record] if chunk.last_ns >= border_ns)
            self._chunks[record] = list(kept)
            events = Events([chunk.batch for chunk in inside])
            # Messages are not cut at the border, which would cost more than to read them twice.
            if any(chunk.begun or chunk.last_ns >= border_ns for chunk in inside):
                times = events.tile_times
                events = events.of(np.flatnonzero((times >= self._taken_ns) & (times < border_ns)))
            taken[record] = events
            self.events -= len(events)
        self._taken_ns = border_ns
        return taken


def _without_levels(batch: pa.RecordBatch) -> pa.Array:
    lists = (pa.compute.list_value_length(batch.column(name)).to_numpy() for name in list_fields(Depth))
    return pa.array(sum(lists) == 0)


def _rest(chunk: _Chunk, border_ns: int) -> _Chunk:
    if chunk.first_ns >= border_ns:
        return chunk
    times = chunk.batch.column("tile_time_ns").to_numpy()
    return _Chunk(int(times[times >= border_ns].min()), chunk.last_ns, chunk.batch, begun=True)


class _Table:
    """Batches of one record type as columns, each put together when it is asked for."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._table = pa.Table.from_batches(batches)
        self._numbers: dict[str, NDArray[Any]] = {}
        self._arrays: dict[str, pa.Array] = {}

    def numbers(self, name: str) -> NDArray[Any]:
        if name not in self._numbers:
            self._numbers[name] = self._table.column(name).to_numpy()
        return self._numbers[name]

    def array(self, name: str) -> pa.Array:
        if name not in self._arrays:
            column = self._table.column(name)
            whole = column.num_chunks == 1
            self._arrays[name] = column.chunk(0) if whole else column.unify_dictionaries().combine_chunks()
        return self._arrays[name]

    def type_of(self, name: str) -> pa.DataType:
        return self._table.schema.field(name).type


class Events:
    """Events of one record type in closing tiles, one column at a time."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._set(_Table(batches), None)

    def _set(self, table: _Table, selected: NDArray[np.int64] | None) -> None:
        self._table = table
        self._selected = selected
        self.tile_times = self.numbers("tile_time_ns")
        names = self._dictionary("instrument_id")
        self.names: list[str] = names[1]
        """Instruments or assets, each once."""
        self.codes = names[0]
        """Index into `names` of each event."""

    def __len__(self) -> int:
        return len(self.tile_times)

    def of(self, rows: NDArray[np.int64]) -> "Events":
        """Return the events of these rows."""
        found = Events.__new__(Events)
        found._set(self._table, self._rows(rows))  # noqa: SLF001  # its own
        return found

    def _rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where events stand in the table."""
        return rows if self._selected is None else self._selected[rows]

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers."""
        whole = self._table.numbers(name)
        return whole if self._selected is None else whole[self._selected]

    def tile_input(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64] | NDArray[np.str_]:
        """Return a column of `rows` as tile functions get it: float64, or texts."""
        kind = self._table.type_of(name)
        if pa.types.is_dictionary(kind):
            codes, names = self._dictionary(name)
            return np.array(names, dtype=np.str_)[codes[rows]]
        rows = self._rows(rows)
        if pa.types.is_string(kind):
            return np.array(self._table.array(name).take(pa.array(rows)).to_pylist(), dtype=np.str_)
        return self._table.numbers(name)[rows].astype(np.float64, copy=False)

    def levels(self, name: str, rows: NDArray[np.int64]) -> Levels:
        """Return a list column of `rows` as functions of its levels get it, (rows, LEVELS)."""
        array, rows = self._table.array(name), self._rows(rows)
        offsets = array.offsets.to_numpy()
        values = array.values.to_numpy(zero_copy_only=False)
        return level_matrix(values, offsets[:-1][rows], np.diff(offsets)[rows])

    def unknown_books(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which depth events of `rows` say that their book is not known: those without levels."""
        return self._table.numbers(_UNKNOWN)[self._rows(rows)]

    def order(self, entities: NDArray[np.int64], start_ns: int) -> NDArray[np.int64]:
        """Return the order by (entity, tile time, sequence, venue, id, raw partition, stamp).

        `entities`: index of each event's instrument among the sorted instruments. `start_ns` is
        not above any tile time.
        """
        order, key = _by_entity_and_time(entities, self.tile_times - start_ns)
        same = key[1:] == key[:-1]
        if not same.any() or self._in_order(order, same):
            return order
        # Only events of one instrument at one time are still in the order of their arrival.
        ties = np.flatnonzero(np.append(same, False) | np.append(False, same))
        tied = order[ties]
        keys = (
            self.numbers("raw_index")[tied],
            self.numbers("raw_offset")[tied],
            self.numbers("raw_partition")[tied],
            self._ids(tied),
            self._venues()[tied],
            self.numbers("sequence")[tied],
            key[ties],
        )
        order[ties] = tied[np.lexsort(keys)]
        return order

    def _in_order(self, order: NDArray[np.int64], same: NDArray[np.bool_]) -> bool:
        first, second = order[:-1][same], order[1:][same]
        sequence, partition = self.numbers("sequence"), self.numbers("raw_partition")
        rises = sequence[first] < sequence[second]
        if rises.all():
            return True
        if self._has_ids():
            return False
        venues = self._venues()
        equal = (sequence[first] == sequence[second]) & (venues[first] == venues[second])
        # Events of one raw partition arrive in the order of their stamps, and sorting was stable.
        return bool((rises | (equal & (partition[first] <= partition[second]))).all())

    def first_of_repeats(self, order: NDArray[np.int64], cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which events of `order` stay: of one (venue, sequence, id) in a cell the first.

        `cells`: instrument and tile of each ordered event, as a rising number.
        """
        sequence = self.numbers("sequence")[order]
        named = sequence >= 0
        has_ids = self._has_ids()
        same = cells[1:] == cells[:-1]
        unlike = sequence[1:] > sequence[:-1]
        if not has_ids:
            unlike |= ~named[1:] & ~named[:-1]
        kept = np.ones(len(order), dtype=np.bool_)
        if (unlike | ~same).all():
            return kept
        doubtful = np.flatnonzero(np.isin(cells, cells[1:][same & ~unlike]))
        rows = order[doubtful]
        ids, venues = self._ids(rows), self._venues()[rows]
        # Events of an asset's options are of many instruments, each with numbers of its own.
        keys = (ids, venues, self.codes[rows], sequence[doubtful], cells[doubtful])
        by_identity = np.lexsort(keys)
        repeat = np.logical_and.reduce([column[by_identity][1:] == column[by_identity][:-1] for column in keys])
        repeat &= (named[doubtful] | (ids > 0))[by_identity][1:]
        kept[doubtful[by_identity[1:][repeat]]] = False
        return kept

    def _dictionary(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        array = self._table.array(name)
        codes = array.indices.to_numpy()
        return (codes if self._selected is None else codes[self._selected]).astype(
            np.int64
        ), array.dictionary.to_pylist()

    def _venues(self) -> NDArray[np.int64]:
        """Return the rank of each event's venue."""
        codes, names = self._dictionary("venue")
        return _ranks(names)[codes]

    def _has_ids(self) -> bool:
        return bool(pa.compute.any(pa.compute.not_equal(self._table.array("id"), "")).as_py())

    def _ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rank of the ids of `rows`; 0 is the empty one, and only that."""
        if not self._has_ids():
            return np.zeros(len(rows), dtype=np.int64)
        encoded = self._table.array("id").take(pa.array(self._rows(rows))).dictionary_encode()
        names = ["", *encoded.dictionary.to_pylist()]
        return np.asarray(_ranks(names)[1:][encoded.indices.to_numpy()])


def _ranks(names: list[str]) -> NDArray[np.int64]:
    rank = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([rank[name] for name in names], dtype=np.int64)


def _by_entity_and_time(
    entities: NDArray[np.int64], times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order by (entity, time), stable, and for each place a key that tells ties."""
    bits = int(times.max()).bit_length()
    if int(entities.max()).bit_length() + bits > _MOST_BITS:
        order = np.lexsort((times, entities))
        changes = (np.diff(entities[order]) != 0) | (np.diff(times[order]) != 0)
        return order, np.concatenate(([0], np.cumsum(changes)))
    # Radix sort by instrument first: what is left is nearly in order, which a merge sort likes.
    small = entities.astype(np.uint16) if int(entities.max()) <= np.iinfo(np.uint16).max else entities
    order = np.argsort(small, kind="stable")
    key = (entities[order] << bits) | times[order]
    if (key[1:] < key[:-1]).any():
        again = np.argsort(key, kind="stable")
        order, key = order[again], key[again]
    return order, key
