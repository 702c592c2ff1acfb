"""Calm or wild at each origin: filtered states of an instrument's variance against its own week."""

import numpy as np

from schemas.errors import StateError
from schemas.rules import HOUR_NS
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.panel import Panel
from triton_models.evaluation.regimes import Regimes, fit, likeliest
from triton_models.evaluation.walk import Walked
from triton_models.har import Floats

_PER_WEEK = 28
"""Six hours in a week."""


class Buckets:
    """Regimes of a panel, by the hour, fitted on what was known before the first fold."""

    def __init__(self, panel: Panel, folds: Folds) -> None:
        """Fit on instruments in training up to the first end of training; filter all of them."""
        first = int(panel.row_time_ns.min()) // HOUR_NS
        hours = int(folds.until_ns) // HOUR_NS - first + 1
        rows = np.nonzero((panel.row_time_ns % HOUR_NS == 0) & (panel.row_time_ns < folds.until_ns))[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.log(
                panel.columns["bar_realised_variance_6h"] * _PER_WEEK / panel.columns["bar_realised_variance_7d"]
            )
        table = np.full((hours, len(panel.instruments)), np.nan)
        table[panel.row_time_ns[rows] // HOUR_NS - first, panel.instrument[rows]] = value[rows]
        table[~np.isfinite(table)] = np.nan
        trained = [index for index, name in enumerate(panel.instruments) if name not in panel.held_out]
        until = next(iter(folds)).train_until_ns // HOUR_NS - first + 1
        self._first = first
        self.regimes: Regimes | None
        try:
            self.regimes = fit(table[:until, trained])
        except StateError:
            self.regimes = None
            return
        self._state = likeliest(self.regimes.filter(table)).astype(np.float64)
        self._state[np.cumsum(np.isfinite(table), axis=0) == 0] = np.nan

    def of(self, walked: Walked) -> Floats | None:
        """Return the state (T, I) at each origin, 0 for calm, 1 for wild; None where too little is known to fit."""
        if self.regimes is None:
            return None
        return np.asarray(self._state[walked.grid.origin_time_ns // HOUR_NS - self._first], np.float64)
