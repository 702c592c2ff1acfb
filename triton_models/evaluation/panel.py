"""Feature rows of the bars profile with what followed them: what every expert learns from and is scored on."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import StateError
from schemas.tensors import HORIZON_NS
from triton_models.evaluation.definitions import (
    BARS_AHEAD,
    FLOOR_RATIO,
    INTERVAL_NS,
    KNOWN_RATIO,
    ORIGIN_STEP_NS,
    TARGET_FEATURE,
)
from triton_models.evaluation.folds import Folds
from triton_models.har import FLOOR_PER_NS, Floats, Times

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_WEEK = "bar_realised_variance_7d"
_WEEK_BARS = 2016
_BAR = TARGET_FEATURE["5m"]
REQUIRED = (*TARGET_FEATURE.values(), _WEEK)
"""Features without which there are no targets."""


class Panel:
    """Rows (N) of all instruments, sorted by instrument and time; a row is its interval's close."""

    def __init__(
        self,
        instrument: Sequence[str],
        row_time_ns: Times,
        columns: Mapping[str, Floats],
        *,
        held_out: Sequence[str] = (),
    ) -> None:
        """Take unsorted rows: names and times (N,), features (N,) by name, NaN where masked.

        Raises:
            StateError: an instrument has two rows of one time, or a feature of the targets is not there.
        """
        missing = [name for name in REQUIRED if name not in columns]
        if missing:
            raise StateError(f"rows lack {', '.join(missing)}; backfill them with the bars catalogue")
        names, code = np.unique(np.asarray(instrument, dtype=np.str_), return_inverse=True)
        order = np.lexsort((row_time_ns, code))
        self.instruments = tuple(str(name) for name in names)
        self.held_out = tuple(sorted(held_out))
        self.instrument: Indices = code[order].astype(np.int64)
        self.row_time_ns: Times = np.asarray(row_time_ns, np.int64)[order]
        self._slot = self._slots()
        found = {name: np.asarray(values, np.float64)[order] for name, values in columns.items()}
        self.columns: Mapping[str, Floats] = MappingProxyType(found)
        self.target: Mapping[str, Floats] = MappingProxyType({name: self._target(name) for name in TARGET_FEATURE})
        self.in_training: Flags = ~np.isin(names, self.held_out)[self.instrument]

    def __len__(self) -> int:
        return len(self.row_time_ns)

    def data_hash(self) -> str:
        """Return a SHA-256 over instruments, times, features and targets."""
        digest = hashlib.sha256(repr((self.instruments, self.held_out)).encode())
        digest.update(self.instrument.tobytes() + self.row_time_ns.tobytes())
        for part in (self.columns, self.target):
            for name, values in sorted(part.items()):
                digest.update(name.encode() + values.tobytes())
        return digest.hexdigest()

    def origins(self, horizon: str) -> Flags:
        """Return the rows (N,) that are fitted on and scored at a horizon: once a week is known."""
        known = np.isfinite(self.columns[_WEEK])
        return np.asarray((self.row_time_ns % ORIGIN_STEP_NS[horizon] == 0) & known, np.bool_)

    def shifted(self, values: Floats, intervals: int) -> Floats:
        """Return what `values` (N,) is so many intervals later, negative: earlier; NaN where no row is."""
        grid = np.full(self._length + abs(intervals), np.nan)
        grid[self._slot + max(-intervals, 0)] = values
        return grid[self._slot + max(intervals, 0)]

    def trailing_mean(self, values: Floats, intervals: int, known_ratio: float = KNOWN_RATIO) -> Floats:
        """Return the mean (N,) of `values` over the last intervals; NaN where a smaller part of them is known.

        Sums run forwards, so what is later changes no bit of what is earlier.
        """
        slots = np.full(self._length, np.nan)
        slots[self._slot] = values
        # Each instrument's sums begin anew: they must not carry the rounding of another one's future.
        grid = slots.reshape(len(self.instruments), -1)
        known = np.isfinite(grid)
        total, count = np.cumsum(np.where(known, grid, 0.0), axis=1).ravel(), np.cumsum(known, axis=1).ravel()
        first, last = self._slot - intervals, self._slot
        number = count[last] - count[first]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total[last] - total[first]) / number
        return np.where(number >= known_ratio * intervals, mean, np.nan)

    def floor(self, horizon: str) -> Floats:
        """Return the least variance (N,) that counts over a horizon: of the week before, or of nothing known."""
        week = self.columns[_WEEK] * (FLOOR_RATIO * BARS_AHEAD[horizon] / _WEEK_BARS)
        return np.fmax(week, FLOOR_PER_NS * HORIZON_NS[horizon])

    def with_targets(self, target: Mapping[str, Floats]) -> Self:
        """Return a panel with other targets (N,) in the order of its rows: for tests of leaks."""
        names = np.asarray(self.instruments)[self.instrument]
        other = type(self)(names.tolist(), self.row_time_ns, self.columns, held_out=self.held_out)
        other.target = MappingProxyType({**self.target, **target})
        return other

    def _slots(self) -> Indices:
        """Return each row's place on a grid of all instruments and intervals, a week of nothing before each."""
        place = self.row_time_ns // INTERVAL_NS
        if not len(place):
            raise StateError("no rows; are there bars before the end of the evaluation?")
        width = int(place.max() - place.min()) + 1 + _LONGEST
        slot = self.instrument * width + place - place.min() + _LONGEST
        if (np.diff(slot) <= 0).any():
            raise StateError("expected one row per instrument and row time, got some twice")
        self._length = len(self.instruments) * width
        return np.asarray(slot, np.int64)

    def _target(self, horizon: str) -> Floats:
        ahead = BARS_AHEAD[horizon]
        known = self.trailing_mean(np.where(np.isfinite(self.columns[_BAR]), 1.0, np.nan), ahead)
        past = np.where(np.isfinite(known), self.columns[TARGET_FEATURE[horizon]], np.nan)
        later = self.shifted(past, ahead)
        return np.where(np.isfinite(later), np.maximum(later, self.floor(horizon)), np.nan)


