"""The calendar profile of a panel."""

import numpy as np

from triton_models.evaluation.definitions import INTERVAL_NS
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Panel
from triton_models.seasons import Floats, fit_profile


def profile_of(panel: Panel, fold: Fold, log_relative: Floats) -> Floats:
    """Fit on the log of each bar's variance over its week's mean (N,), on what the fold may learn from: (168,)."""
    rows = panel.in_training & (panel.row_time_ns <= fold.train_until_ns) & np.isfinite(log_relative)
    return fit_profile(panel.row_time_ns[rows] - INTERVAL_NS, log_relative[rows], fold.weights(panel)[rows])
