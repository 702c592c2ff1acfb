"""Experts to one forecast, in quantile space; calibration and uncertainty on top. Arrays in, arrays out.

N instruments, H horizons, Q quantiles, K experts.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.tensors import QUANTILES

Floats = npt.NDArray[np.float64]

LEVELS = np.array(QUANTILES)
MEDIAN = 0.5
_REACH = np.abs(LEVELS - MEDIAN) / (MEDIAN - LEVELS[0])
"""Share of a shift that each quantile gets: all at the outermost, none at the median."""
_LOW = LEVELS < MEDIAN


class Levels(NamedTuple):
    """Mean (N, H) and quantiles (N, H, Q) of realised variance."""

    mean: Floats
    quantiles: Floats

    def usable(self) -> npt.NDArray[np.bool_]:
        """Return (N,) where every number is finite and positive."""
        numbers = np.concatenate([self.mean[..., None], self.quantiles], axis=-1)  # (N, H, 1 + Q)
        return np.asarray((np.isfinite(numbers) & (numbers > 0)).all((-1, -2)))


def combine(experts: list[Levels], weights: Floats) -> Levels:
    """Average experts with weights (K, N): means as they are, quantiles in logs.

    Averages of sorted quantiles are sorted. The sums go expert by expert, so that a row's bits do
    not depend on the rows beside it.
    """
    mean = np.zeros_like(experts[0].mean)
    logs = np.zeros_like(experts[0].quantiles)
    for expert, weight in zip(experts, weights, strict=True):
        mean += weight[:, None] * expert.mean
        logs += weight[:, None, None] * np.log(expert.quantiles)
    return Levels(mean, np.exp(logs))


def calibrate(levels: Levels, shift: Floats) -> Levels:
    """Move quantiles by `shift` (N, H, 2), what to add to the logs of the lowest and the highest.

    Quantiles between move in proportion to their distance in probability from the median, which
    stays; whatever the shift, they are sorted.
    """
    moves = np.where(_LOW, shift[..., :1], shift[..., 1:]) * _REACH
    quantiles = np.sort(np.exp(np.log(levels.quantiles) + moves), axis=-1)
    return Levels(levels.mean, quantiles)


def relative_widths(levels: Levels) -> npt.NDArray[np.float32]:
    """Return (N, H): the outer band's width over the median."""
    q = levels.quantiles
    return ((q[..., -1] - q[..., 0]) / q[..., len(LEVELS) // 2]).astype(np.float32)


class WidthHistory:
    """The last widths of one instrument, one for each horizon (H, N), in a ring."""

    def __init__(self, horizons: int, room: int) -> None:
        self.widths = np.full((horizons, room), np.nan, np.float32)
        self.count = 0
        self.last_ns = -1

    def rank(self, widths: npt.NDArray[np.float32]) -> Floats:
        """Return (H,) the share of past widths below these, ties counted half; 0.5 without a past."""
        past = self.widths[:, : min(self.count, self.widths.shape[1])]
        if not past.shape[1]:
            return np.full(len(widths), 0.5)
        now = widths[:, None]
        ranks: Floats = (past < now).mean(-1) + 0.5 * (past == now).mean(-1)
        return ranks

    def add(self, widths: npt.NDArray[np.float32], time_ns: int) -> None:
        """Take in the widths of a forecast."""
        self.widths[:, self.count % self.widths.shape[1]] = widths
        self.count += 1
        self.last_ns = time_ns
