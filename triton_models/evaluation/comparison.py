"""Is one forecast better than another, or is the difference chance? On losses of the same origins.

A difference is that of losses first - second: below 0 the first is better.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from schemas.errors import StateError

Floats = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """Result of a Diebold-Mariano test."""

    difference: float
    """Mean of loss first - loss second; below 0 the first is better."""
    statistic: float
    """The mean over its standard error, corrected for small samples; NaN if undefined."""
    p_value: float
    """Two-sided: that equal skill gives a difference as large."""
    origins: int
    """Origins at which both losses are known."""

    def better(self, level: float = 0.05) -> bool:
        """Return whether the first forecast is significantly better, two-sided."""
        return self.p_value < level and self.difference < 0

    def worse(self, level: float = 0.05) -> bool:
        """Return whether the first forecast is significantly worse, two-sided."""
        return self.p_value < level and self.difference > 0


def long_run_variance(series: Floats, lags: int) -> float:
    """Return the Bartlett-weighted sum of autocovariances up to `lags` (Newey and West 1987), divided by N, not N - 1.

    Rows that are NaN keep their place in time and add nothing (Parzen 1963): a gap brings no two
    rows closer together. The variance of the mean is this over the number of known rows.
    """
    known = np.isfinite(series)
    count = int(known.sum())
    if not count:
        return float("nan")
    centred = np.where(known, series - series[known].mean(), 0.0)
    total = float((centred**2).sum())
    for lag in range(1, min(lags, len(centred) - 1) + 1):
        weight = 1 - lag / (lags + 1)
        total += 2 * weight * float((centred[lag:] * centred[:-lag]).sum())
    return total / count


def diebold_mariano(first: Floats, second: Floats, *, lags: int, steps: int = 1) -> Comparison:
    """Test for equal expected loss of two forecasts (Diebold and Mariano 1995).

    first, second: losses (N,) on one grid of origins in order of time, NaN where not known.
    lags: autocovariances that the standard error takes in, at least steps - 1; more where losses
    are dependent beyond their overlap. steps: the horizon in origins, for the small-sample factor
    sqrt((N + 1 - 2 steps + steps (steps - 1) / N) / N) and the t distribution with N - 1 degrees
    (Harvey, Leybourne and Newbold 1997). Raises StateError for fewer lags than the overlap.
    """
    if lags < steps - 1:
        raise StateError(f"losses {steps} origins ahead overlap over {steps - 1} lags, got lags={lags}; use more")
    difference = first - second
    count = int(np.isfinite(difference).sum())
    if count <= max(2 * steps, 2):
        return Comparison(float("nan"), float("nan"), float("nan"), count)
    mean = float(np.nanmean(difference))
    variance = long_run_variance(difference, lags)
    if not variance > 0:
        return Comparison(mean, float("nan"), 1.0 if mean == 0 else float("nan"), count)
    factor = (count + 1 - 2 * steps + steps * (steps - 1) / count) / count
    statistic = mean / np.sqrt(variance / count) * np.sqrt(factor)
    return Comparison(mean, float(statistic), float(2 * stats.t.sf(abs(statistic), count - 1)), count)


def confidence_set(
    losses: Floats, names: Sequence[str], *, block: int, repetitions: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Return the model confidence set's p-value of each model (Hansen, Lunde and Nason 2011).

    Models with a p-value above the size of the test are in the set: the best cannot be told from
    them. Range statistic, circular block bootstrap of `block` rows.

    losses (N, K), in order of time; rows where one is not known are left out. Raises StateError
    where fewer than two blocks are left.
    """
    rows = losses[np.isfinite(losses).all(-1)]
    if len(rows) < 2 * block:
        raise StateError(f"a confidence set needs two blocks of {block} rows, got {len(rows)} known rows; add rows")
    means = rows.mean(0)
    resampled = _resampled_means(rows, block, repetitions, np.random.default_rng(seed))  # (R, K)
    differences = means[:, None] - means
    deviations = resampled[:, :, None] - resampled[:, None, :] - differences  # (R, K, K)
    # The same model twice has no deviation and no difference; 1 keeps it at a statistic of 0.
    spread = np.sqrt((deviations**2).mean(0))
    spread = np.where(spread > 0, spread, 1.0)
    statistics, simulated = differences / spread, deviations / spread
    included = list(range(len(names)))
    result, reached = {}, 0.0
    while len(included) > 1:
        among = np.ix_(included, included)
        statistic = statistics[among]
        worst = included[int(statistic.max(1).argmax())]
        largest = simulated[:, among[0], among[1]].max((1, 2))
        reached = max(reached, float((statistic.max() <= largest).mean()))
        result[names[worst]] = reached
        included.remove(worst)
    result[names[included[0]]] = 1.0
    return {name: result[name] for name in names}


def sign_test(differences: Floats) -> float:
    """Return the two-sided p-value that as many of the differences have one sign by chance; ties and NaN are left out.

    One difference for each instrument: few, but nearly free of assumptions. 1 if there are none.

    >>> sign_test(np.array([-1.0] * 6))
    0.03125
    """
    below, above = int((differences < 0).sum()), int((differences > 0).sum())
    if not below + above:
        return 1.0
    return float(stats.binomtest(below, below + above).pvalue)


def _resampled_means(rows: Floats, block: int, repetitions: int, random: np.random.Generator) -> Floats:
    """Return means (R, K) of circular block resamples; sums over blocks are differences of a cumulative sum."""
    count = len(rows)
    blocks = -(-count // block)
    last = count - (blocks - 1) * block
    # Deviations from the mean keep the cumulative sums small.
    centred = rows - rows.mean(0)
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(np.concatenate([centred, centred[:block]]), axis=0)])
    lengths = np.full(blocks, block)
    lengths[-1] = last
    means = np.empty((repetitions, rows.shape[1]))
    for one in range(repetitions):
        starts = random.integers(count, size=blocks)
        means[one] = (sums[starts + lengths] - sums[starts]).sum(0) / count
    return np.asarray(means + rows.mean(0))
