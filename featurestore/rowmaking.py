"""Rows from closed tiles: features of all listed instruments at many borders at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featurestore.layout import NO_START, FeaturePlan, Home, Layout, Source, own_home
from featurestore.parts import Market
from featurestore.specs import BORDER_S, Array, quietly, without_warnings
from featurestore.tiler import Tiler
from featurestore.tiles import NEVER
from featurestore.windows import windowed
from schemas import Rules
from schemas.rows import AGED, QUALITY, RowHeader, Rows
from schemas.rules import SECOND_NS

_MOST_VALUES = 1 << 16
"""Values of one window array: 512 KiB, so that it stays in the cache and its memory is used again."""
_WARMING, _STALE, _BOOK_GAP = (np.uint32(1 << QUALITY.index(name)) for name in ("warming", "stale", "book-gap"))
_LIVELY = tuple(AGED.index(name) for name in ("trade", "quote", "depth", "bar"))
"""Record types of the exchange that an instrument in trade keeps sending."""
_DEPTH = AGED.index("depth")
_READER: Home = "instrument"

_Chosen: TypeAlias = NDArray[np.int64] | None
"""Indices of the instruments that are asked for; None: all of them."""


@dataclass(frozen=True)
class _Group:
    """Features whose windows are the same."""

    level: int
    tiles: int
    sees_market: bool
    plans: tuple[FeaturePlan, ...]

    @property
    def key(self) -> tuple[int, int, bool]:
        """Return what no other group has."""
        return self.level, self.tiles, self.sees_market


class RowMaker:
    """Makes the rows of one feature set."""

    def __init__(self, partition: int, rules: Rules, layout: Layout, tiler: Tiler, market: Market) -> None:
        self._partition = partition
        self._rules = rules
        self._layout = layout
        self._tiler = tiler
        self._market = market
        self._row_tiles = rules.row_interval_ns // rules.tile_interval_ns
        groups: dict[tuple[int, int, bool], list[FeaturePlan]] = {}
        for plan in layout.features:
            groups.setdefault((plan.level, plan.tiles, plan.sees_market), []).append(plan)
        self._groups = [_Group(*key, tuple(plans)) for key, plans in sorted(groups.items())]
        self._cache: dict[tuple[int, int, bool], tuple[int, list[str], Array]] = {}
        self._joined = [plan for plan in layout.features if plan.start_ns > NO_START]
        self._longest_ns = max((plan.tiles * layout.levels_ns[plan.level] for plan in layout.features), default=0)

    def listed(self, tiles: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which instruments rows at the ends of evenly spaced closed `tiles` list."""
        space = self._tiler.spaces[_READER]
        first, last = int(tiles[0]), int(tiles[-1])
        times = space.last_times(first, last + 1)[:, :: self._row_tiles]
        return times >= (tiles + 1) * self._rules.tile_interval_ns - self._rules.listing_ns

    def make(self, tiles: NDArray[np.int64], listed: NDArray[np.bool_]) -> Iterator[Rows]:
        """Yield the rows at the ends of evenly spaced `tiles`, where they list anything.

        `listed` (instruments, tiles) is what `listed` said of them.
        """
        some = np.flatnonzero(listed.any(axis=0))
        if not len(some):
            return
        # Borders that list nothing are not looked at: the market may not be known there.
        tiles, listed = tiles[some[0] : some[-1] + 1], listed[:, some[0] : some[-1] + 1]
        chosen = np.flatnonzero(listed.any(axis=1))
        rows = chosen if len(chosen) < len(listed) else None
        with without_warnings():
            values = self._values(tiles, len(chosen), rows)
        lasts = self._lasts(tiles, rows)
        ages = self._ages(tiles, lasts)
        quality = self._quality(tiles, chosen, lasts)
        names = tuple(self._tiler.spaces[_READER].names[row] for row in chosen)
        for place, tile in enumerate(tiles):
            inside = listed[chosen, place]
            if not inside.any():
                continue
            every = inside.all()
            yield Rows(
                self._header((int(tile) + 1) * self._rules.tile_interval_ns),
                names if every else tuple(compress(names, inside)),
                self._layout.names,
                *(each[place] if every else each[place][inside] for each in (values, ages, quality)),
            )

    def _header(self, row_time_ns: int) -> RowHeader:
        return RowHeader(row_time_ns, self._partition, self._rules.rules_id, self._layout.feature_set_id)

    def _values(self, tiles: NDArray[np.int64], count: int, chosen: _Chosen) -> Array:
        """Return all features of the `count` chosen instruments, (rows, instruments, features)."""
        values = np.empty((len(self._layout.features), count, len(tiles)))
        for group in self._groups:
            ends = self._ends(group, tiles)
            if group.level == 0:
                step = max(1, _MOST_VALUES // (group.tiles * count))
                for first in range(0, len(ends), step):
                    part = slice(first, first + step)
                    found = self._evaluated(group, ends[part], self._row_tiles, count, chosen)
                    for plan, block in zip(group.plans, found, strict=True):
                        values[plan.column, :, part] = block
            else:
                for plan, block in zip(group.plans, self._slow(group, ends), strict=True):
                    values[plan.column] = block if chosen is None else block[chosen]
        return np.ascontiguousarray(values.T)

    def _ends(self, group: _Group, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where windows end: the tile of the level that comes next."""
        seen = tiles + 1 - (self._row_tiles if group.sees_market else 0)
        return seen * self._rules.tile_interval_ns // self._layout.levels_ns[group.level]

    def _slow(self, group: _Group, ends: NDArray[np.int64]) -> Array:
        """Return features of minutes or hours, (features, all instruments, rows).

        They change at the borders of their tiles only.
        """
        names = self._tiler.spaces[_READER].names
        everyone = len(names)
        result = np.empty((len(group.plans), everyone, len(ends)))
        for end in range(int(ends[0]), int(ends[-1]) + 1):
            places = np.flatnonzero(ends == end)
            if not len(places):
                continue
            known = self._cache.get(group.key)
            if known is None or known[0] != end or known[1] is not names:
                block = np.stack(list(self._evaluated(group, np.array([end]), 1, everyone, None)))
                known = end, names, block
                self._cache[group.key] = known
            result[..., places] = known[2]
        return result

    def _evaluated(
        self, group: _Group, ends: NDArray[np.int64], step: int, count: int, chosen: _Chosen
    ) -> Iterator[Array]:
        """Yield each of a group's features for windows that end before `ends`, (count, ends)."""
        windows: dict[str, Array] = {}
        masks: dict[tuple[tuple[Source, ...], int], NDArray[np.bool_]] = {}
        heard: dict[Source, NDArray[np.bool_]] = {}
        start_ns = (ends - group.tiles) * self._layout.levels_ns[group.level]
        for plan in group.plans:
            if (plan.sources, plan.start_ns) not in masks:
                for source in plan.sources:
                    if source not in heard:
                        heard[source] = self._last_times(source, group.level, ends, chosen) < start_ns
                masked = [heard[source] for source in plan.sources]
                unknown = np.logical_or.reduce([*masked, np.broadcast_to(start_ns < plan.start_ns, (count, len(ends)))])
                masks[plan.sources, plan.start_ns] = unknown
            unknown = masks[plan.sources, plan.start_ns]
            if unknown.all():  # nobody was heard of: a market without options costs nothing for them
                yield np.full(unknown.shape, np.nan)
                continue
            for name in plan.spec.inputs:
                if name not in windows:
                    windows[name] = self._window(name, group, ends, step, count, chosen)
            values = quietly(plan.spec.function, *(windows[name] for name in plan.spec.inputs))
            values[unknown] = np.nan
            yield values

    def _window(
        self, name: str, group: _Group, ends: NDArray[np.int64], step: int, count: int, chosen: _Chosen
    ) -> Array:
        first, last = int(ends[0]), int(ends[-1]) + 1
        if name == BORDER_S or name in self._layout.series:
            return self._tiler.windows(name, _READER, group.level, first, last, group.tiles, step=step, rows=chosen)
        view = self._market.series[name].levels[group.level].view(first - group.tiles, last - 1)
        return windowed(np.broadcast_to(view, (count, view.shape[1])), group.tiles, step)

    def _last_times(self, source: Source, level: int, ends: NDArray[np.int64], chosen: _Chosen) -> NDArray[np.int64]:
        """Return the last event times of a source before `ends`, (chosen, ends)."""
        (home, record), first = source, int(ends[0])
        ring = self._tiler.spaces[home].lasts[record].levels[level]
        times = ring.view(first - 1, int(ends[-1]))[:, ends - first]
        return np.asarray(self._tiler.joined(times, home, _READER, chosen))

    def _lasts(self, tiles: NDArray[np.int64], chosen: _Chosen) -> NDArray[np.int64]:
        """Return the last event time of each record type, NEVER where that was too long ago, (AGED, chosen, rows)."""
        oldest = (tiles + 1) * self._rules.tile_interval_ns - self._rules.never_ns
        lasts = []
        for record in AGED:
            home = own_home(record)
            last = self._last_times((home, record), 0, tiles + 1, chosen)
            lasts.append(np.where(last >= oldest, last, NEVER))
        return np.stack(lasts)

    def _ages(self, tiles: NDArray[np.int64], lasts: NDArray[np.int64]) -> Array:
        """Return seconds since the last event of each record type, (rows, instruments, AGED)."""
        borders = (tiles + 1) * self._rules.tile_interval_ns
        ages = np.where(lasts == NEVER, np.nan, (borders - lasts) / SECOND_NS)
        return np.ascontiguousarray(ages.T)

    def _quality(
        self, tiles: NDArray[np.int64], rows: NDArray[np.int64], lasts: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """Return the quality bits, (rows, instruments)."""
        borders = (tiles + 1) * self._rules.tile_interval_ns
        space = self._tiler.spaces[_READER]
        stale = lasts[_LIVELY, :].max(axis=0) < borders - self._rules.idle_timeout_ns - self._rules.row_interval_ns
        unknown = space.books.unknown.view(int(tiles[0]), int(tiles[-1]) + 1)[rows][:, tiles - tiles[0]]
        bits = np.where(self._warming(borders, rows), _WARMING, np.uint32(0))
        bits |= np.where(stale, _STALE, np.uint32(0))
        bits |= np.where(unknown & (lasts[_DEPTH] != NEVER), _BOOK_GAP, np.uint32(0))
        return np.ascontiguousarray(bits.T)

    def _warming(self, borders: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return where a window is not filled yet, (instruments, rows)."""
        first_ns = self._tiler.spaces[_READER].first_tile[rows] * self._rules.tile_interval_ns
        warming: NDArray[np.bool_] = first_ns[:, None] > borders - self._longest_ns
        for plan in self._joined:
            warming |= borders - plan.tiles * self._layout.levels_ns[plan.level] < plan.start_ns
        return warming
