"""A whole panel as it would have happened: at each time outcomes are learned, then forecasts made.

Instruments go side by side; the bits are those of one event after another, see `experts` and `conformal`. An outcome
is learned at the first time not before its origin plus the horizon: never sooner than it is known.

T times, N instruments, K experts, Q quantiles; all forecasts and outcomes are logs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from triton_models.online.conformal import Calibrator, Rates, Shifts
from triton_models.online.experts import Experts, Learning, Mixture, Past

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Times = npt.NDArray[np.int64]


class Grid:
    """Rows of many instruments, each at its time, as an array of times by instruments and back."""

    def __init__(self, instrument: Indices, row_time_ns: Times, instruments: int) -> None:
        """Lay out rows (R,) by the index of their instrument and their time."""
        self.times, self.at = np.unique(row_time_ns, return_inverse=True)
        self.instrument, self.instruments = instrument, instruments

    def spread(self, values: npt.NDArray[np.generic], empty: float = np.nan) -> npt.NDArray[np.generic]:
        """Return rows (R, ...) as (T, N, ...), `empty` where there is no row."""
        grid = np.full((len(self.times), self.instruments, *values.shape[1:]), empty, values.dtype)
        grid[self.at, self.instrument] = values
        return grid

    def gather(self, grid: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return (T, N, ...) as rows (R, ...)."""
        return np.asarray(grid[self.at, self.instrument])


class Combined(NamedTuple):
    """What a run of the weights gives."""

    mixture: Mixture
    """(T, N, ...)"""
    pasts: list[Past]
    """The states of the instruments at the end."""


class Corrected(NamedTuple):
    """What a run of the calibration gives."""

    quantiles: Floats
    """(T, N, Q), sorted."""
    shifts: list[Shifts]
    """The states of the instruments at the end."""


def combine(times: Times, horizon_ns: int, means: Floats, quantiles: Floats, y: Floats, learning: Learning) -> Combined:
    """Combine experts' means (T, N, K) and quantiles (T, N, K, Q), learning from outcomes `y` (T, N)."""
    rows, instruments, experts = means.shape
    state = Experts([Past.empty(experts)] * instruments, learning)
    weights = np.zeros((rows, instruments, 2, experts))
    mean = np.full((rows, instruments), np.nan)
    combined = np.full((rows, instruments, quantiles.shape[-1]), np.nan)
    for row, known in _steps(times, horizon_ns):
        for past in known:
            state.learn(weights[past], means[past], quantiles[past], y[past])
        weights[row], mean[row], combined[row] = state.predict(means[row], quantiles[row])
    return Combined(Mixture(weights, mean, combined), state.pasts())


def calibrate(times: Times, horizon_ns: int, quantiles: Floats, regime: Indices, y: Floats, rates: Rates) -> Corrected:
    """Calibrate quantiles (T, N, Q) in regimes (T, N), learning from outcomes `y` (T, N)."""
    state = Calibrator([Shifts.empty()] * quantiles.shape[1], rates)
    published, tracked = np.full_like(quantiles, np.nan), np.full_like(quantiles, np.nan)
    for row, known in _steps(times, horizon_ns):
        for past in known:
            state.learn(tracked[past], regime[past], y[past])
        published[row], tracked[row] = state.predict(quantiles[row], regime[row])
    return Corrected(published, state.all_shifts())


def _steps(times: Times, horizon_ns: int) -> Iterator[tuple[int, range]]:
    """Yield each row with the range of rows whose outcomes became known since the row before."""
    reached = 0
    for row, until in enumerate(np.searchsorted(times, times - horizon_ns, side="right").tolist()):
        yield row, range(reached, until)
        reached = until
