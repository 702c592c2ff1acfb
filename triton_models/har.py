"""Direct log-HAR: the base that every network corrects, and the fallback without a network.

Per horizon, log realised variance ahead is linear in the logs of realised variance over past
windows (Corsi 2009) and in harmonics of the hour of the week. Long windows are masked until they
are filled, so there is one fit per number of known windows, shortest first.
Numpy only and free of BLAS, so that the bits of a row do not depend on the rows beside it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import StateError
from schemas.rules import DAY_NS
from schemas.tensors import HORIZON_NS, QUANTILES, YEAR_NS

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

FLOOR_PER_NS = 0.02**2 / YEAR_NS
"""Variance per nanosecond at 2 % volatility a year: below it a logarithm would only tell of gaps."""
MINIMUM_STEP = 1e-3
"""Least distance of neighbouring quantiles, in log variance."""
MINIMUM_ROWS = 200
"""A set of coefficients fitted from fewer rows is not trusted; the next smaller one stands in."""
RIDGE = 1e-3
"""Penalty on the coefficients relative to their columns' variance, the intercept excepted."""

_DAILY, _WEEKLY = 3, 2
SEASONS = 2 * (_DAILY + _WEEKLY)
"""Terms of a fit that are harmonics."""
_DAILY_SPAN_NS, _WEEKLY_SPAN_NS = 3 * DAY_NS, 28 * DAY_NS
_WINDOW_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": DAY_NS}
_VARIANCE = re.compile(r"(bar_)?realised_variance_\d+[smhd]")


class Har(msgspec.Struct, frozen=True, kw_only=True):
    """Coefficients of a fitted log-HAR. K windows, H horizons, P = 1 + K + seasons, Q quantiles."""

    windows: tuple[str, ...]
    """The features that it reads, shortest window first."""
    horizons: tuple[str, ...]
    coefficients: tuple[tuple[tuple[float, ...], ...], ...]
    """(K, H, P): first by the number of known windows less one."""
    smearing: tuple[tuple[float, ...], ...]
    """(K, H): log of the mean of exp(residual) (Duan 1983), which makes the mean unbiased."""
    residuals: tuple[tuple[tuple[float, ...], ...], ...]
    """(K, H, Q): quantiles of the residual in log variance."""


class LogForecast(NamedTuple):
    """A forecast in log variance: what networks correct. NaN where it is not known."""

    mean: Floats
    """(B, H): log of the expected variance."""
    median: Floats
    """(B, H)"""
    steps: Floats
    """(B, H, Q - 1): distances of neighbouring quantiles, all positive."""

    def correct(self, mean: Floats, median: Floats, widths: Floats) -> "LogForecast":
        """Return this forecast with its levels moved and its steps scaled; (0, 0, 1) is itself."""
        return LogForecast(self.mean + mean, self.median + median, self.steps * widths)

    def levels(self) -> tuple[Floats, Floats]:
        """Return the mean (B, H) and the quantiles (B, H, Q) of realised variance."""
        middle = QUANTILES.index(0.5)
        below = np.cumsum(self.steps[..., :middle][..., ::-1], axis=-1)[..., ::-1]
        above = np.cumsum(self.steps[..., middle:], axis=-1)
        median = self.median[..., None]
        quantiles = np.concatenate([median - below, median, median + above], axis=-1)
        return np.exp(self.mean), np.exp(quantiles)


def window_ns(feature: str) -> int:
    """Return the window in a feature's name.

    >>> window_ns("realised_variance_5m") == HORIZON_NS["5m"]
    True
    """
    window = feature.rpartition("_")[2]
    return int(window[:-1]) * _WINDOW_NS[window[-1]]


def windows_of(features: Sequence[str]) -> tuple[str, ...]:
    """Return the realised variances among `features`, shortest window first."""
    return tuple(sorted((name for name in features if _VARIANCE.fullmatch(name)), key=window_ns))


def log_variance(variance: Floats, over_ns: int | Times) -> Floats:
    """Return the log of a realised variance, not below the floor of its window. NaN stays NaN."""
    floor = FLOOR_PER_NS * np.asarray(over_ns, np.float64)
    return np.log(np.maximum(variance, floor))


def forecast(har: Har, variances: Floats, origin_time_ns: Times) -> LogForecast:
    """Forecast from realised variances (B, K), NaN where masked, in the order of `har.windows`.

    A row uses the fit for the windows known without a gap from the shortest on; one that does not
    know the shortest is NaN throughout.
    """
    past = log_variance(variances, _spans(har.windows))
    known = np.cumprod(np.isfinite(past), axis=-1).sum(-1)  # (B,)
    row = np.maximum(known - 1, 0)
    used = np.where(np.arange(past.shape[-1]) < known[:, None], past, 0.0)
    design = _design(used, origin_time_ns)  # (B, P)
    weights = np.asarray(har.coefficients, np.float64)[row]  # (B, H, P)
    median = (weights * design[:, None, :]).sum(-1)
    median = np.where((known > 0)[:, None], median, np.nan)
    offsets = np.asarray(har.residuals, np.float64)[row]  # (B, H, Q)
    smearing = np.asarray(har.smearing, np.float64)[row]
    middle = offsets[..., QUANTILES.index(0.5)]
    steps = np.maximum(np.diff(offsets, axis=-1), MINIMUM_STEP)
    return LogForecast(median + smearing, median + middle, steps)


