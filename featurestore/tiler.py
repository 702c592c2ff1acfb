"""Closes blocks of tiles: events in, one more stretch of every series out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from featurestore.layout import HOMES, Home, Layout, SeriesPlan, own_home
from featurestore.levels import list_fields
from featurestore.pending import Events
from featurestore.spaces import RECORDS, Space
from featurestore.specs import BORDER_S, Array, DerivedSpec, TileSpec, known
from featurestore.tiles import NEVER, carried
from schemas import EVENTS, Depth, Rules, base_asset
from schemas.instruments import ANY_ASSET
from schemas.rules import SECOND_NS

_MOST_VALUES = 1 << 18
"""Values of one window array: 2 MiB, so that it stays in the cache."""

_FEW_WINDOWS = 8
"""Up to so many windows are copied one by one, which is faster than numpy's way to all of them."""


class _Cells(NamedTuple):
    """Events of one record type and home, in order: those of cell i are rows[offsets[i]:...]."""

    events: Events
    rows: NDArray[np.int64]
    entities: NDArray[np.int64]
    """Index of the entity of each cell."""
    tiles: NDArray[np.int64]
    """Tile of each cell, counted from the block's start."""
    offsets: NDArray[np.int64]
    since: NDArray[np.int64] | None
    """Of books: the first tile whose values may be carried to each, (entities, tiles)."""
    columns: dict[str, NDArray[Any]]
    """Tile inputs that were asked for before, and the lists that they are made of."""

    def columns_of(self, spec: TileSpec) -> dict[str, NDArray[Any]]:
        """Return the inputs of a tile, in order."""
        lists = list_fields(EVENTS[spec.record])
        for name in spec.columns:
            if name not in self.columns:
                read = self.events.levels if name in lists else self.events.tile_input
                self.columns[name] = read(name, self.rows)
        for name in spec.inputs:
            self.columns[name] = spec.column(name, self.columns)
        return self.columns


