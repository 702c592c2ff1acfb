"""Calm or wild at each origin: filtered states of an instrument's variance against its own week.

What is watched and how it is filtered is what runs live.
"""

import numpy as np

from schemas.errors import StateError
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.panel import Panel
from triton_models.evaluation.regimes import Regimes, fit
from triton_models.evaluation.walk import Walked
from triton_models.har import Floats, window_ns
from triton_models.online.regimes import PAIRS, UNKNOWN, filtered, log_ratio


class Buckets:
    """Regimes of a panel, by the hour, fitted on what was known before the first fold."""

    def __init__(self, panel: Panel, folds: Folds) -> None:
        """Fit on instruments in training up to the first end of training; filter all of them."""
        short, long, self._step_ns = PAIRS["bars"]
        first = int(panel.row_time_ns.min()) // self._step_ns
        steps = int(folds.until_ns) // self._step_ns - first + 1
        rows = np.nonzero((panel.row_time_ns % self._step_ns == 0) & (panel.row_time_ns < folds.until_ns))[0]
        value = log_ratio(panel.columns[short], panel.columns[long], window_ns(long) / window_ns(short))
        table = np.full((steps, len(panel.instruments)), np.nan)
        table[panel.row_time_ns[rows] // self._step_ns - first, panel.instrument[rows]] = value[rows]
        trained = [index for index, name in enumerate(panel.instruments) if name not in panel.held_out]
        until = next(iter(folds)).train_until_ns // self._step_ns - first + 1
        self._first = first
        self.regimes: Regimes | None
        try:
            self.regimes = fit(table[:until, trained])
        except StateError:
            self.regimes = None
            return
        state = filtered(self.regimes, table)
        self._state = np.where(state == UNKNOWN, np.nan, state)

    def of(self, walked: Walked) -> Floats | None:
        """Return the state (T, I) at each origin, 0 for calm, 1 for wild; None where too little is known to fit."""
        if self.regimes is None:
            return None
        return np.asarray(self._state[walked.grid.origin_time_ns // self._step_ns - self._first], np.float64)
