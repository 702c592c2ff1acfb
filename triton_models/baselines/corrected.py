"""From a level to a forecast: bias taken out and quantiles added, the same way for every expert.

An uncorrected bias costs 25 to 30 % of QLIKE, and a correction that one model has and another has
not looks like skill. So each expert only gives a level in log variance, and this does the rest from
what the level missed in the 60 days before the fit: half by the instrument, half by all.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from schemas.tensors import QUANTILES
from triton_models.evaluation.folds import Fold, Folds
from triton_models.evaluation.panel import Flags, Forecasts, Panel
from triton_models.har import Floats

Level = Callable[[Panel, Fold, str], Floats]
"""Log variance (N,) at the origins of a horizon, learned on a fold; NaN where it says nothing."""

MINIMUM_ROWS = 200
"""An instrument with fewer residuals is corrected by those of all alone."""


class Correction(NamedTuple):
    """What is added to a level, in log variance, by instrument (I,)."""

    mean: Floats
    """(I,): log of the mean of realised over level (Duan 1983)."""
    quantiles: Floats
    """(I, Q): quantiles of the log of realised over level."""

    def apply(self, panel: Panel, level: Floats, rows: Flags) -> Forecasts:
        """Return the forecasts (N, ...) of levels (N,) on `rows`, NaN elsewhere."""
        level = np.where(rows, level, np.nan)
        mean = np.exp(level + self.mean[panel.instrument])
        return Forecasts(mean, np.exp(level[:, None] + self.quantiles[panel.instrument]))


def correction_of(panel: Panel, fold: Fold, horizon: str, level: Floats) -> Correction:
    """Learn the correction of a level (N,) from the rows of a fold's last 60 days.

    An instrument that is held out, or too new, gets that of all.
    """
    rows = fold.learned(panel, horizon) & fold.recent(panel) & panel.origins(horizon) & np.isfinite(level)
    residual = np.log(panel.target[horizon][rows]) - level[rows]
    code = panel.instrument[rows]
    count = len(panel.instruments)
    if not len(residual):
        return Correction(np.full(count, np.nan), np.full((count, len(QUANTILES)), np.nan))
    means, quantiles = np.empty(count), np.empty((count, len(QUANTILES)))
    ratio = np.exp(residual)
    order = np.argsort(residual, kind="stable")
    for index in range(count):
        own = code == index
        share = 0.5 if own.sum() >= MINIMUM_ROWS else 0.0
        weight = np.full(len(residual), (1 - share) / len(residual)) + own * (share / max(int(own.sum()), 1))
        means[index] = np.log((weight * ratio).sum())
        quantiles[index] = weighted_quantiles(residual[order], weight[order])
    return Correction(means, quantiles)


def weighted_quantiles(values: Floats, weight: Floats) -> Floats:
    """Return the quantiles (Q,) of rising values (N,) with weights (N,) of sum 1.

    >>> weighted_quantiles(np.array([1.0, 2.0, 3.0]), np.full(3, 1 / 3)).tolist()[3]
    2.0
    """
    middle = np.cumsum(weight) - weight / 2
    return np.interp(QUANTILES, middle, values)


class Corrected:
    """An expert that is a level, corrected anew with each fit."""

    def __init__(self, name: str, level: Level) -> None:
        self.name = name
        self._level = level

    def forecasts(self, panel: Panel, folds: Folds, horizon: str) -> Forecasts:
        """Forecast the origins of all folds."""
        mean = np.full(len(panel), np.nan)
        quantiles = np.full((len(panel), len(QUANTILES)), np.nan)
        for fold in folds:
            level = self._level(panel, fold, horizon)
            rows = fold.forecast(panel) & panel.origins(horizon)
            made = correction_of(panel, fold, horizon, level).apply(panel, level, rows)
            mean[rows], quantiles[rows] = made.mean[rows], made.quantiles[rows]
        return Forecasts(mean, quantiles)
