"""The last T row intervals of a partition, as the tensors that models read.

The grid is that of row intervals, as in training: an interval without a row is masked, with the
age of "never". A row at or before the last one is a repeat and changes nothing.
"""

import hashlib
from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.rows import AGED, Rows
from streams.infer.models import Shape

Singles = npt.NDArray[np.float32]
NEVER = np.float32(-1.0)
_ROOM = 16


class Tensors(NamedTuple):
    """Inputs of the models for N instruments at one row time."""

    features: Singles
    """(N, T, F), 0 where masked."""
    mask: Singles
    """(N, T, F)"""
    age: Singles
    """(N, T, M) seconds, -1: never."""
    present: npt.NDArray[np.bool_]
    """(N, T): whether the instrument was in the row; no input of a model."""

    def digest(self, place: int) -> str:
        """Return the SHA-256 of what the models see of one instrument."""
        digest = hashlib.sha256()
        for tensor in (self.features, self.mask, self.age):
            digest.update(np.ascontiguousarray(tensor[place]).tobytes())
        return digest.hexdigest()


class Window:
    """Rows of the last T intervals; `last_ns` is the time of the newest row, -1 before the first."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.last_ns = -1
        self._offsets: deque[tuple[int, int]] = deque()
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._values = self._blank(0, len(shape.features))
        self._ages = self._blank(0, len(shape.modalities))
        self._present = np.zeros((0, shape.intervals), bool)

    @property
    def offsets(self) -> tuple[int, int]:
        """The first and last offset of the row messages inside the window."""
        return self._offsets[0][1], self._offsets[-1][1]

    def push(self, rows: Rows, offset: int) -> bool:
        """Take in a row message; return False for a repeat."""
        time_ns, interval = rows.header.row_time_ns, self.shape.row_interval_ns
        if time_ns <= self.last_ns:
            return False
        self._clear(time_ns)
        self.last_ns = time_ns
        self._offsets.append((time_ns, offset))
        while self._offsets[0][0] <= time_ns - self.shape.intervals * interval:
            self._offsets.popleft()
        slot = time_ns // interval % self.shape.intervals
        places = [self._place(instrument) for instrument in rows.instruments]
        self._values[places, slot] = _columns(rows.values, rows.features, self.shape.features)
        self._ages[places, slot] = _ages(rows, self.shape.modalities)
        self._present[places, slot] = True
        return True

    def tensors(self, instruments: tuple[str, ...]) -> Tensors:
        """Return the tensors of instruments of the last row."""
        intervals = self.shape.intervals
        slot = self.last_ns // self.shape.row_interval_ns % intervals
        order = (slot + 1 + np.arange(intervals)) % intervals
        index = np.ix_(np.array([self._places[instrument] for instrument in instruments]), order)
        values, present = self._values[index], self._present[index]
        known = np.isfinite(values)
        age = np.where(present[..., None], self._ages[index], NEVER)
        return Tensors(np.where(known, values, np.float32(0)), known.astype(np.float32), age, present)

    def _clear(self, time_ns: int) -> None:
        """Empty the slots between the last row and this one, and let go who has none left."""
        interval, intervals = self.shape.row_interval_ns, self.shape.intervals
        passed = min(intervals, (time_ns - self.last_ns) // interval) if self.last_ns >= 0 else intervals
        slots = (time_ns // interval - np.arange(passed)) % intervals
        self._values[:, slots] = np.nan
        self._ages[:, slots] = np.nan
        self._present[:, slots] = False
        for instrument in [name for name, place in self._places.items() if not self._present[place].any()]:
            self._free.append(self._places.pop(instrument))

    def _place(self, instrument: str) -> int:
        if instrument not in self._places:
            if not self._free:
                self._grow()
            self._places[instrument] = self._free.pop()
        return self._places[instrument]

    def _grow(self) -> None:
        room = len(self._values)
        more = max(_ROOM, room)
        self._free += range(room, room + more)
        self._values = np.concatenate([self._values, self._blank(more, len(self.shape.features))])
        self._ages = np.concatenate([self._ages, self._blank(more, len(self.shape.modalities))])
        self._present = np.concatenate([self._present, np.zeros((more, self.shape.intervals), bool)])

    def _blank(self, room: int, width: int) -> Singles:
        return np.full((room, self.shape.intervals, width), np.nan, np.float32)


def _columns(values: npt.NDArray[np.float64], have: tuple[str, ...], want: tuple[str, ...]) -> Singles:
    """Return the wanted columns; one that the rows do not have is masked."""
    at = {name: index for index, name in enumerate(have)}
    picked = np.full((len(values), len(want)), np.nan, np.float32)
    for column, name in enumerate(want):
        if name in at:
            picked[:, column] = values[:, at[name]]
    return picked


def _ages(rows: Rows, modalities: tuple[str, ...]) -> Singles:
    """Return ages by modality; one without a record type of its own is always new."""
    picked = np.zeros((len(rows.instruments), len(modalities)), np.float32)
    for column, name in enumerate(modalities):
        if name in AGED:
            age = rows.ages[:, AGED.index(name)]
            picked[:, column] = np.where(np.isfinite(age), age, NEVER)
    return picked
