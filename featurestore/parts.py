"""Market series: what each partition adds to sums over all instruments, and the means of all."""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.layout import SeriesPlan
from featurestore.spaces import keeps_of
from featurestore.specs import Array
from featurestore.tiles import Series
from schemas import DecodeError
from schemas.forecasts import MarketPart

Amounts = dict[str, tuple[float, int]]
"""By series: sum and count over one partition's instruments at one border."""


class MarketBook(msgspec.Struct):
    """What is known of the parts, as of the last message of market.state that was applied.

    `known`: by partition, the tile up to which its parts are known. `waiting`: by partition, the
    amounts by tile that other partitions have not reached. `merged`: the tile up to which all
    parts are known and summed.
    """

    known: list[int]
    merged: int
    waiting: list[dict[int, Amounts]]


class Market:
    """The market series of all partitions, as one of them reads them.

    Tiles are counted by their index; a part for (from, to] holds the tiles that end at these
    borders.
    """

    def __init__(self, partitions: int, tile_ns: int, factors: tuple[int, ...], row_tiles: int, start: int) -> None:
        self._tile_ns = tile_ns
        self._factors = factors
        self._row_tiles = row_tiles
        self.book = MarketBook([start] * partitions, start, [{} for _ in range(partitions)])
        self.series: dict[str, Series] = {}

    def plan(self, plans: Mapping[str, SeriesPlan]) -> None:
        """Keep the series of `plans`; new ones begin, those that are not among them go."""
        before, self.series = self.series, {}
        for name, plan in plans.items():
            factors = self._factors[: len(plan.windows) - 1]
            keeps = keeps_of(plan.windows, self._factors, self._row_tiles)
            series = Series(1, plan.spec.combine, factors, keeps, self.book.merged)
            if name in before:
                for ring, past in zip(series.levels, before[name].levels, strict=False):
                    kept = min(ring.keep, past.keep)
                    ring.load(past.view(past.head - kept, past.head))
            self.series[name] = series

    def restart(self, book: MarketBook, plans: Mapping[str, SeriesPlan]) -> None:
        """Go on from what was known, with empty series."""
        self.book = book
        self.series = {}
        self.plan(plans)

    def apply(self, part: MarketPart) -> None:
        """Take in a part; one that repeats what is known or does not join it is ignored."""
        known = self.book.known[part.partition]
        start, stop = part.from_ns // self._tile_ns, part.to_ns // self._tile_ns
        if start > known or stop <= known:
            return
        waiting = self.book.waiting[part.partition]
        for place, border_ns in enumerate(part.borders):
            tile = border_ns // self._tile_ns - 1
            if known <= tile < stop:
                waiting[tile] = {name: amounts[place] for name, amounts in part.series.items()}
        self.book.known[part.partition] = stop

    def merge(self, limit: int) -> None:
        """Sum what all partitions told, up to tile `limit`.

        After a restart the log may know more than this partition has closed: what its next rows
        look at must not be pushed out of the rings.
        """
        stop = min([*self.book.known, limit])
        if stop <= self.book.merged:
            return
        tiles = sorted({tile for waiting in self.book.waiting for tile in waiting if tile < stop})
        # Each run of tiles without amounts is one step, however long it is.
        for tile in tiles:
            self._skip(tile - self.book.merged)
            parts = [waiting.pop(tile, {}) for waiting in self.book.waiting]
            for name, series in self.series.items():
                series.extend(np.array([[_mean(part[name] for part in parts if name in part)]]))
            self.book.merged = tile + 1
        self._skip(stop - self.book.merged)

    def _skip(self, count: int) -> None:
        if count:
            for series in self.series.values():
                series.repeat(np.array([np.nan]), count)
            self.book.merged += count


def _mean(amounts: Iterable[tuple[float, int]]) -> float:
    """Return the mean over partitions, summed in their order; NaN where there is nothing."""
    total, count = 0.0, 0
    for part_sum, part_count in amounts:
        total += part_sum
        count += part_count
    return total / count if count else np.nan


def part_of(
    partition: int,
    tiles: tuple[int, int],
    tile_ns: int,
    values: Mapping[str, Array],
    known: NDArray[np.bool_],
    start: int,
) -> MarketPart:
    """Return a partition's part for tiles [first, last).

    `values`: by series, each instrument's value, (instruments, tiles); `known` of the same shape:
    which of them count. `start`: the tile of the first column.
    """
    first, last = tiles
    counts, sums = {}, {}
    for name, block in sorted(values.items()):
        counted = known & np.isfinite(block)
        # Added one by one, from 0: the sum must not depend on how many others there are.
        column = np.zeros((1, block.shape[1]))
        with np.errstate(over="ignore"):
            total = np.add.accumulate(np.concatenate((column, np.where(counted, block, 0.0))), axis=0)[-1]
        count = counted.sum(axis=0)
        count[~np.isfinite(total)] = 0
        counts[name], sums[name] = count, np.where(count > 0, total, 0.0)
    some = np.logical_or.reduce([count > 0 for count in counts.values()]) if counts else np.zeros(0, dtype=bool)
    listed = np.flatnonzero(some)
    return MarketPart(
        partition=partition,
        from_ns=first * tile_ns,
        to_ns=last * tile_ns,
        borders=[(start + int(place) + 1) * tile_ns for place in listed],
        series={name: [(float(sums[name][place]), int(counts[name][place])) for place in listed] for name in counts}
        if len(listed)
        else {},
    )


def check_part(part: MarketPart, partitions: int, tile_ns: int) -> None:
    """Raise DecodeError where a part cannot be one."""
    if not 0 <= part.partition < partitions:
        raise DecodeError(f"expected a partition below {partitions}, got {part.partition}", path="$.partition")
    if part.from_ns % tile_ns or part.to_ns % tile_ns or part.from_ns >= part.to_ns:
        problem = f"expected borders of tiles of {tile_ns} ns, got {part.from_ns} to {part.to_ns}"
        raise DecodeError(problem, path="$.to_ns")
    for name, amounts in part.series.items():
        if len(amounts) != len(part.borders):
            problem = f"expected {len(part.borders)} amounts, got {len(amounts)}"
            raise DecodeError(problem, path=f"$.series.{name}")
