"""Value at risk from the forecasts: are returns below it as often as they should be, and not in clusters?"""

from typing import Any

import numpy as np

from schemas.tensors import HORIZON_NS
from triton_models.evaluation.definitions import BARS_AHEAD
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.panel import Flags, Panel
from triton_models.evaluation.var_tests import (
    christoffersen,
    dynamic_quantile,
    hits_of,
    kupiec,
    return_quantile,
)
from triton_models.evaluation.walk import Walked
from triton_models.har import Floats

LEVELS = (0.01, 0.05)
_FEWEST_HITS = 5.0
"""Fewer expected hits than these test nothing."""


def hit_tests(panel: Panel, folds: Folds, walked: Walked) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by model, instrument and level the tests of hits at origins that do not overlap.

    The quantile of a return over its forecast volatility is that of all instruments in the folds
    before, of returns that ended before the fold; so the first fold has none and is not tested.
    """
    horizon_ns = HORIZON_NS[walked.horizon]
    past = panel.columns[f"bar_signed_return_{walked.horizon}"]
    known = np.isfinite(panel.target[walked.horizon])
    returns = walked.grid.of(np.where(known, panel.shifted(past, BARS_AHEAD[walked.horizon]), np.nan))
    apart = walked.grid.origin_time_ns % horizon_ns == 0
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, made in walked.forecasts.items():
        for level in LEVELS:
            standard = _standard_quantiles(folds, walked, returns / np.sqrt(made.mean), level, apart)
            quantile = return_quantile(made.mean, 1.0) * standard[:, None]
            for index, instrument in enumerate(panel.instruments):
                tests = _tests(returns[apart, index], quantile[apart, index], level)
                found.setdefault(name, {}).setdefault(instrument, {})[str(level)] = tests
    return found


def _standard_quantiles(folds: Folds, walked: Walked, scaled: Floats, level: float, apart: Flags) -> Floats:
    """Return the quantile (T,) of scaled returns (T, I) that each origin may know, NaN in the first fold."""
    times = walked.grid.origin_time_ns
    found = np.full(len(times), np.nan)
    for fold in folds:
        before = scaled[apart & (times + HORIZON_NS[walked.horizon] <= fold.from_ns)]
        before = before[np.isfinite(before)]
        if len(before) * level >= _FEWEST_HITS:
            found[(times >= fold.from_ns) & (times < fold.until_ns)] = np.quantile(before, level)
    return found


def _tests(returns: Floats, quantile: Floats, level: float) -> dict[str, Any]:
    hits = hits_of(returns, quantile)
    if len(hits) * level < _FEWEST_HITS:
        return {"origins": len(hits), "reason": "too few origins behind the first fold"}
    usable = quantile[np.isfinite(returns) & np.isfinite(quantile)]
    return {
        "origins": len(hits),
        "rate": float(hits.mean()),
        "kupiec_p": kupiec(hits, level).p_value,
        "christoffersen_p": christoffersen(hits, level).p_value,
        "dynamic_quantile_p": dynamic_quantile(hits, level, usable / np.abs(usable).mean()).p_value,
    }
