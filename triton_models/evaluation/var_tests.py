"""Value at risk from forecasts of variance, and tests of its hits.

A hit is a return below the quantile that was forecast. Of a right forecast hits come with the
probability of their level, and independently. Returns must not overlap: over longer horizons,
take every origin a horizon apart.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import xlogy

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class HitTest(NamedTuple):
    """A test of hits; `statistic` is chi-squared with `degrees` degrees of freedom for a right forecast."""

    statistic: float
    p_value: float
    degrees: int
    hits: int
    origins: int


def return_quantile(variance: Floats, standard_quantile: float) -> Floats:
    """Return the quantile of the log return over a horizon, from the variance forecast for it.

    standard_quantile: that of the return over its own volatility, such as the empirical one of the
    training rows; -1.645 for 5 % if returns were normal. The mean return is taken as 0.
    """
    return np.asarray(standard_quantile * np.sqrt(variance))


def hits_of(returns: Floats, quantile: Floats) -> Bools:
    """Return where the return is below its quantile, of the rows where both are known."""
    known = np.isfinite(returns) & np.isfinite(quantile)
    return np.asarray(returns[known] < quantile[known])


def kupiec(hits: Bools, level: float) -> HitTest:
    """Test that hits come at the rate `level` (Kupiec 1995, proportion of failures).

    >>> round(kupiec(np.arange(250) < 10, 0.01).statistic, 2)
    12.96
    """
    rate = float(hits.mean()) if len(hits) else float("nan")
    statistic = 2 * (_likelihood(hits, rate) - _likelihood(hits, level))
    return _result(statistic, 1, hits)


def independence(hits: Bools) -> HitTest:
    """Test that a hit is as likely after a hit as after none (Christoffersen 1998)."""
    before, after = hits[:-1], hits[1:]
    free = sum(_likelihood(part, float(part.mean())) for part in (after[before], after[~before]) if len(part))
    statistic = 2 * (free - _likelihood(after, float(after.mean()))) if len(after) else float("nan")
    return _result(statistic, 1, hits)


def christoffersen(hits: Bools, level: float) -> HitTest:
    """Test that the rate is `level` after a hit and after none: conditional coverage (Christoffersen 1998)."""
    before, after = hits[:-1], hits[1:]
    free = sum(_likelihood(part, float(part.mean())) for part in (after[before], after[~before]) if len(part))
    statistic = 2 * (free - _likelihood(after, level)) if len(after) else float("nan")
    return _result(statistic, 2, hits)


def dynamic_quantile(hits: Bools, level: float, quantile: Floats | None = None, lags: int = 4) -> HitTest:
    """Test that nothing known predicts a hit: past hits, the quantile itself (Engle and Manganelli 2004).

    Regresses hit - level on a constant, `lags` past hits and, if given, `quantile` (N,) of the same
    origins; b' X'X b / (level (1 - level)) is chi-squared with as many degrees as regressors.
    """
    demeaned = hits.astype(np.float64) - level
    columns = [np.ones(len(hits) - lags), *(demeaned[lags - lag : len(hits) - lag] for lag in range(1, lags + 1))]
    if quantile is not None:
        columns.append(quantile[lags:])
    design = np.stack(columns, axis=-1)
    weights, _, rank, _ = np.linalg.lstsq(design, demeaned[lags:], rcond=None)
    fitted = design @ weights
    return _result(float((fitted**2).sum()) / (level * (1 - level)), int(rank), hits)


def _likelihood(hits: Bools, rate: float) -> float:
    """Return the log likelihood of independent hits."""
    count = int(hits.sum())
    return float(xlogy(count, rate) + xlogy(len(hits) - count, 1 - rate))


def _result(statistic: float, degrees: int, hits: Bools) -> HitTest:
    # Rounding makes a perfect fit a little less than 0.
    statistic = max(statistic, 0.0) if np.isfinite(statistic) else statistic
    return HitTest(statistic, float(stats.chi2.sf(statistic, degrees)), degrees, int(hits.sum()), len(hits))
