"""Rows from closed tiles: features of all listed instruments at many borders at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featurestore.layout import NO_START, FeaturePlan, Home, Layout, Source, own_home
from featurestore.parts import Market
from featurestore.specs import BORDER_S, Array
from featurestore.tiler import Tiler, windowed
from featurestore.tiles import NEVER
from schemas import Rules
from schemas.rows import AGED, QUALITY, RowHeader, Rows
from schemas.rules import SECOND_NS

_MOST_VALUES = 1 << 18
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
        self._cache: dict[tuple[int, int, bool], tuple[int, int, Array]] = {}
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
        values = self._values(tiles, len(chosen), rows)
        lasts = self._lasts(tiles, rows)
        ages = self._ages(tiles, lasts)
        quality = self._quality(tiles, chosen, lasts)
        names = [self._tiler.spaces[_READER].names[row] for row in chosen]
        for place, tile in enumerate(tiles):
            inside = np.flatnonzero(listed[chosen, place])
            if len(inside):
                row_time_ns = (int(tile) + 1) * self._rules.tile_interval_ns
                yield Rows(
                    self._header(row_time_ns),
                    tuple(names[row] for row in inside),
                    self._layout.names,
                    values[inside, place],
                    ages[inside, place],
                    quality[inside, place],
                )

    def _header(self, row_time_ns: int) -> RowHeader:
        return RowHeader(row_time_ns, self._partition, self._rules.rules_id, self._layout.feature_set_id)

    def _values(self, tiles: NDArray[np.int64], count: int, chosen: _Chosen) -> Array:
        """Return all features of the `count` chosen instruments, (instruments, rows, features)."""
        values = np.empty((count, len(tiles), len(self._layout.features)))
        for group in self._groups:
            columns = [plan.column for plan in group.plans]
            ends = self._ends(group, tiles)
            if group.level == 0:
                step = max(1, _MOST_VALUES // (group.tiles * count))
                for first in range(0, len(ends), step):
                    part = slice(first, first + step)
                    values[:, part, columns] = self._evaluated(group, ends[part], self._row_tiles, count, chosen)
            else:
                slow = self._slow(group, ends)
                values[:, :, columns] = slow if chosen is None else slow[chosen]
        return values

    def _ends(self, group: _Group, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where windows end: the tile of the level that comes next."""
        seen = tiles + 1 - (self._row_tiles if group.sees_market else 0)
        return seen * self._rules.tile_interval_ns // self._layout.levels_ns[group.level]

    def _slow(self, group: _Group, ends: NDArray[np.int64]) -> Array:
        """Return features of minutes or hours, (all instruments, rows, features).

        They change at the borders of their tiles only.
        """
        everyone = len(self._tiler.spaces[_READER])
        result = np.empty((everyone, len(ends), len(group.plans)))
        for end in range(int(ends[0]), int(ends[-1]) + 1):
            places = np.flatnonzero(ends == end)
            if not len(places):
                continue
            known = self._cache.get(group.key)
            if known is None or known[:2] != (end, everyone):
                known = end, everyone, self._evaluated(group, np.array([end]), 1, everyone, None)
                self._cache[group.key] = known
            result[:, places] = known[2]
        return result

    def _evaluated(self, group: _Group, ends: NDArray[np.int64], step: int, count: int, chosen: _Chosen) -> Array:
        """Return a group's features for windows that end before `ends`, (count, ends, features)."""
        result = np.empty((count, len(ends), len(group.plans)))
        windows: dict[str, Array] = {}
        heard: dict[Source, NDArray[np.bool_]] = {}
        level_ns = self._layout.levels_ns[group.level]
        start_ns = (ends - group.tiles) * level_ns
        for place, plan in enumerate(group.plans):
            for name in plan.spec.inputs:
                if name not in windows:
                    windows[name] = self._window(name, group, ends, step, count, chosen)
            with np.errstate(all="ignore"):
                values = np.asarray(plan.spec.function(*(windows[name] for name in plan.spec.inputs)))
            known = np.isfinite(values) & (start_ns >= plan.start_ns)
            for source in plan.sources:
                if source not in heard:
                    heard[source] = self._last_times(source, group.level, ends, chosen) >= start_ns
                known = known & heard[source]
            result[..., place] = np.where(known, values, np.nan)
        return result

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
        """Return seconds since the last event of each record type, (instruments, rows, AGED)."""
        borders = (tiles + 1) * self._rules.tile_interval_ns
        ages = np.where(lasts == NEVER, np.nan, (borders - lasts) / SECOND_NS)
        return np.ascontiguousarray(np.moveaxis(ages, 0, -1))

    def _quality(
        self, tiles: NDArray[np.int64], rows: NDArray[np.int64], lasts: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """Return the quality bits, (instruments, rows)."""
        borders = (tiles + 1) * self._rules.tile_interval_ns
        space = self._tiler.spaces[_READER]
        stale = lasts[_LIVELY, :].max(axis=0) < borders - self._rules.idle_timeout_ns - self._rules.row_interval_ns
        unknown = space.books.unknown.view(int(tiles[0]), int(tiles[-1]) + 1)[rows][:, tiles - tiles[0]]
        bits = np.where(self._warming(borders, rows), _WARMING, np.uint32(0))
        bits |= np.where(stale, _STALE, np.uint32(0))
        bits |= np.where(unknown & (lasts[_DEPTH] != NEVER), _BOOK_GAP, np.uint32(0))
        return bits

    def _warming(self, borders: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return where a window is not filled yet, (instruments, rows)."""
        first_ns = self._tiler.spaces[_READER].first_tile[rows] * self._rules.tile_interval_ns
        warming: NDArray[np.bool_] = first_ns[:, None] > borders - self._longest_ns
        for plan in self._joined:
            warming |= borders - plan.tiles * self._layout.levels_ns[plan.level] < plan.start_ns
        return warming
