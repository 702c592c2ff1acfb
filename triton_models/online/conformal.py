"""Calibration that holds its promise whatever the forecasts: quantiles tracked by their misses.

The log of each quantile is shifted, and every outcome moves the shift by a rate times how far the miss is
from what should be (Gibbs and Candes 2021; on quantiles instead of levels Angelopoulos, Candes and
Tibshirani 2023). One part of the shift is shared, one belongs to the regime: a sum of misses stays bounded for
all outcomes and for those of each regime (Ramalingam, Kiyani and Roth 2025, group-conditional ACI),
and a share of misses that differs by d from its level over n outcomes needs a shift that moved by rate x n x d.

An outcome comes a horizon late, when hundreds of forecasts have been made with the old shift. It is
judged by the quantile that was published, whose shift comes back with it; judging it by what the present shift
would have made of it settles sooner but covers too little, the more the more outcomes overlap.

Each track is judged before the quantiles are sorted: they never cross, and no track learns another's misses.

Arrays have any leading shape: () is one cell (an instrument and horizon), (N,) many side by side, the same
bits either way. Q quantiles, G regimes.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.online.state import State

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

LEVELS: Floats = np.array(QUANTILES)
REGIMES = 3
"""Room for regimes; a chain of two leaves the last one unused."""
LARGEST_SHIFT = 5.0
"""Bound of each part of a shift, in log variance: a factor of 150. Only broken data gets there."""
_REACH = np.abs(LEVELS - 0.5) / (0.5 - LEVELS[0])
PACE: Floats = np.maximum(_REACH**2, 0.1)
"""Share of the rate for each quantile: those within move less, as so do their errors, and are scored for sharpness."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How far one outcome moves the outermost quantiles, in log variance."""

    shared: float
    regime: float

    @classmethod
    def of(cls, horizon: str, step_ns: int) -> "Rates":
        """Return the rates for a horizon whose origins are `step_ns` apart.

        >>> Rates.of("1h", 300 * 10**9)
        Rates(shared=0.03, regime=0.01)
        """
        overlap = max(HORIZON_NS[horizon] / step_ns, 1.0)
        whole = PER_HORIZON[horizon]
        return cls(shared=whole.shared / overlap, regime=whole.regime / overlap)


PER_HORIZON = {
    "1m": Rates(shared=0.05, regime=0.02),
    "5m": Rates(shared=0.05, regime=0.02),
    "1h": Rates(shared=0.36, regime=0.12),
    "1d": Rates(shared=0.576, regime=0.288),
}
"""What all outcomes that overlap move together: a day of 288 that share their time tells little more than one.
Chosen on bars of BTC and ETH before 2024-03."""


class Shifts(State, frozen=True, kw_only=True):
    """State of one cell, in log variance."""

    what: ClassVar[str] = "calibration shifts"
    shared: tuple[float, ...]
    """(Q,)"""
    regime: tuple[tuple[float, ...], ...]
    """(G, Q)"""

    @classmethod
    def empty(cls) -> "Shifts":
        """Return the state before any outcome."""
        nothing = (0.0,) * len(LEVELS)
        return cls(shared=nothing, regime=(nothing,) * REGIMES)


class Calibrated(NamedTuple):
    """Quantiles to publish, and what `learn` needs back."""

    quantiles: Floats
    """(..., Q), sorted."""
    tracked: Floats
    """(..., Q): the same before sorting."""


class Calibrator:
    """The shifts of one cell, or of many side by side."""

    def __init__(self, shifts: Shifts | Sequence[Shifts], rates: Rates) -> None:
        """Continue from `shifts`: one state for the shape (), several for (N,)."""
        self.rates = rates
        if isinstance(shifts, Shifts):
            self.shared, self.regime = np.array(shifts.shared), np.array(shifts.regime)
        else:
            self.shared = np.array([one.shared for one in shifts])  # (N, Q)
            self.regime = np.array([one.regime for one in shifts])  # (N, G, Q)

    def shifts(self) -> Shifts:
        """Return the state of a single cell."""
        return _state(self.shared, self.regime)

    def all_shifts(self) -> list[Shifts]:
        """Return the states of cells side by side."""
        return [_state(shared, regime) for shared, regime in zip(self.shared, self.regime, strict=True)]

    def predict(self, quantiles: Floats, regime: Indices) -> Calibrated:
        """Shift log quantiles (..., Q) in the regime (...); -1, not known, gets the shared part alone."""
        return shifted(quantiles, in_regime(self.shared, self.regime, regime))

    def learn(self, tracked: Floats, regime: Indices, y: Floats) -> None:
        """Take in the log outcome (...) of a forecast by its tracked quantiles (..., Q) and its regime (...).

        Nothing is learned where one of them is not known.
        """
        known = np.isfinite(y) & np.isfinite(tracked).all(-1)
        excess = ((y[..., None] < tracked) - LEVELS) * PACE
        excess = np.where(known[..., None], excess, 0.0)  # (..., Q)
        own = _own(regime, self.regime) * excess[..., None, :]
        self.shared = np.clip(self.shared - self.rates.shared * excess, -LARGEST_SHIFT, LARGEST_SHIFT)
        self.regime = np.clip(self.regime - self.rates.regime * own, -LARGEST_SHIFT, LARGEST_SHIFT)


def in_regime(shared: Floats, regimes: Floats, regime: Indices) -> Floats:
    """Return the shifts (..., Q) of shared ones (..., Q) and those of regimes (..., G, Q) in one of them (...)."""
    return np.asarray(shared + (_own(regime, regimes) * regimes).sum(-2))


def shifted(quantiles: Floats, shifts: Floats) -> Calibrated:
    """Return log quantiles (..., Q) moved by shifts (..., Q)."""
    tracked = quantiles + shifts
    return Calibrated(np.sort(tracked, axis=-1), tracked)


def _own(regime: Indices, regimes: Floats) -> Floats:
    """Return (..., G, 1): 1 for the regime that it is. Sums over it have one term, so no order and no rounding."""
    own = np.asarray(regime)[..., None] == np.arange(regimes.shape[-2])
    return np.asarray(own, np.float64)[..., None]


def _state(shared: Floats, regime: Floats) -> Shifts:
    return Shifts(shared=tuple(shared.tolist()), regime=tuple(tuple(row) for row in regime.tolist()))
