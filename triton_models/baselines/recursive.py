"""REF on logs, fitted anew every day: recursive least squares with forgetting (Ljung and Soderstrom 1983, chapter 2).

A fit needs no more of the past than its sums X'WX and X'Wy. Each day they fade by the forgetting factor
and take in the rows whose outcome has come to be known since; so the coefficients follow the market
between the monthly refits of the others.
"""

from typing import NamedTuple

import numpy as np

from schemas.rules import DAY_NS
from schemas.tensors import HORIZON_NS
from triton_models.baselines.corrected import Corrected
from triton_models.baselines.har import reference
from triton_models.evaluation.definitions import BARS_AHEAD, CORRECTION_NS
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Flags, Panel
from triton_models.seasons import Floats, Times

NAME = "har-rls"
HALF_LIFE_NS = 30 * DAY_NS
"""Age at which a row counts half: a third of the monthly fits', chosen on bars before 2024-03."""
RIDGE = 1e-8
"""Of each regressor's sum of squares: a regressor that was never anything but 0 has no coefficient."""


class Sums(NamedTuple):
    """What has been learned of P regressors."""

    squares: Floats
    """(P, P)"""
    products: Floats
    """(P,)"""

    @classmethod
    def nothing(cls, regressors: int) -> "Sums":
        """Return what is known before any row."""
        return cls(np.zeros((regressors, regressors)), np.zeros(regressors))

    def fade(self, elapsed_ns: int) -> "Sums":
        """Return what is left of it after some time."""
        kept = 0.5 ** (elapsed_ns / HALF_LIFE_NS)
        return Sums(kept * self.squares, kept * self.products)

    def add(self, design: Floats, target: Floats, age_ns: Times) -> "Sums":
        """Take in rows (N, P), (N,) of an age (N,)."""
        weighted = design * np.exp2(-age_ns / HALF_LIFE_NS)[:, None]
        return Sums(self.squares + weighted.T @ design, self.products + weighted.T @ target)

    def coefficients(self) -> Floats:
        """Return the coefficients (P,) of the least squares."""
        own = np.diag(self.squares)
        ridge = np.where(own > 0, RIDGE * own, 1.0)
        return np.asarray(np.linalg.solve(self.squares + np.diag(ridge), self.products))


def level(panel: Panel, fold: Fold, horizon: str) -> Floats:
    """Return the log level (N,) at the origins from two months before the fold on, by the day's coefficients."""
    columns = reference(panel, fold, horizon)
    usable = panel.origins(horizon) & np.isfinite(columns).all(0)
    (rows,) = np.nonzero(usable)
    rows = rows[np.argsort(panel.row_time_ns[rows], kind="stable")]
    design = np.stack([np.ones(len(rows)), *(column[rows] for column in columns)], axis=-1)
    found = np.full(len(panel), np.nan)
    target = np.log(panel.target[horizon][rows] / BARS_AHEAD[horizon])
    learned = panel.in_training[rows] & np.isfinite(target)
    found[rows] = _daily(design, target, learned, panel.row_time_ns[rows], fold, HORIZON_NS[horizon])
    return np.asarray(found + np.log(BARS_AHEAD[horizon]))


def _daily(design: Floats, target: Floats, learned: Flags, time_ns: Times, fold: Fold, horizon_ns: int) -> Floats:
    """Return the level (N,) of rows in the order of time; a row learns once its outcome is over at the day's start."""
    level, sums, start = np.full(len(design), np.nan), Sums.nothing(design.shape[1]), 0
    count = 0
    for day_ns in range(fold.train_until_ns - CORRECTION_NS, fold.until_ns, DAY_NS):
        end = int(np.searchsorted(time_ns, day_ns - horizon_ns, "right"))
        new = slice(start, end)
        chosen = learned[new]
        sums = sums.fade(DAY_NS).add(design[new][chosen], target[new][chosen], day_ns - time_ns[new][chosen])
        start, count = end, count + int(chosen.sum())
        if count > design.shape[1]:
            first, last = np.searchsorted(time_ns, [day_ns, day_ns + DAY_NS], "left")
            level[first:last] = design[first:last] @ sums.coefficients()
    return level


def experts() -> tuple[Corrected, ...]:
    """Return it as an expert."""
    return (Corrected(NAME, level),)
