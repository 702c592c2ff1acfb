"""Scores of forecasts of realised variance, one number a row, NaN where either side is not known.

QLIKE compares levels, because noise in the proxy does not mislead it (Patton 2011). Everything else
is computed on the logarithm of realised variance: variances differ by orders of magnitude between
instruments and nights, and a mean over them in units of variance is that of the loudest alone.
"""

import numpy as np
import numpy.typing as npt

from schemas.tensors import QUANTILES

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS: Floats = np.array(QUANTILES)
BANDS = {"50": (0.25, 0.75), "80": (0.1, 0.9), "90": (0.05, 0.95)}
"""Central bands in percent, and the levels that bound them."""


def qlike(realised: Floats, mean: Floats) -> Floats:
    """Return RV/f - log(RV/f) - 1 (Patton 2011), at least 0 and 0 where they are equal; both positive.

    >>> qlike(np.array([2.0, 1.0]), np.array([2.0, 2.0])).round(6).tolist()
    [0.0, 0.193147]
    """
    ratio = realised / mean
    return np.asarray(ratio - np.log(ratio) - 1)


def squared_error(y: Floats, forecast: Floats) -> Floats:
    """Return (y - forecast)^2; of logs, the squared log error."""
    return np.asarray((y - forecast) ** 2)


def r2(y: Floats, forecast: Floats, benchmark: Floats | float | None = None) -> float:
    """Return 1 - SSE(forecast) / SSE(benchmark) over rows where all are known; 1 is perfect.

    `benchmark` is a forecast too, such as the mean of the training rows (Campbell and Thompson
    2008); without one it is the mean of `y`, which no forecast could know.
    """
    known = np.isfinite(y) & np.isfinite(forecast)
    if benchmark is not None:
        known &= np.isfinite(np.broadcast_to(benchmark, y.shape))
    if not known.any():
        return float("nan")
    base = np.full_like(y, y[known].mean()) if benchmark is None else np.broadcast_to(benchmark, y.shape)
    errors = float(squared_error(y, forecast)[known].sum())
    return 1 - errors / float(squared_error(y, np.asarray(base))[known].sum())


def pinball(y: Floats, quantiles: Floats, levels: Floats = LEVELS) -> Floats:
    """Return the pinball loss of each quantile: y (N,), quantiles (N, Q) -> (N, Q) (Koenker and Bassett 1978).

    >>> pinball(np.array([1.0]), np.array([[0.0, 2.0]]), np.array([0.1, 0.9])).round(6).tolist()
    [[0.1, 0.1]]
    """
    excess = y[..., None] - quantiles
    return np.asarray(np.maximum(levels * excess, (levels - 1) * excess))


def crps(y: Floats, quantiles: Floats, levels: Floats = LEVELS) -> Floats:
    """Return the CRPS (N,) as twice the mean pinball loss over the levels (Laio and Tamea 2007).

    It is the CRPS itself for levels at equal distances as their number grows; for few levels it is
    a proper score of those quantiles, to be compared between forecasts of the same levels alone.
    """
    return np.asarray(2 * pinball(y, quantiles, levels).mean(-1))


def interval_score(y: Floats, low: Floats, high: Floats, miss_ratio: float = 0.1) -> Floats:
    """Return the width plus 2 / `miss_ratio` times how far `y` lies outside (Winkler 1972, Gneiting and Raftery 2007).

    `miss_ratio` is the share of outcomes that may lie outside: 0.1 for a 90 % band.
    """
    outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return np.asarray(high - low + 2 / miss_ratio * outside)


def covered(y: Floats, low: Floats, high: Floats) -> Floats:
    """Return 1 where `y` is in the closed band, 0 where not, NaN where not known.

    >>> covered(np.array([1.0, 3.0, np.nan]), np.zeros(3), np.full(3, 2.0)).tolist()
    [1.0, 0.0, nan]
    """
    inside = ((y >= low) & (y <= high)).astype(np.float64)
    return np.where(np.isfinite(y) & np.isfinite(low) & np.isfinite(high), inside, np.nan)


