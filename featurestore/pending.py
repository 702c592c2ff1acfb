"""Events of tiles that are still open, and their order and repeats when the tiles close."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from featurestore.levels import Levels, level_matrix, list_fields
from schemas import EVENTS, Depth

_ORDERING = ("venue", "sequence", "id", "tile_time_ns", "raw_partition", "raw_offset", "raw_index")
_MOST_BITS = 62
_UNKNOWN = "unknown_book"


@dataclass(frozen=True)
class _Chunk:
    first_ns: int
    last_ns: int
    batch: pa.RecordBatch


class Pending:
    """Accepted events of open tiles, by record type, as they came.

    `fields`: the columns that tiles read, by record type.
    """

    def __init__(self, fields: Mapping[str, Iterable[str]]) -> None:
        self._columns = {
            record: list(dict.fromkeys(("instrument_id", *_ORDERING, *fields.get(record, ())))) for record in EVENTS
        }
        self._columns[Depth.record].append(_UNKNOWN)
        self._chunks: dict[str, list[_Chunk]] = {}
        self.events = 0
        """Number of events that are held."""

    def add(self, record: str, batch: pa.RecordBatch) -> None:
        """Hold the events of one message."""
        times = batch.column("tile_time_ns").to_numpy()
        if record == Depth.record:
            batch = batch.append_column(_UNKNOWN, _without_levels(batch))
        chunk = _Chunk(int(times.min()), int(times.max()), batch.select(self._columns[record]))
        self._chunks.setdefault(record, []).append(chunk)
        self.events += len(times)

    def first_ns(self) -> int | None:
        """Return the earliest tile time that is held."""
        return min((chunk.first_ns for chunks in self._chunks.values() for chunk in chunks), default=None)

    def take(self, border_ns: int) -> dict[str, "Events"]:
        """Remove and return the events with tile time below `border_ns`, by record type."""
        taken = {}
        for record in sorted(self._chunks):
            batches, kept = [], []
            for chunk in self._chunks[record]:
                if chunk.first_ns >= border_ns:
                    kept.append(chunk)
                elif chunk.last_ns < border_ns:
                    batches.append(chunk.batch)
                else:
                    inside, outside = _split(chunk, border_ns)
                    batches.append(inside)
                    kept.append(outside)
            self._chunks[record] = kept
            if batches:
                taken[record] = Events(batches)
                self.events -= len(taken[record])
        return taken


def _without_levels(batch: pa.RecordBatch) -> pa.Array:
    lists = (pa.compute.list_value_length(batch.column(name)).to_numpy() for name in list_fields(Depth))
    return pa.array(sum(lists) == 0)


def _split(chunk: _Chunk, border_ns: int) -> tuple[pa.RecordBatch, _Chunk]:
    times = chunk.batch.column("tile_time_ns").to_numpy()
    early = times < border_ns
    rest = times[~early]
    outside = _Chunk(int(rest.min()), chunk.last_ns, chunk.batch.filter(pa.array(~early)))
    return chunk.batch.filter(pa.array(early)), outside


class Events:
    """Events of one record type in closing tiles, one column at a time."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches(batches)
        self._table = table.unify_dictionaries().combine_chunks() if len(batches) > 1 else table
        names = self._dictionary("instrument_id")
        self.names: list[str] = names[1]
        """Instruments or assets, each once."""
        self.codes = names[0]
        """Index into `names` of each event."""
        self.tile_times = self.numbers("tile_time_ns")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def of(self, rows: NDArray[np.int64]) -> "Events":
        """Return the events of these rows."""
        return Events(self._table.take(pa.array(rows)).to_batches())

    def numbers(self, name: str) -> NDArray[np.int64]:
        """Return an integer column."""
        return self._array(name).to_numpy()  # type: ignore[no-any-return]

    def tile_input(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64] | NDArray[np.str_]:
        """Return a column of `rows` as tile functions get it: float64, or texts."""
        array = self._array(name)
        if pa.types.is_dictionary(array.type):
            codes, names = self._dictionary(name)
            return np.array(names, dtype=np.str_)[codes[rows]]
        if pa.types.is_string(array.type):
            return np.array(array.take(pa.array(rows)).to_pylist(), dtype=np.str_)
        return array.to_numpy()[rows].astype(np.float64, copy=False)  # type: ignore[no-any-return]

    def levels(self, name: str, rows: NDArray[np.int64]) -> Levels:
        """Return a list column of `rows` as functions of its levels get it, (rows, LEVELS)."""
        array = self._array(name)
        offsets = array.offsets.to_numpy()
        values = array.values.to_numpy(zero_copy_only=False)
        return level_matrix(values, offsets[:-1][rows], np.diff(offsets)[rows])

    def unknown_books(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which depth events of `rows` say that their book is not known: those without levels."""
        return self._array(_UNKNOWN).to_numpy(zero_copy_only=False)[rows]  # type: ignore[no-any-return]

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

    def _array(self, name: str) -> pa.Array:
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def _dictionary(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        array = self._array(name)
        return array.indices.to_numpy().astype(np.int64), array.dictionary.to_pylist()

    def _venues(self) -> NDArray[np.int64]:
        """Return the rank of each event's venue."""
        codes, names = self._dictionary("venue")
        return _ranks(names)[codes]

    def _has_ids(self) -> bool:
        return bool(pa.compute.any(pa.compute.not_equal(self._array("id"), "")).as_py())

    def _ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rank of the ids of `rows`; 0 is the empty one, and only that."""
        if not self._has_ids():
            return np.zeros(len(rows), dtype=np.int64)
        encoded = self._array("id").take(pa.array(rows)).dictionary_encode()
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