def fit(windows: Sequence[str], variances: Floats, origin_time_ns: Times, targets: Mapping[str, Floats]) -> Har:
    """Fit on realised variances (N, K) and, per horizon, the variance that followed (N,), NaN: unknown.

    A fit with too few rows borrows: from the one with a window less, and a horizon from the
    next shorter one, moved by the log of the ratio of their lengths.
    """
    past = log_variance(variances, _spans(windows))
    ahead = {name: log_variance(target, HORIZON_NS[name]) for name, target in targets.items()}
    fits = [_fit_known(past[:, :known], len(windows), origin_time_ns, ahead) for known in range(1, len(windows) + 1)]
    filled = _borrow(fits, tuple(targets))
    return Har(
        windows=tuple(windows),
        horizons=tuple(targets),
        coefficients=tuple(tuple(tuple(one.weights.tolist()) for one in row) for row in filled),
        smearing=tuple(tuple(one.smearing for one in row) for row in filled),
        residuals=tuple(tuple(tuple(one.residuals.tolist()) for one in row) for row in filled),
    )


class _Fit(NamedTuple):
    """One regression: weights (P,), log smearing factor, residual quantiles (Q,)."""

    weights: Floats
    smearing: float
    residuals: Floats


def _spans(windows: Sequence[str]) -> Times:
    return np.array([window_ns(name) for name in windows], np.int64)


def _design(past: Floats, origin_time_ns: Times) -> Floats:
    """Return the regressors (N, 1 + K + seasons): intercept, windows, harmonics of day and week."""
    columns = [np.ones(len(past)), *past.T]
    for period_ns, harmonics in ((DAY_NS, _DAILY), (7 * DAY_NS, _WEEKLY)):
        phase = (origin_time_ns % period_ns) * (2 * np.pi / period_ns)
        for harmonic in range(1, harmonics + 1):
            columns += [np.sin(harmonic * phase), np.cos(harmonic * phase)]
    return np.ascontiguousarray(np.stack(columns, axis=-1))


def _fit_known(past: Floats, total: int, origin_time_ns: Times, ahead: Mapping[str, Floats]) -> list[_Fit | None]:
    """Fit each horizon on the first columns of the windows; None where rows are too few."""
    usable = np.isfinite(past).sum(axis=-1) == past.shape[-1]
    padded = np.zeros((len(past), total))
    padded[:, : past.shape[-1]] = np.where(usable[:, None], past, 0.0)
    fits = []
    for target in ahead.values():
        (rows,) = np.nonzero(usable & np.isfinite(target))
        fits.append(_regress(_design(padded[rows], origin_time_ns[rows]), target[rows], origin_time_ns[rows]))
    return fits


def _regress(design: Floats, target: Floats, origin_time_ns: Times) -> _Fit | None:
    """Ridge regression; None where rows are too few, no season that the span cannot tell from a trend."""
    if len(target) < MINIMUM_ROWS:
        return None
    span_ns = int(origin_time_ns.max() - origin_time_ns.min())
    lags = design.shape[-1] - SEASONS
    daily, weekly = span_ns >= _DAILY_SPAN_NS, span_ns >= _WEEKLY_SPAN_NS
    allowed = np.array([True] * lags + [daily] * (2 * _DAILY) + [weekly] * (2 * _WEEKLY))
    centre = np.where(np.arange(len(allowed)) > 0, design.mean(axis=0), 0.0)
    columns = (design - centre) * allowed
    products = columns.T @ columns
    penalty = RIDGE * np.diag(products) + 1e-9
    penalty[0] = 0.0
    weights = np.linalg.solve(products + np.diag(penalty), columns.T @ target)
    weights[0] -= (weights * centre).sum()
    residual = target - (design * weights).sum(-1)
    return _Fit(weights, float(np.log(np.exp(residual).mean())), np.quantile(residual, QUANTILES))


def _borrow(fits: list[list[_Fit | None]], horizons: tuple[str, ...]) -> list[list[_Fit]]:
    """Fill what could not be fitted: from a fit with fewer windows, else from a shorter horizon."""
    filled: list[list[_Fit]] = [[] for _ in fits]
    for index, horizon in enumerate(horizons):
        one: _Fit | None = None
        for known, row in enumerate(fits):
            one = row[index] or one
            if one is None and not index:
                raise StateError(f"log-HAR needs {MINIMUM_ROWS} rows whose variance {horizon} ahead is known; add rows")
            ratio = HORIZON_NS[horizon] / HORIZON_NS[horizons[max(index - 1, 0)]]
            filled[known].append(one or _stretched(filled[known][-1], ratio))
    return filled


def _stretched(one: _Fit, ratio: float) -> _Fit:
    weights = one.weights.copy()
    weights[0] += np.log(ratio)
    return _Fit(weights, one.smearing, one.residuals)
