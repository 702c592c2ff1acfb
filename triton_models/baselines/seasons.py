"""The calendar profile: how much variance each hour of the week has, against the week's mean."""

import numpy as np

from schemas.rules import DAY_NS, HOUR_NS
from triton_models.evaluation.definitions import BARS_AHEAD, INTERVAL_NS
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Indices, Panel
from triton_models.har import Floats, Times

HOURS = 168
_BARS = HOUR_NS // INTERVAL_NS
_WEEK_NS = 7 * DAY_NS


class Profile:
    """Log factors of the hours of the week (168,), from Thursday 0:00 as the epoch; their mean factor is 1."""

    def __init__(self, log_factor: Floats) -> None:
        self.log_factor = log_factor - np.log(np.exp(log_factor).mean())
        self._ahead = {horizon: self._sums(bars) for horizon, bars in BARS_AHEAD.items()}

    def of_bar(self, row_time_ns: Times) -> Floats:
        """Return the log factor (N,) of the bar that ends at each time."""
        return np.asarray(self.log_factor[hour_of_week(row_time_ns - INTERVAL_NS)], np.float64)

    def ahead(self, row_time_ns: Times, horizon: str) -> Floats:
        """Return the log of the mean factor (N,) over the horizon that begins at each time."""
        return np.asarray(self._ahead[horizon][(row_time_ns % _WEEK_NS) // INTERVAL_NS], np.float64)

    def _sums(self, bars: int) -> Floats:
        factor = np.repeat(np.exp(self.log_factor), _BARS)
        sums = np.concatenate([[0.0], np.cumsum(np.concatenate([factor, factor[:bars]]))])
        return np.asarray(np.log((sums[bars : bars + len(factor)] - sums[: len(factor)]) / bars))


def hour_of_week(time_ns: Times) -> Indices:
    """Return the hour of the week (N,), 0 at the hour of the epoch, a Thursday."""
    return np.asarray(time_ns % _WEEK_NS // HOUR_NS, np.int64)


def fit_profile(panel: Panel, fold: Fold, log_relative: Floats) -> Profile:
    """Fit on the log of each bar's variance over its week's mean (N,), on what the fold may learn from.

    An hour that was never seen has the factor 1.
    """
    rows = panel.in_training & (panel.row_time_ns <= fold.train_until_ns) & np.isfinite(log_relative)
    hour = hour_of_week(panel.row_time_ns[rows] - INTERVAL_NS)
    weight = fold.weights(panel)[rows]
    total = np.bincount(hour, weight, HOURS)
    sums = np.bincount(hour, weight * log_relative[rows], HOURS)
    overall = sums.sum() / max(total.sum(), 1e-300)
    return Profile(np.where(total > 0, sums / np.maximum(total, 1e-300) - overall, 0.0))