_LONGEST = 4 * _WEEK_BARS
"""The longest window or shift, in intervals."""


class Forecasts(NamedTuple):
    """What an expert says of a horizon; NaN where it says nothing."""

    mean: Floats
    """(N,): expected realised variance."""
    quantiles: Floats
    """(N, Q) at `schemas.tensors.QUANTILES`, not falling."""


class Expert(Protocol):
    """Whatever forecasts, walking forward: learns up to each fold's end of training, forecasts its rows."""

    @property
    def name(self) -> str:
        """The model's name in reports."""

    def forecasts(self, panel: Panel, folds: Folds, horizon: str) -> Forecasts:
        """Forecast the rows of all folds."""


def panel_of(table: pa.Table, *, instruments: Sequence[str] = (), held_out: Sequence[str] = ()) -> Panel:
    """Take the rows of a backfill: all instruments or those named, each named as "venue:symbol".

    Raises:
        StateError: where there is no such instrument, or the rows lack what targets need.
    """
    names = table.column("instrument_id").to_numpy(zero_copy_only=False).astype(np.str_)
    unknown = sorted({*instruments, *held_out} - set(names.tolist()))
    if unknown:
        raise StateError(f"no rows of {', '.join(unknown)}; there are {', '.join(sorted(set(names.tolist())))}")
    keep = np.isin(names, [*instruments, *held_out]) if instruments else np.ones(len(names), np.bool_)
    columns = {
        name: np.asarray(table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)[keep]
        for name in table.column_names
        if name not in {"instrument_id", "row_time_ns", "quality"}
    }
    times = table.column("row_time_ns").cast(pa.int64()).to_numpy()[keep]
    return Panel(names[keep].tolist(), times, columns, held_out=held_out)
