"""Rings of closed tiles: the last columns of a series, at the base interval, by minute and by hour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurestore.specs import Array, Combine
from schemas import FeatureError

NEVER = -(1 << 62)
"""The last event time, or its tile, of what had no event; differences to it fit into int64."""

SPAN_TILES = 128
"""Most tiles between the oldest row that waits and the last closed tile; also a block's length."""

_SPARE = 64
"""Columns that are written before those that are kept move to the front: more of them cost memory."""


class Ring:
    """The last columns of an array (entities, time), read by absolute time index.

    A window is always one slice: columns are written behind each other into a buffer with room to
    spare, and moved to its front when it is full. What was never written is `fill`.

    >>> ring = Ring(1, keep=3, start=10)
    >>> ring.extend(np.array([[1.0, 2.0]]))
    >>> ring.view(9, 12)
    array([[nan,  1.,  2.]])
    """

    def __init__(self, rows: int, keep: int, start: int, fill: Any = np.nan) -> None:
        self.keep = keep
        self.head = start
        """Index of the column that comes next."""
        self.fill = fill
        self._data = np.full((rows, keep + _SPARE), fill)
        self._end = keep

    def extend(self, block: NDArray[Any]) -> None:
        """Append columns (entities, K)."""
        count = block.shape[1]
        size = self._data.shape[1]
        if count >= size:
            self._data[:] = block[:, count - size :]
            self._end = size
        else:
            if self._end + count > size:
                kept = min(self.keep, size - count)
                self._data[:, :kept] = self._data[:, self._end - kept : self._end].copy()
                self._end = kept
            self._data[:, self._end : self._end + count] = block
            self._end += count
        self.head += count

    def repeat(self, column: NDArray[Any], count: int) -> None:
        """Append `count` equal columns (entities,): a gap of any length costs one buffer."""
        size = self._data.shape[1]
        written = min(count, size)
        self.head += count - written
        self.extend(np.broadcast_to(column[:, None], (len(column), written)))

    def view(self, start: int, stop: int) -> NDArray[Any]:
        """Return the columns of indices [start, stop), (entities, stop - start)."""
        offset = self._end - self.head
        if start + offset < 0 or stop > self.head:
            raise IndexError(f"columns {start} to {stop} of a ring that holds up to {self.head}")
        return self._data[:, start + offset : stop + offset]

    def load(self, block: NDArray[Any]) -> None:
        """Set the last columns (entities, K) before `head`; K is at most `keep`."""
        self._data[:, self._end - block.shape[1] : self._end] = block

    def insert(self, positions: NDArray[np.int64]) -> None:
        """Add unwritten rows before `positions`, as `numpy.insert` does."""
        self._data = np.insert(self._data, positions, self.fill, axis=0)

    def copy_row(self, source: int, target: int) -> None:
        """Make one row what another is."""
        self._data[target] = self._data[source]

    def remove(self, positions: NDArray[np.int64]) -> None:
        """Drop rows, as `numpy.delete` does."""
        self._data = np.delete(self._data, positions, axis=0)


