"""The two fits of the log-HARs: least squares on logs, and QLIKE on levels."""

import numpy as np

from triton_models.evaluation.definitions import CLIP_RATIO
from triton_models.seasons import Floats

_CHUNK = 32_768
_STEPS = 50
_TOLERANCE = 1e-12
_RANK = 1e-10
"""Directions that the rows tell so much less of than of others get no coefficient, nor do columns so much shorter than
the longest: what is in them is rounding."""


def least_squares(design: Floats, target: Floats, weights: Floats) -> Floats:
    """Return the coefficients (P,) that minimise sum w (y - X b)^2; X (N, P), y and w (N,).

    The smallest of them where the rows leave some open.
    """
    factor, projected = _factor(design, target, np.sqrt(weights))
    return np.asarray(_inverse(factor) @ projected)


def gamma(design: Floats, variance: Floats, weights: Floats, start: Floats, clip: float = CLIP_RATIO) -> Floats:
    """Return the coefficients (P,) that minimise sum w (y / f + log f), f = exp(X b): QLIKE.

    Fisher scoring (McCullagh and Nelder 1989, chapter 8), whose information sum w x x' does not
    change. The score of a row is clipped: its target counts as at most `clip` times its forecast.
    """
    factor, _ = _factor(design, variance, np.sqrt(weights))
    inverse = _inverse(factor)
    found = start
    for _ in range(_STEPS):
        ratio = np.minimum(variance * np.exp(-(design @ found)), clip)
        score = design.T @ (weights * (ratio - 1))
        step = inverse @ (inverse.T @ score)
        found = found + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return found


def _inverse(factor: Floats) -> Floats:
    """Return the pseudo-inverse of R (P, P), its columns scaled to one length before."""
    length = np.sqrt(np.square(factor).sum(0))
    told = length > _RANK * length.max(initial=0.0)
    scale = np.where(told, length, 1.0)
    return np.asarray(np.linalg.pinv(np.where(told, factor / scale, 0.0), rcond=_RANK) / scale[:, None])


def _factor(design: Floats, target: Floats, root: Floats) -> tuple[Floats, Floats]:
    """Return R (P, P) and Q'y (P,) of the weighted design, rows taken a chunk at a time."""
    width = design.shape[1]
    stacked = np.empty((0, width + 1))
    for start in range(0, len(design), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = np.concatenate([design[part], target[part, None]], axis=1) * root[part, None]
        stacked = np.asarray(np.linalg.qr(np.concatenate([stacked, rows]), mode="r"), np.float64)
    return stacked[:width, :width], stacked[:width, width]
