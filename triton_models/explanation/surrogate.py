"""A linear stand-in for a forecast, near it: LIME (Ribeiro, Singh and Guestrin 2016) over modalities."""

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from triton_models.explanation.coalitions import all_coalitions
from triton_models.explanation.shares import players

Floats = npt.NDArray[np.float64]

DRAWS = 256
RIDGE = 1e-3
_WIDTH = 0.75
"""Kernel width in square roots of M, as in the authors' code."""


class Surrogate(NamedTuple):
    """The stand-in: a weight per modality (M, H), and how much of the values' variance it explains (H,)."""

    weights: Floats
    fidelity: Floats
    """Weighted R2; NaN where the values do not vary."""


def surrogate(table: Floats, forecast_id: str) -> Surrogate:
    """Fit weighted ridge regression on random coalitions, drawn anew for each forecast by its id."""
    modalities = players(table)
    seed = int.from_bytes(hashlib.sha256(forecast_id.encode()).digest()[:8])
    drawn = np.random.default_rng(seed).integers(0, len(table), DRAWS)
    drawn[0] = len(table) - 1  # the forecast itself
    present = all_coalitions(modalities)[drawn].astype(np.float64)  # (N, M)
    values = table[drawn]  # (N, H)
    near = np.exp(-(modalities - present.sum(-1)) / (_WIDTH**2 * modalities))
    near /= near.sum()
    centre, level = near @ present, near @ values
    x, y = present - centre, values - level
    penalty = RIDGE * np.eye(modalities)
    weights = np.linalg.solve((x * near[:, None]).T @ x + penalty, (x * near[:, None]).T @ y)
    left, total = near @ np.square(y - x @ weights), near @ np.square(y)
    return Surrogate(weights, 1 - np.divide(left, total, out=np.full_like(total, np.nan), where=total > 0))
