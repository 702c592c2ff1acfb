"""Log-HARs: PLAIN (Corsi 2009), SEAS with the calendar, REF with what else helped, and HARQ.

PLAIN  log variance of the last bar, hour, day and week.
SEAS   PLAIN, the calendar profile of the hours ahead, and ranges of the same windows without season.
REF    SEAS, finer windows, semivariance and leverage, volume surprise, the market: by QLIKE at 5m.
HARQ   PLAIN, with the day counting less where its quarticity says that it is badly measured
       (Bollerslev, Patton and Quaedvlieg 2016).
All are direct, pooled over instruments, and fitted anew in each fold with a half-life of 90 days.
Their regressors are those of the live base, `triton_models.terms`.
"""

from collections.abc import Callable

import numpy as np

from schemas.tensors import HORIZON_NS
from triton_models.baselines.corrected import Corrected, Level
from triton_models.baselines.seasons import profile_of
from triton_models.evaluation.definitions import BARS_AHEAD, QLIKE_HORIZONS
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Panel
from triton_models.regression import gamma, least_squares
from triton_models.seasons import HOURS, Floats
from triton_models.terms import PLAIN, REF, SEAS, Reads, ahead, known_or_zero, past

Design = Callable[[Panel, Fold, str], list[Floats]]
"""Regressors (N,) each, NaN where not known, the intercept left out."""

WEEK_BARS = 2016
_NO_SEASON = np.zeros(HOURS)


def plain(panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Regressors of PLAIN."""
    return _terms(PLAIN, panel, fold, horizon)


def seasonal(panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Regressors of SEAS."""
    return _terms(SEAS, panel, fold, horizon)


def reference(panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Regressors of REF."""
    return _terms(REF, panel, fold, horizon)


def quarticity(panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Regressors of HARQ: half the log of quarticity over squared variance, alone and times the day's log variance."""
    regressors = plain(panel, fold, horizon)
    fourth, day = panel.columns["bar_realised_quarticity_1d"], panel.columns["bar_realised_variance_1d"]
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = known_or_zero(np.log(np.where(fourth > 0, fourth, np.nan) / np.square(day)) / 2)
    return [*regressors, noise, noise * (regressors[2] - regressors[3])]


def fit_level(panel: Panel, fold: Fold, horizon: str, design: Design, *, by_qlike: bool = False) -> Floats:
    """Fit on a fold and return the log level (N,) at the origins, before any correction."""
    columns = design(panel, fold, horizon)
    usable = panel.origins(horizon) & np.isfinite(columns).all(0)
    matrix = np.stack([np.ones(int(usable.sum())), *(column[usable] for column in columns)], axis=-1)
    learned = fold.learned(panel, horizon)[usable]
    level = np.full(len(panel), np.nan)
    if learned.sum() <= matrix.shape[1]:
        return level
    variance = panel.target[horizon][usable][learned] / BARS_AHEAD[horizon]
    weights = fold.weights(panel)[usable][learned]
    found = least_squares(matrix[learned], np.log(variance), weights)
    if by_qlike:
        found = gamma(matrix[learned], variance, weights, found)
    level[usable] = matrix @ found + np.log(BARS_AHEAD[horizon])
    return level


def reference_level(panel: Panel, fold: Fold, horizon: str) -> Floats:
    """Return the log level (N,) of REF: the base that LightGBM and networks correct."""
    return fit_level(panel, fold, horizon, reference, by_qlike=horizon in QLIKE_HORIZONS)


def experts() -> tuple[Corrected, ...]:
    """Return the log-HARs as experts."""
    return (
        Corrected("har-plain", _level_of(plain)),
        Corrected("har-seas", _level_of(seasonal)),
        Corrected("har-ref", reference_level),
        Corrected("harq", _level_of(quarticity)),
    )


def _level_of(design: Design) -> Level:
    return lambda panel, fold, horizon: fit_level(panel, fold, horizon, design)


def _terms(reads: Reads, panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Return the terms of rows that know all variances."""
    log_factor = _profile(panel, fold) if reads.season else _NO_SEASON
    known = len(reads.variances)
    regressors = past(reads, panel.columns, log_factor, panel.row_time_ns, known)
    return [*regressors, *ahead(reads, log_factor, panel.row_time_ns, HORIZON_NS[horizon])]


def _profile(panel: Panel, fold: Fold) -> Floats:
    """Return the calendar profile (168,) of what a fold may learn from."""
    bar, *_, week = past(PLAIN, panel.columns, _NO_SEASON, panel.row_time_ns, len(PLAIN.variances))
    return profile_of(panel, fold, bar - week)
