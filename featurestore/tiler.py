"""Closes blocks of tiles: events in, one more stretch of every series out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.forgetting import forget, recall
from featurestore.layout import HOMES, Home, Layout, SeriesPlan, own_home
from featurestore.levels import list_fields
from featurestore.pending import Events
from featurestore.spaces import RECORDS, Space
from featurestore.specs import BORDER_S, Array, DerivedSpec, TileSpec, known, quietly, without_warnings
from featurestore.tiles import NEVER, carried
from featurestore.windows import windowed
from schemas import EVENTS, Depth, Rules, base_asset
from schemas.instruments import ANY_ASSET
from schemas.rules import SECOND_NS

_MOST_VALUES = 1 << 16
"""Values of one window array: 512 KiB, so that it stays in the cache and its memory is used again."""


_FORGET_EVERY = 512
"""Tiles between two looks for entities to forget."""


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
        self._looked = start // _FORGET_EVERY
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
        self._kept_tiles = layout.settle_tiles + max(space.kept_tiles() for space in self.spaces.values())

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
        self._forget()
        self._admit(taken)
        cells: dict[tuple[Home, str], _Cells] = {}
        for record, events in taken.items():
            for home in ("asset", "all") if EVENTS[record].of_asset else (own_home(record),):
                self._close_record(home, record, events, start, stop, cells)
        for space in self.spaces.values():
            for record in RECORDS[space.home]:
                if (space.home, record) not in cells:
                    space.extend_silent(record, stop - start)
            if (space.home, Depth.record) not in cells:
                space.books.silent(stop - start)
            space.head = stop
        unheard = {
            (home, record): self.spaces[home].lasts[record].levels[0].view(start, stop) == NEVER
            for home, record in {
                (plan.home, plan.spec.record) for plan in self.layout.series.values() if isinstance(plan.spec, TileSpec)
            }
        }
        with without_warnings():
            for plan in self.layout.series.values():
                space = self.spaces[plan.home]
                if isinstance(plan.spec, TileSpec):
                    source = plan.home, plan.spec.record
                    block = self._tiles(plan, cells.get(source), start, stop)
                    block[unheard[source]] = np.nan
                    block = self._carried(plan, block, cells.get(source), start)
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
        self._forget()
        for space in self.spaces.values():
            space.repeat(count)

    def _forget(self) -> None:
        """Now and then drop entities that were silent for longer than anything is kept: no row can tell."""
        if self.head // _FORGET_EVERY == self._looked:
            return
        self._looked = self.head // _FORGET_EVERY
        silent_ns = self._kept_tiles * self._tile_ns + max(self._rules.never_ns, self._rules.listing_ns)
        if forget(self.spaces, self.head * self._tile_ns - silent_ns):
            self.join()

    def _admit(self, taken: Mapping[str, Events]) -> None:
        names: dict[Home, set[str]] = {home: set() for home in HOMES}
        for record, events in taken.items():
            found = {events.names[code] for code in np.unique(events.codes)}
            names["asset"] |= {base_asset(name) for name in found}
            if own_home(record) == "instrument":
                names["instrument"] |= found
        names["asset"].discard(ANY_ASSET)
        before = [len(space) for space in self.spaces.values()]
        recall(self.spaces, names)
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
        space.extend_last_times(record, stop - start, places, times)
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
        return block

    def _carried(self, plan: SeriesPlan, block: Array, cells: _Cells | None, start: int) -> Array:
        spec, space = plan.spec, self.spaces[plan.home]
        if not isinstance(spec, TileSpec) or not spec.carry_ns:
            return block
        value, index = space.carries[spec.name]
        limit = spec.carry_ns // self._tile_ns
        block, value, index = carried(block, start, limit, value, index, self._since(spec, cells, block.shape[1]))
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
            block[first:last] = quietly(spec.function, *windows)
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
        owned = owners >= 0  # a row of silence has no asset
        np.add.at(total, owners[owned], np.where(counted, values, 0.0)[owned])
        np.add.at(count, owners[owned], counted[owned])
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