class Series:
    """One quantity of all entities: its ring of base tiles and those of coarser tiles.

    `factors`: number of tiles of the level below in one of each coarser level; `keeps`: columns
    kept at each level, the base included. A coarser tile is one call over all its children when
    the last of them closes.

    >>> series = Series(1, "sum", factors=(2,), keeps=(4, 4), start=0)
    >>> series.extend(np.array([[1.0, 2.0, 3.0]]))
    >>> series.levels[1].view(0, 1)
    array([[3.]])
    """

    def __init__(
        self,
        rows: int,
        combine: Combine | None,
        factors: Sequence[int],
        keeps: Sequence[int],
        start: int,
        fill: Any = np.nan,
    ) -> None:
        if factors and combine is None:
            raise FeatureError("a tile without combine= has no minutes and hours")
        self.combine = combine
        self.factors = tuple(factors)
        self.levels: list[Ring] = []
        for level, keep in enumerate(keeps):
            self.levels.append(Ring(rows, keep, start, fill))
            if level < len(factors):
                start //= factors[level]

    @property
    def head(self) -> int:
        """Return the index of the base tile that comes next."""
        return self.levels[0].head

    def extend(self, block: NDArray[Any]) -> None:
        """Append base tiles (entities, K)."""
        for start in range(0, block.shape[1], SPAN_TILES):
            self.levels[0].extend(block[:, start : start + SPAN_TILES])
            self._merge()

    def _merge(self) -> None:
        for fine, coarse, factor in zip(self.levels, self.levels[1:], self.factors, strict=False):
            head = fine.head // factor
            if head > coarse.head:
                children = fine.view(coarse.head * factor, head * factor)
                shape = (len(children), head - coarse.head, factor)
                coarse.extend(combined(self.combine, children.reshape(shape)))

    def repeat(self, column: NDArray[Any], count: int) -> None:
        """Append `count` equal base tiles (entities,)."""
        whole = int(np.prod(self.factors, dtype=np.int64))
        before = min(count, -self.head % whole)
        self._repeat_each(column, before)
        jumps = (count - before) // whole
        if jumps:
            tiles, values = jumps * whole, column
            self.levels[0].repeat(values, tiles)
            for coarse, factor in zip(self.levels[1:], self.factors, strict=True):
                tiles //= factor
                values = combined(self.combine, np.repeat(values[:, None], factor, axis=1))
                coarse.repeat(values, tiles)
        self._repeat_each(column, count - before - jumps * whole)

    def _repeat_each(self, column: NDArray[Any], count: int) -> None:
        for start in range(0, count, SPAN_TILES):
            length = min(SPAN_TILES, count - start)
            self.extend(np.broadcast_to(column[:, None], (len(column), length)))

    def insert(self, positions: NDArray[np.int64]) -> None:
        """Add unwritten rows before `positions`."""
        for ring in self.levels:
            ring.insert(positions)

    def copy_row(self, source: int, target: int) -> None:
        """Make one row what another is."""
        for ring in self.levels:
            ring.copy_row(source, target)

    def remove(self, positions: NDArray[np.int64]) -> None:
        """Drop rows."""
        for ring in self.levels:
            ring.remove(positions)


def combined(combine: Combine | None, children: NDArray[Any]) -> NDArray[Any]:
    """Return tiles merged over the last axis: a sum of NaN is NaN, the others pass NaN over."""
    children = np.ascontiguousarray(children)
    if combine == "sum":
        return np.asarray(np.add.reduce(children, axis=-1))
    if combine == "min":
        return np.asarray(np.fmin.reduce(children, axis=-1))
    if combine == "max":
        return np.asarray(np.fmax.reduce(children, axis=-1))
    known = ~np.isnan(children)
    place = known.argmax(axis=-1) if combine == "first" else -1 - known[..., ::-1].argmax(axis=-1)
    return np.asarray(np.take_along_axis(children, place[..., None] % children.shape[-1], axis=-1)[..., 0])


def carried(
    values: Array,
    start: int,
    limit: int,
    last_value: Array,
    last_index: NDArray[np.int64],
    since: NDArray[np.int64] | None = None,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return tiles (entities, K) with NaN replaced by the last number at most `limit` tiles back.

    `last_value` and `last_index` (entities,) are those of the tiles before `start`, and are
    returned as of the end. `since` (entities, K): tiles before it are not carried to this one.
    """
    index = np.arange(start, start + values.shape[1])
    known_at = np.where(np.isnan(values), last_index[:, None], index)
    known_at = np.maximum.accumulate(known_at, axis=1)
    inside = np.take_along_axis(values, np.maximum(known_at - start, 0), axis=1)
    known = np.where(known_at >= start, inside, last_value[:, None])
    near = index - known_at <= limit
    if since is not None:
        near &= known_at >= since
    return np.where(near, known, values), known[:, -1].copy(), known_at[:, -1].copy()
