"""Entities of one kind and their series: instruments, assets, or the one "*"."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from featurestore.books import BookStates
from featurestore.layout import Home, SeriesPlan, own_home
from featurestore.specs import Array, TileSpec
from featurestore.tiles import NEVER, SPAN_TILES, Series
from schemas import EVENTS
from schemas.instruments import ANY_ASSET

UNSEEN = np.iinfo(np.int64).max

RECORDS: dict[Home, tuple[str, ...]] = {
    "instrument": tuple(name for name in EVENTS if own_home(name) == "instrument"),
    "asset": tuple(name for name in EVENTS if own_home(name) == "asset"),
    "all": tuple(name for name, event in EVENTS.items() if event.of_asset),
}


class Space:
    """Sorted entities; per series one row for each."""

    def __init__(self, home: Home, factors: tuple[int, ...], row_tiles: int, start: int) -> None:
        self.home = home
        self.names: list[str] = [ANY_ASSET] if home == "all" else []
        self.head = start
        self._factors = factors
        self._row_tiles = row_tiles
        self.first_tile = np.full(len(self.names), start, dtype=np.int64)
        """The tile of each entity's first event; UNSEEN before there is one."""
        self.series: dict[str, Series] = {}
        self.carries: dict[str, tuple[Array, NDArray[np.int64]]] = {}
        """Last number and its tile, for tiles that are carried."""
        keeps = keeps_of([1] * (len(factors) + 1), factors, row_tiles)
        self.lasts = {record: Series(len(self.names), "last", factors, keeps, start, NEVER) for record in RECORDS[home]}
        """Tile time of the last event before each border, by record type."""
        self.books = BookStates(len(self.names), keeps[0], start)
        self.forgotten: dict[str, tuple[str, int]] = {}
        """Entities without a row: the record types of their events, and the tile of the first."""

    def __len__(self) -> int:
        return len(self.names)

    def plan(self, plans: Iterable[SeriesPlan]) -> None:
        """Keep the series of `plans`: new ones begin, those that are not among them go."""
        before, carries = self.series, self.carries
        self.series, self.carries = {}, {}
        for plan in plans:
            name = plan.spec.name
            self.series[name] = self._grown(plan, before.get(name))
            if isinstance(plan.spec, TileSpec) and plan.spec.carry_ns:
                fresh = np.full(len(self), np.nan), np.full(len(self), NEVER)
                self.carries[name] = carries.get(name, fresh)

    def _grown(self, plan: SeriesPlan, old: Series | None) -> Series:
        factors = self._factors[: len(plan.windows) - 1]
        keeps = keeps_of(plan.windows, self._factors, self._row_tiles)
        series = Series(len(self), plan.spec.combine, factors, keeps, self.head)
        if old is not None:
            for ring, past in zip(series.levels, old.levels, strict=False):
                kept = min(ring.keep, past.keep)
                ring.load(past.view(past.head - kept, past.head))
        return series

    def admit(self, names: Iterable[str]) -> None:
        """Add entities; what they were before is unknown."""
        new = sorted(set(names) - set(self.names))
        if not new:
            return
        positions = np.searchsorted(np.array(self.names, dtype=object), np.array(new, dtype=object))
        self.names = sorted([*self.names, *new])
        self.first_tile = np.insert(self.first_tile, positions, UNSEEN)
        for series in (*self.series.values(), *self.lasts.values()):
            series.insert(positions)
        self.books.insert(positions)
        self.carries = {
            name: (np.insert(value, positions, np.nan), np.insert(index, positions, NEVER))
            for name, (value, index) in self.carries.items()
        }

    def copy(self, source: str, target: str, first_tile: int | None = None) -> None:
        """Make one entity what another is, its books aside; `first_tile`: that of its first event."""
        here, there = self.names.index(source), self.names.index(target)
        for series in (*self.series.values(), *self.lasts.values()):
            series.copy_row(here, there)
        for value, index in self.carries.values():
            value[there], index[there] = value[here], index[here]
        self.first_tile[there] = self.first_tile[here] if first_tile is None else first_tile

    def remove(self, names: Iterable[str]) -> None:
        """Drop entities."""
        positions = np.array([self.names.index(name) for name in names], dtype=np.int64)
        if not len(positions):
            return
        self.names = np.delete(np.array(self.names, dtype=object), positions).tolist()
        self.first_tile = np.delete(self.first_tile, positions)
        for series in (*self.series.values(), *self.lasts.values()):
            series.remove(positions)
        self.books.remove(positions)
        self.carries = {
            name: (np.delete(value, positions), np.delete(index, positions))
            for name, (value, index) in self.carries.items()
        }

    def heard(self, name: str) -> list[str]:
        """Return the record types of an entity's events."""
        row = self.names.index(name)
        return [record for record in RECORDS[self.home] if self._newest(record)[row] != NEVER]

    def first_tile_of(self, name: str) -> int:
        """Return the tile of an entity's first event."""
        return int(self.first_tile[self.names.index(name)])

    def extend_last_times(self, record: str, count: int, places: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Add the last event times of `count` tiles; `places` (entity and tile) and `times` rise."""
        latest = np.full(len(self) * count, NEVER)
        last = np.append(np.flatnonzero(places[1:] != places[:-1]), len(places) - 1)
        latest[places[last]] = times[last]
        block = latest.reshape(len(self), count)
        block[:, 0] = np.maximum(block[:, 0], self._newest(record))
        self.lasts[record].extend(np.maximum.accumulate(block, axis=1))

    def extend_silent(self, record: str, count: int) -> None:
        """Add `count` tiles without events of a record type."""
        self.lasts[record].extend(np.broadcast_to(self._newest(record)[:, None], (len(self), count)))

    def _newest(self, record: str) -> NDArray[np.int64]:
        ring = self.lasts[record].levels[0]
        newest: NDArray[np.int64] = ring.view(ring.head - 1, ring.head)[:, 0].copy()
        return newest

    def kept_tiles(self) -> int:
        """Return the number of base tiles after which silence fills all that is kept."""
        longest = 0
        for series in (*self.series.values(), *self.lasts.values()):
            tiles = 1
            for level, ring in enumerate(series.levels):
                longest = max(longest, (ring.keep + 1) * tiles)
                tiles *= series.factors[level] if level < len(series.factors) else 1
        return longest

    def last_time(self, tile: int) -> NDArray[np.int64]:
        """Return the last event time of each entity before the end of `tile`, of any record type."""
        return self.last_times(tile, tile + 1)[:, 0]

    def last_times(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the last event times before the ends of tiles [start, stop), (entities, tiles)."""
        return np.asarray(np.maximum.reduce([series.levels[0].view(start, stop) for series in self.lasts.values()]))

    def repeat(self, count: int) -> None:
        """Add `count` silent tiles in which nothing changes."""
        for series in (*self.series.values(), *self.lasts.values()):
            newest = series.levels[0].view(self.head - 1, self.head)[:, 0].copy()
            series.repeat(newest, count)
        self.books.silent(count)
        self.head += count


def keeps_of(windows: list[int], factors: tuple[int, ...], row_tiles: int) -> list[int]:
    """Return the columns to keep at each level for windows of these lengths.

    `factors`: tiles of one level in one of the next; `row_tiles`: base tiles between rows. The
    oldest row that waits may be `SPAN_TILES` back, and market features look one row further.
    """
    keeps, span = [], SPAN_TILES + 2 * row_tiles
    for level, window in enumerate(windows):
        children = factors[level] if level + 1 < len(windows) else 0
        keeps.append(max(window, children) + span + 1)
        span = span // factors[level] + 1 if level < len(factors) else 0
    return keeps