def pit(y: Floats, quantiles: Floats, levels: Floats = LEVELS) -> Floats:
    """Return the probability integral transform of `y` (N,), in (0, 1); uniform for a calibrated forecast.

    The distribution function is linear between the quantiles (N, Q). Beyond the outermost the
    density falls exponentially from that of the outermost pair, so that no outcome gets 0 or 1.
    """
    at = (y[..., None] >= quantiles).sum(-1)  # (N,) quantiles not above y
    last = len(levels) - 1
    left = np.clip(at - 1, 0, last - 1)
    low = np.take_along_axis(quantiles, left[..., None], -1)[..., 0]
    high = np.take_along_axis(quantiles, left[..., None] + 1, -1)[..., 0]
    density = (levels[left + 1] - levels[left]) / np.maximum(high - low, np.finfo(np.float64).tiny)
    inside = levels[left] + density * (y - low)
    with np.errstate(over="ignore", under="ignore"):
        below = levels[0] * np.exp(-density * np.maximum(low - y, 0) / levels[0])
        above = 1 - (1 - levels[-1]) * np.exp(-density * np.maximum(y - high, 0) / (1 - levels[-1]))
    value = np.where(at == 0, below, np.where(at > last, above, inside))
    return np.where(np.isfinite(y) & np.isfinite(quantiles).all(-1), value, np.nan)


def pit_histogram(values: Floats, bins: int = 20) -> Floats:
    """Return the share (bins,) of known PIT values in each of `bins` equal parts of (0, 1), equal if calibrated."""
    known = values[np.isfinite(values)]
    counts, _ = np.histogram(known, bins=bins, range=(0, 1))
    return np.asarray(counts / max(len(known), 1))


def pit_distance(values: Floats) -> float:
    """Return the Kolmogorov distance of known PIT values from the uniform distribution; NaN without any.

    >>> round(pit_distance((np.arange(10) + 0.5) / 10), 6)
    0.05
    """
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return float("nan")
    steps = np.arange(len(known) + 1) / len(known)
    return float(max((steps[1:] - known).max(), (known - steps[:-1]).max()))


def crossed(quantiles: Floats) -> Bools:
    """Return (N,) where a quantile (N, Q) lies below one of a lower level."""
    return np.asarray((np.diff(quantiles, axis=-1) < 0).any(-1))


def summary(realised: Floats, mean: Floats, quantiles: Floats, known: Bools | None = None) -> dict[str, float]:
    """Return the mean of every score over the rows where all sides are known (and `known`, if given).

    realised (N,), mean (N,) and quantiles (N, Q) are variances. `bias` is the mean of RV/f - 1,
    `log_bias` the mean of log RV - log median, and `centred_log_mse` the squared log error
    without it: an uncorrected bias passes for lack of skill, and its correction for skill.
    """
    usable = np.isfinite(realised) & np.isfinite(mean) & np.isfinite(quantiles).all(-1)
    rows = usable if known is None else usable & known
    realised, mean, quantiles = realised[rows], mean[rows], quantiles[rows]
    if not len(realised):
        return {"count": 0.0}
    y, logs = np.log(realised), np.log(quantiles)
    median = logs[:, QUANTILES.index(0.5)]
    low, high = logs[:, 0], logs[:, -1]
    error = y - median
    values = pit(y, logs)
    coverage = {
        f"coverage_{name}": covered(y, logs[:, QUANTILES.index(one)], logs[:, QUANTILES.index(other)]).mean()
        for name, (one, other) in BANDS.items()
    }
    scores = {
        "count": len(y),
        "qlike": qlike(realised, mean).mean(),
        "bias": (realised / mean).mean() - 1,
        "log_bias": error.mean(),
        "log_mse": (error**2).mean(),
        "centred_log_mse": error.var(),
        "log_r2": r2(y, median) if y.var() > 0 else float("nan"),
        "pinball": pinball(y, logs).mean(),
        "crps": crps(y, logs).mean(),
        "interval_score_90": interval_score(y, low, high).mean(),
        "width_90": (high - low).mean(),
        "pit_distance": pit_distance(values),
        "crossings": crossed(quantiles).sum(),
        **coverage,
    }
    return {name: float(value) for name, value in scores.items()}
