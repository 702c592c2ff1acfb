"""How far an attribution says what the model really does: deletion against random order, rank correlation.

Jacovi and Goldberg 2020: faithfulness is measured, not argued for. A poor number is a result too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from triton_models.explanation.coalitions import all_coalitions
from triton_models.explanation.shares import players

Floats = npt.NDArray[np.float64]

RESAMPLES = 1_000
_LEAST_RANKED = 3
"""Modalities of which a rank correlation says something."""


class Estimate(NamedTuple):
    """A mean over so many forecasts with its 95 % confidence interval; NaN without any."""

    mean: float
    low: float
    high: float
    forecasts: int


def rank_correlation(attribution: Floats, effect: Floats) -> float:
    """Return Spearman's correlation of sizes of an attribution (M,) and an effect (M,), signs aside.

    NaN where fewer than three modalities take part, or one side ranks nothing. A modality that
    neither is attributed anything nor has an effect (one that no event came of) takes no part.
    """
    a, b = np.abs(attribution), np.abs(effect)
    a, b = a[taking := (a > 0) | (b > 0)], b[taking]
    if len(a) < _LEAST_RANKED:
        return np.nan
    ranks = np.stack([_ranks(a), _ranks(b)])
    gaps = ranks - ranks.mean(-1, keepdims=True)
    scale = np.sqrt(np.square(gaps).sum(-1).prod())
    return float(gaps.prod(0).sum() / scale) if scale > 0 else np.nan


def _ranks(x: Floats) -> Floats:
    """Return ranks from 0 on, those of equals averaged."""
    return np.asarray((x[:, None] > x).sum(-1) + ((x[:, None] == x).sum(-1) - 1) / 2)


def deletion_gain(table: Floats, attribution: Floats) -> float:
    """Return how much faster deletion by attribution (M,) lowers a forecast than deletion in random order.

    `table` (2^M,) holds the values of all coalitions of one horizon. Modalities go one by one, that with
    the largest attribution first: the area over the curve (Samek et al. 2017), less its exact mean over
    all orders, as a share of the range of values. 0: no better than random; NaN: nothing moves.
    """
    modalities = players(table)
    fallen = table[-1] - table
    gone = np.cumsum([1 << int(player) for player in np.argsort(-attribution, kind="stable")])
    sizes = all_coalitions(modalities).sum(-1)
    random = np.mean([fallen[sizes == size].mean() for size in range(modalities)])
    reach = np.ptp(table)
    return float((fallen[len(table) - 1 - gone].mean() - random) / reach) if reach > 0 else np.nan


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean of values with a percentile bootstrap over forecasts (Efron 1979); NaN are left out."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan, 0)
    drawn = np.random.default_rng(seed).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[drawn].mean(-1), [0.025, 0.975])
    return Estimate(float(known.mean()), float(low), float(high), len(known))


def largest(attribution: Floats) -> int:
    """Return the modality with the largest positive attribution (M,), -1 where none is positive."""
    place = int(np.argmax(attribution))
    return place if attribution[place] > 0 else -1
