"""Random walk and seasonal naive: tomorrow as today, or as the same hours of the last days."""

import numpy as np

from triton_models.baselines.corrected import Corrected
from triton_models.evaluation.definitions import BARS_AHEAD, TARGET_FEATURE
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Panel
from triton_models.har import Floats

_DAY_BARS = 288
_DAYS = 7


def random_walk(panel: Panel, _fold: Fold, horizon: str) -> Floats:
    """Return the log (N,) of the variance over the last window as long as the horizon."""
    return np.asarray(np.log(np.maximum(panel.columns[TARGET_FEATURE[horizon]], panel.floor(horizon))))


def seasonal_naive(panel: Panel, _fold: Fold, horizon: str) -> Floats:
    """Return the log (N,) of the mean variance at the hours ahead on the seven days before.

    At a day ahead this is the mean of the last seven days.
    """
    past = panel.columns[TARGET_FEATURE[horizon]]
    days = [panel.shifted(past, BARS_AHEAD[horizon] - day * _DAY_BARS) for day in range(1, _DAYS + 1)]
    return np.asarray(np.log(np.maximum(np.mean(days, axis=0), panel.floor(horizon))))


def experts() -> tuple[Corrected, ...]:
    """Return the naive experts."""
    return (Corrected("random-walk", random_walk), Corrected("seasonal-naive", seasonal_naive))
