"""Calibration as records of forecasts tell it, in the place of the states that score wrote."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.forecasts import ExpertForecast, Forecast
from schemas.tensors import QUANTILES
from streams.infer.combine import Flags, Floats


class RecordedTold(NamedTuple):
    """What records say of N forecasts."""

    shifts: Floats
    """(N, H, Q)"""
    regime: npt.NDArray[np.int64]
    """(N,), -1 where none is known."""
    weights: Floats
    """(N, H, 2, K)"""

    def weigh(self, known: Flags) -> Floats:
        """Return the recorded weights (N, H, 2, K) of the experts that forecast (N, H, K), 0 of the others."""
        return np.where(known[..., None, :], self.weights, 0.0)


class Recorded:
    """What the records of some forecasts say, for the experts that infer asks it of."""

    def __init__(self, forecasts: Sequence[Forecast], horizons: Sequence[str]) -> None:
        self._forecasts, self._horizons = forecasts, horizons

    def told(self, _instruments: Sequence[str], experts: tuple[str, ...]) -> RecordedTold:
        """Return shifts, regimes and weights, forecast by forecast."""
        return RecordedTold(
            np.array([[_shifts(one, horizon) for horizon in self._horizons] for one in self._forecasts]),
            np.array([_regime(one) for one in self._forecasts], np.int64),
            np.array([_weights(one, self._horizons, experts) for one in self._forecasts]),
        )

    def ranks(self, place: int) -> Floats:
        """Return the ranks (H,) of the widths of one forecast, which are its uncertainty."""
        told = self._forecasts[place].calibration
        return np.array([told[horizon].rank if horizon in told else 0.5 for horizon in self._horizons])


def _shifts(forecast: Forecast, horizon: str) -> tuple[float, ...]:
    told = forecast.calibration.get(horizon)
    if told is None or len(told.shifts) != len(QUANTILES):
        return (0.0,) * len(QUANTILES)
    return told.shifts


def _regime(forecast: Forecast) -> int:
    return next((told.regime for told in forecast.calibration.values()), -1)


def _weights(forecast: Forecast, horizons: Sequence[str], experts: tuple[str, ...]) -> Floats:
    """Return (H, 2, K)."""
    nobody = ExpertForecast(weight=0.0, hash="")
    by_expert = [forecast.experts.get(name, nobody).weights for name in experts]
    return np.array([[weights.get(horizon, (0.0, 0.0)) for horizon in horizons] for weights in by_expert]).transpose(
        1, 2, 0
    )
