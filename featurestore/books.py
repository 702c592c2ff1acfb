"""Which books are known: a depth event without levels says that its book is not, until one has levels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featurestore.tiles import NEVER, Ring


class BookStates:
    """Whether the book of each entity is unknown at the end of each tile, and what that ends.

    Carried values of a book end where it becomes unknown: nothing is made up behind a gap.
    """

    def __init__(self, rows: int, keep: int, start: int) -> None:
        self.unknown = Ring(rows, keep, start, fill=False)
        self.since = np.full(rows, NEVER)
        """The first tile of each entity whose values may still be carried; NEVER: any."""

    def extend(
        self,
        count: int,
        entities: NDArray[np.int64],
        tiles: NDArray[np.int64],
        offsets: NDArray[np.int64],
        unknown: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Add `count` tiles and return `since` as of the end of each, (entities, count).

        Cell i, of one entity and tile of the block, has the depth events offsets[i]:offsets[i + 1],
        of which `unknown` says whether they are without levels.
        """
        head, newest = self.unknown.head, self._newest()
        at_end = unknown[offsets[1:] - 1]
        told = np.full((len(newest), count), -1)
        told[entities, tiles] = np.arange(len(entities))
        told = np.maximum.accumulate(told, axis=1)
        self.unknown.extend(np.where(told >= 0, at_end[told], newest[:, None]))
        since = np.full((len(newest), count), NEVER)
        since[:, 0] = self.since
        some = np.logical_or.reduceat(unknown, offsets[:-1])
        first = head + tiles[some] + at_end[some]
        since[entities[some], tiles[some]] = np.maximum(since[entities[some], tiles[some]], first)
        since = np.maximum.accumulate(since, axis=1)
        self.since = since[:, -1].copy()
        return since

    def silent(self, count: int) -> None:
        """Add `count` tiles without depth events."""
        self.unknown.repeat(self._newest(), count)

    def insert(self, positions: NDArray[np.int64] | Sequence[int]) -> None:
        """Add entities before `positions`, as `numpy.insert` does."""
        self.unknown.insert(np.asarray(positions))
        self.since = np.insert(self.since, positions, NEVER)

    def remove(self, positions: NDArray[np.int64]) -> None:
        """Drop entities."""
        self.unknown.remove(positions)
        self.since = np.delete(self.since, positions)

    def _newest(self) -> NDArray[np.bool_]:
        newest: NDArray[np.bool_] = self.unknown.view(self.unknown.head - 1, self.unknown.head)[:, 0].copy()
        return newest
