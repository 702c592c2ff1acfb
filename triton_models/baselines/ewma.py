"""Exponentially weighted moving average (RiskMetrics 1996), its half-life chosen by QLIKE on the training rows."""

import numpy as np
from scipy.signal import lfilter

from triton_models.baselines.corrected import Corrected
from triton_models.baselines.garch import sequences
from triton_models.evaluation.definitions import BARS_AHEAD, TARGET_FEATURE
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Panel
from triton_models.har import Floats

HALF_LIVES = (3, 6, 12, 24, 48, 96, 192, 288, 576, 1152)
"""Half-lives to choose from, in bars."""


def ewma(panel: Panel, half_life: float, values: Floats) -> Floats:
    """Return the average (N,) of each instrument's known `values` up to each row.

    v' = decay v + (1 - decay) x, from the first value on; a row whose value is not known keeps v.
    """
    decay = np.exp2(-1 / half_life)
    found = np.full(len(panel), np.nan)
    for rows in sequences(panel, values):
        x = values[rows]
        found[rows], _ = lfilter([1 - decay], [1, -decay], x, zi=[decay * x[0]])
    return found


def level(panel: Panel, fold: Fold, horizon: str) -> Floats:
    """Return the log level (N,) with the half-life that forecast the training rows best, bias apart."""
    bar = panel.columns[TARGET_FEATURE["5m"]]
    values = bar if horizon == "5m" else np.where(np.isfinite(bar), panel.columns["bar_signed_return_5m"] ** 2, np.nan)
    rows = fold.learned(panel, horizon) & panel.origins(horizon)
    weights = fold.weights(panel)
    best, least = np.full(len(panel), np.nan), np.inf
    for half_life in HALF_LIVES:
        found = np.maximum(ewma(panel, half_life, values) * BARS_AHEAD[horizon], panel.floor(horizon))
        known = rows & np.isfinite(found)
        if not known.any():
            continue
        ratio, weight = panel.target[horizon][known] / found[known], weights[known]
        # QLIKE after the best constant factor: the log of the mean ratio less the mean of its log.
        loss = np.log((weight * ratio).sum() / weight.sum()) - (weight * np.log(ratio)).sum() / weight.sum()
        if loss < least:
            best, least = found, float(loss)
    return np.asarray(np.log(best))


def experts() -> tuple[Corrected, ...]:
    """Return EWMA as an expert."""
    return (Corrected("ewma", level),)
