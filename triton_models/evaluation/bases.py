"""Base forecasts: what networks correct, in log variance.

They must themselves be made walking forward, over the training span too: on forecasts of rows that a base
was fitted on, a network would learn to correct errors that are too small.
"""

from collections.abc import Mapping

import numpy as np

from schemas.errors import StateError
from schemas.rules import DAY_NS
from schemas.tensors import HORIZONS, QUANTILES
from triton_models.evaluation.folds import Fold, Folds
from triton_models.evaluation.panel import Expert, Forecasts, Panel
from triton_models.har import MINIMUM_STEP, LogForecast

PROFILE = "bars"
Bases = Mapping[str, Forecasts]
"""Base forecasts by horizon."""
_FIRST_DAYS = 60
"""A base that has seen less is too poor to be corrected: a network would learn its faults."""


def base_of(expert: Expert, panel: Panel, folds: Folds, *, first_days: int = _FIRST_DAYS) -> Bases:
    """Return an expert's forecasts by horizon, those of the folds and, walking forward too, those before them.

    The first are made of `first_days` of data; networks learn from nothing earlier.

    Raises:
        StateError: where the folds begin so early that nothing is left for networks to learn from.
    """
    start_ns = int(panel.row_time_ns.min()) + first_days * DAY_NS
    if start_ns + DAY_NS >= folds.from_ns:
        raise StateError(f"networks learn from forecasts of their base; it needs {first_days} days of bars before any")
    early = Folds(start_ns, start_ns + DAY_NS, folds.from_ns)
    found = {}
    for horizon in HORIZONS[PROFILE]:
        before, after = (expert.forecasts(panel, part, horizon) for part in (early, folds))
        known = panel.row_time_ns >= folds.from_ns
        found[horizon] = Forecasts(
            np.where(known, after.mean, before.mean), np.where(known[:, None], after.quantiles, before.quantiles)
        )
    return found


def log_base(panel: Panel, base: Bases) -> LogForecast:
    """Return base forecasts as what networks correct; NaN where there is none."""
    if any(len(one.mean) != len(panel) for one in base.values()):
        raise StateError(f"expected base forecasts of all {len(panel)} rows of the panel, got another number")
    mean = np.log(np.stack([one.mean for one in base.values()], axis=-1))
    quantiles = np.log(np.stack([one.quantiles for one in base.values()], axis=1))  # (N, H, Q)
    steps = np.maximum(np.diff(quantiles, axis=-1), MINIMUM_STEP)
    return LogForecast(mean, quantiles[..., QUANTILES.index(0.5)], steps)


def log_level(panel: Panel, base: Bases, first: Fold) -> LogForecast:
    """Return, for the rows that a base knows, the first training side's mean and quantiles of all instruments."""
    rows, levels = len(panel), []
    for horizon in base:
        past = panel.target[horizon][first.learned(panel, horizon)]
        levels.append((past.mean(), np.quantile(past, QUANTILES)))
    known = {
        horizon: Forecasts(
            np.where(np.isfinite(base[horizon].mean), mean, np.nan), np.broadcast_to(quantiles, (rows, len(QUANTILES)))
        )
        for horizon, (mean, quantiles) in zip(base, levels, strict=True)
    }
    return log_base(panel, known)