class Tiler:
    """All series of one partition, up to the last closed tile."""

    def __init__(self, rules: Rules, layout: Layout, start: int) -> None:
        self._rules = rules
        self._tile_ns = rules.tile_interval_ns
        row_tiles = rules.row_interval_ns // rules.tile_interval_ns
        self.layout = layout
        self.spaces: dict[Home, Space] = {home: Space(home, layout.factors, row_tiles, start) for home in HOMES}
        self.joins: dict[tuple[Home, Home], NDArray[np.int64]] = {}
        self.last_event_tile = start
        """The latest tile with an event."""
        self.follow(layout)
        self.join()

    @property
    def head(self) -> int:
        """Return the first open tile."""
        return self.spaces["instrument"].head

    def follow(self, layout: Layout) -> None:
        """Go on with the series of another feature set."""
        self.layout = layout
        for home, space in self.spaces.items():
            space.plan(plan for plan in layout.series.values() if plan.home == home)

    def join(self) -> None:
        """Find the asset of each instrument, after either was added."""
        assets = {name: index for index, name in enumerate(self.spaces["asset"].names)}
        instruments = self.spaces["instrument"].names
        found = [assets.get(base_asset(name), -1) for name in instruments]
        self.joins = {
            ("instrument", "asset"): np.array(found, dtype=np.int64),
            ("instrument", "all"): np.zeros(len(instruments), dtype=np.int64),
            ("asset", "all"): np.zeros(len(assets), dtype=np.int64),
        }

    def joined(
        self, values: NDArray[Any], home: Home, reader: Home, rows: NDArray[np.int64] | None = None
    ) -> NDArray[Any]:
        """Return rows of `home` as seen by the entities of `reader` (those of `rows`).

        NaN, or NEVER for times, where an instrument's asset has nothing.
        """
        if home == reader:
            return values if rows is None else values[rows]
        index = self.joins[reader, home]
        if rows is not None:
            index = index[rows]
        if not len(values):
            fill = np.nan if values.dtype.kind == "f" else NEVER
            return np.full((len(index), *values.shape[1:]), fill, dtype=values.dtype)
        result = values[index]
        result[index < 0] = np.nan if values.dtype.kind == "f" else NEVER
        return result

    def close(self, stop: int, taken: Mapping[str, Events]) -> dict[str, Array]:
        """Close the tiles up to `stop` with their events.

        Returns, by market series, what each instrument has to say about it, (instruments, tiles).
        """
        start = self.head
        self._admit(taken)
        cells: dict[tuple[Home, str], _Cells] = {}
        for record, events in taken.items():
            for home in ("asset", "all") if EVENTS[record].of_asset else (own_home(record),):
                self._close_record(home, record, events, start, stop, cells)
        for space in self.spaces.values():
            for record in RECORDS[space.home]:
                if (space.home, record) not in cells:
                    _extend_silent(space, record, stop - start)
            if (space.home, Depth.record) not in cells:
                space.books.silent(stop - start)
            space.head = stop
        for plan in self.layout.series.values():
            space = self.spaces[plan.home]
            if isinstance(plan.spec, TileSpec):
                block = self._tiles(plan, cells.get((plan.home, plan.spec.record)), start, stop)
            else:
                block = (self._of_asset if plan.spec.of_asset else self._derived)(plan, plan.spec, start, stop)
            space.series[plan.spec.name].extend(block)
        return {
            name: self._derived(plan, plan.spec, start, stop)
            for name, plan in self.layout.market.items()
            if isinstance(plan.spec, DerivedSpec)
        }

    def repeat(self, count: int) -> None:
        """Close `count` silent tiles in which nothing changes any more."""
        for space in self.spaces.values():
            space.repeat(count)

    def _admit(self, taken: Mapping[str, Events]) -> None:
        names: dict[Home, set[str]] = {home: set() for home in HOMES}
        for record, events in taken.items():
            found = {events.names[code] for code in np.unique(events.codes)}
            names["asset"] |= {base_asset(name) for name in found}
            if own_home(record) == "instrument":
                names["instrument"] |= found
        names["asset"].discard(ANY_ASSET)
        before = [len(space) for space in self.spaces.values()]
        for home in HOMES:
            self.spaces[home].admit(names[home])
        if before != [len(space) for space in self.spaces.values()]:
            self.join()

    def _close_record(
        self,
        home: Home,
        record: str,
        events: Events,
        start: int,
        stop: int,
        cells: dict[tuple[Home, str], _Cells],
    ) -> None:
        """Order the events of one record type, note their last times and cut them into tiles."""
        space = self.spaces[home]
        index = {name: place for place, name in enumerate(space.names)}
        owners = (base_asset(name) if home == "asset" else name for name in events.names)
        entities = np.array([index.get(name, -1) for name in owners], dtype=np.int64)[events.codes]
        inside = np.flatnonzero(entities >= 0)
        if not len(inside):
            return
        if len(inside) < len(entities):
            events, entities = events.of(inside), entities[inside]
        order = events.order(entities, start * self._tile_ns)
        times = events.tile_times[order]
        tiles = times // self._tile_ns - start
        places = entities[order] * (stop - start) + tiles
        _extend_last_times(space, record, stop - start, places, times)
        self.last_event_tile = max(self.last_event_tile, int(tiles.max()) + start)
        kept = events.first_of_repeats(order, places)
        if not kept.all():
            order, places = order[kept], places[kept]
        starts = np.append(0, np.flatnonzero(places[1:] != places[:-1]) + 1)
        owners, inside = np.divmod(places[starts], stop - start)
        offsets = np.append(starts, len(places))
        since = None
        if record == Depth.record:
            since = space.books.extend(stop - start, owners, inside, offsets, events.unknown_books(order))
        found = _Cells(events, order, owners, inside, offsets, since, {})
        cells[home, record] = found
        seen, first = np.unique(found.entities, return_index=True)
        space.first_tile[seen] = np.minimum(space.first_tile[seen], found.tiles[first] + start)

    def _tiles(self, plan: SeriesPlan, cells: _Cells | None, start: int, stop: int) -> Array:
        spec, space = plan.spec, self.spaces[plan.home]
        assert isinstance(spec, TileSpec)  # noqa: S101  # what `close` asked before
        block = np.full((len(space), stop - start), spec.empty_value)
        if cells is not None:
            block[cells.entities, cells.tiles] = spec.evaluate(cells.columns_of(spec), cells.offsets)
        block[space.lasts[spec.record].levels[0].view(start, stop) == NEVER] = np.nan
        if spec.carry_ns:
            value, index = space.carries[spec.name]
            limit = spec.carry_ns // self._tile_ns
            since = self._since(spec, cells, stop - start)
            block, value, index = carried(block, start, limit, value, index, since)
            space.carries[spec.name] = value, index
        return block

    def _since(self, spec: TileSpec, cells: _Cells | None, count: int) -> NDArray[np.int64] | None:
        """Return the first tile that may be carried to each, (instruments, tiles); None: any."""
        if cells is not None or spec.record != Depth.record:
            return None if cells is None else cells.since
        since = self.spaces["instrument"].books.since
        return np.broadcast_to(since[:, None], (len(since), count))

    def _derived(self, plan: SeriesPlan, spec: DerivedSpec, start: int, stop: int) -> Array:
        space = self.spaces[plan.home]
        count, length = stop - start, spec.window_tiles
        block = np.full((len(space), count), np.nan)
        step = max(1, _MOST_VALUES // (count * length))
        for first in range(0, len(space), step):
            last = min(first + step, len(space))
            rows = np.arange(first, last) if last - first < len(space) else None
            windows = [self.windows(name, plan.home, 0, start + 1, stop + 1, length, rows=rows) for name in spec.inputs]
            with np.errstate(all="ignore"):
                block[first:last] = spec.function(*windows)
        tiles = np.arange(start, stop)
        block[tiles < space.first_tile[:, None]] = np.nan
        block[:, tiles < plan.start] = np.nan
        return block

    def _of_asset(self, plan: SeriesPlan, spec: DerivedSpec, start: int, stop: int) -> Array:
        """Return the mean or sum over the listed instruments of each asset, added one by one in their order."""
        values = self._derived(replace(plan, home="instrument"), spec, start, stop)
        borders = (np.arange(start, stop) + 1) * self._tile_ns
        times = self.spaces["instrument"].last_times(start, stop)
        counted = np.isfinite(values) & (times >= borders - self._rules.listing_ns)
        shape = len(self.spaces["asset"]), stop - start
        total, count = np.zeros(shape), np.zeros(shape)
        owners = self.joins["instrument", "asset"]
        np.add.at(total, owners, np.where(counted, values, 0.0))
        np.add.at(count, owners, counted)
        with np.errstate(all="ignore"):
            return known(total / count if spec.of_asset == "mean" else np.where(count > 0, total, np.nan))

    def windows(
        self,
        name: str,
        reader: Home,
        level: int,
        first: int,
        last: int,
        length: int,
        *,
        step: int = 1,
        rows: NDArray[np.int64] | None = None,
    ) -> Array:
        """Return windows of a series that end before tiles first, first + step, ... below last.

        C-contiguous (rows of `reader`, windows, length): what makes numpy's reductions over the
        last axis give the same bits whatever the other axes hold.
        """
        if name == BORDER_S:
            ends = np.arange(first - length, last - 1) + 1
            seconds = ends * self.layout.levels_ns[level] / SECOND_NS
            count = len(self.spaces[reader]) if rows is None else len(rows)
            columns = np.broadcast_to(seconds, (count, len(seconds)))
        else:
            home = self.layout.series[name].home
            view = self.spaces[home].series[name].levels[level].view(first - length, last - 1)
            columns = self.joined(view, home, reader, rows)
        return windowed(columns, length, step)


def windowed(columns: Array, length: int, step: int) -> Array:
    """Return all windows of `length` columns, every `step`, as one read-only C-contiguous array.

    >>> windowed(np.array([[1.0, 2.0, 3.0]]), 2, 1)
    array([[[1., 2.],
            [2., 3.]]])
    """
    count = (columns.shape[1] - length) // step + 1
    if count <= _FEW_WINDOWS:
        result = np.empty((len(columns), count, length))
        for place in range(count):
            result[:, place] = columns[:, place * step : place * step + length]
    else:
        result = np.ascontiguousarray(sliding_window_view(columns, length, axis=1)[:, ::step])
    result.flags.writeable = False
    return result


def _extend_last_times(
    space: Space, record: str, count: int, places: NDArray[np.int64], times: NDArray[np.int64]
) -> None:
    """Add the last event times of `count` tiles; `places` (entity and tile) and `times` rise."""
    latest = np.full(len(space) * count, NEVER)
    last = np.append(np.flatnonzero(places[1:] != places[:-1]), len(places) - 1)
    latest[places[last]] = times[last]
    block = latest.reshape(len(space), count)
    block[:, 0] = np.maximum(block[:, 0], _newest(space, record))
    space.lasts[record].extend(np.maximum.accumulate(block, axis=1))


def _extend_silent(space: Space, record: str, count: int) -> None:
    column = _newest(space, record)
    space.lasts[record].extend(np.broadcast_to(column[:, None], (len(space), count)))


def _newest(space: Space, record: str) -> NDArray[np.int64]:
    ring = space.lasts[record].levels[0]
    return ring.view(ring.head - 1, ring.head)[:, 0].copy()
