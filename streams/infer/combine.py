"""Experts to one forecast, in logs of levels: mixed by trust, then shifted. Arrays in, arrays out.

The arithmetic is that of `triton_models.online`, which evaluation runs too. N instruments, H horizons,
Q quantiles, K experts.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from triton_models.online.conformal import shifted
from triton_models.online.experts import known, mix

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Levels(NamedTuple):
    """Mean (N, H) and quantiles (N, H, Q) of realised variance."""

    mean: Floats
    quantiles: Floats

    def known(self) -> Flags:
        """Return (N, H) where every number is finite and positive."""
        numbers = np.concatenate([self.mean[..., None], self.quantiles], axis=-1)  # (N, H, 1 + Q)
        return np.asarray((np.isfinite(numbers) & (numbers > 0)).all(-1))

    def usable(self) -> Flags:
        """Return (N,) where all horizons are known."""
        return np.asarray(self.known().all(-1))

    def where(self, keep: Flags) -> "Levels":
        """Return these levels where `keep` (N, H) or (N, 1), NaN elsewhere."""
        return Levels(np.where(keep, self.mean, np.nan), np.where(keep[..., None], self.quantiles, np.nan))


class Combined(NamedTuple):
    """A combination, and the weights that made it."""

    levels: Levels
    weights: Floats
    """(N, H, 2, K), for means and for quantiles: each sums to 1, 0 for an expert without a forecast."""


def combine(experts: Sequence[Levels], weigh: Callable[[Flags], Floats], shifts: Floats) -> Combined:
    """Mix experts and add calibration's shifts (N, H, Q) to the log quantiles.

    `weigh` returns weights (N, H, 2, K), given which experts have a forecast (N, H, K): one is
    left out of a horizon that it does not know. Where none knows it, the result is NaN.
    """
    sure = [one.where(one.known()) for one in experts]
    means = np.log(np.stack([one.mean for one in sure], axis=-1))  # (N, H, K)
    quantiles = np.log(np.stack([one.quantiles for one in sure], axis=-2))  # (N, H, K, Q)
    weights = weigh(known(means, quantiles))
    mean, mixed = mix(weights, means, quantiles)
    return Combined(Levels(np.exp(mean), np.exp(shifted(mixed, shifts).quantiles)), weights)
