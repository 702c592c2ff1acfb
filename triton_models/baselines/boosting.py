"""LightGBM on what REF leaves, on REF's own inputs: what non-linearity alone is worth."""

import lightgbm
import numpy as np

from triton_models.baselines.corrected import Corrected
from triton_models.baselines.har import reference, reference_level
from triton_models.evaluation.definitions import CLIP_RATIO, CORRECTION_NS
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Flags, Panel
from triton_models.har import Floats

LEAF_ROWS = 1000
"""A leaf has at least so many rows; where two of them are more than a bag holds there is no tree, but REF."""
BAG_RATIO = 0.6
ROUNDS = {"5m": 200, "1h": 80, "1d": 20}
PARAMETERS = {
    "objective": "gamma",  # its deviance is QLIKE, its link the logarithm
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": LEAF_ROWS,
    "lambda_l2": 10.0,
    "feature_fraction": 0.6,
    "bagging_fraction": BAG_RATIO,
    "bagging_freq": 1,
    "max_bin": 127,
    "seed": 0,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
"""Slow and shallow: neighbouring rows are nearly the same row."""


def level(panel: Panel, fold: Fold, horizon: str) -> Floats:
    """Return the log level (N,): REF and trees on what it leaves.

    What trees leave in their own training rows is too small. The rows whose residuals correct the
    level are therefore forecast by trees, and a REF, that did not see them.
    """
    earlier = fold._replace(train_until_ns=fold.train_until_ns - CORRECTION_NS)
    later = panel.row_time_ns > fold.train_until_ns
    before, after = _boosted(panel, earlier, horizon), _boosted(panel, fold, horizon)
    return np.where(later | ~np.isfinite(before), after, before)


def _boosted(panel: Panel, fold: Fold, horizon: str) -> Floats:
    base = reference_level(panel, fold, horizon)
    known = np.isfinite(base)
    matrix = np.stack([column[known] for column in reference(panel, fold, horizon)], axis=-1)
    learned = fold.learned(panel, horizon)[known]
    if learned.sum() * BAG_RATIO < 2 * LEAF_ROWS:
        return base
    found = base.copy()
    found[known] += _trees(
        matrix, base[known], panel.target[horizon][known], fold.weights(panel)[known], learned, horizon
    )
    return found


def _trees(matrix: Floats, base: Floats, target: Floats, weights: Floats, learned: Flags, horizon: str) -> Floats:
    """Return what trees add to the base (N,); a target counts as at most 10 times its base."""
    start = base[learned]
    # Scaled by the base, so that the trees see ratios near 1.
    ratio = np.minimum(target[learned] * np.exp(-start), CLIP_RATIO)
    data = lightgbm.Dataset(matrix[learned], ratio, weight=weights[learned], init_score=np.zeros(len(start)))
    trees = lightgbm.train(dict(PARAMETERS), data, num_boost_round=ROUNDS[horizon])
    return np.asarray(trees.predict(matrix, raw_score=True, num_threads=1), np.float64)


def experts() -> tuple[Corrected, ...]:
    """Return LightGBM as an expert."""
    return (Corrected("lightgbm", level),)
