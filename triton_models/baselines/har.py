"""Log-HARs: PLAIN (Corsi 2009), SEAS with the calendar, REF with what else helped, and HARQ.

PLAIN  log variance of the last bar, hour, day and week.
SEAS   PLAIN, the calendar profile of the hours ahead, and ranges of the same windows without season.
REF    SEAS, finer windows, semivariance and leverage, volume surprise, the market: by QLIKE at 5m.
HARQ   PLAIN, with the day counting less where its quarticity says that it is badly measured
       (Bollerslev, Patton and Quaedvlieg 2016).
All are direct, pooled over instruments, and fitted anew in each fold with a half-life of 90 days.
"""

from collections.abc import Callable

import numpy as np

from triton_models.baselines.corrected import Corrected, Level
from triton_models.baselines.regression import gamma, least_squares
from triton_models.baselines.seasons import fit_profile
from triton_models.evaluation.definitions import BARS_AHEAD, FLOOR_RATIO
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Panel
from triton_models.har import Floats

Design = Callable[[Panel, Fold, str], list[Floats]]
"""Regressors (N,) each, NaN where not known, the intercept left out."""

WEEK_BARS = 2016
_WINDOWS = {"5m": 1, "1h": 12, "1d": 288, "7d": WEEK_BARS}
_FINE = (2, 3, 6, 24, 48, 96, 144, 576, 1152)
"""Windows, in bars, that REF adds to those of PLAIN."""
_DAY_BARS = 288
_RETURN_LIMIT = 10.0
_KNOWN_RATIO = 0.5
"""A window of ranges needs so many of its bars: a day without bars is no reason to be silent for a week."""
QLIKE_HORIZONS = ("5m",)
"""Where REF is fitted by QLIKE: with so many rows it pays, with few it follows their peaks."""


def week_mean(panel: Panel) -> Floats:
    """Return the mean variance of a bar (N,) over the week before."""
    return panel.columns["bar_realised_variance_7d"] / WEEK_BARS


def log_past(panel: Panel, feature: str, bars: int) -> Floats:
    """Return the log of a past variance (N,) as that of a mean bar, not below the floor."""
    week = week_mean(panel)
    return np.asarray(np.log(np.maximum(panel.columns[feature] / bars, FLOOR_RATIO * week)))


def plain(panel: Panel, _fold: Fold, _horizon: str) -> list[Floats]:
    """Regressors of PLAIN."""
    return [log_past(panel, f"bar_realised_variance_{name}", bars) for name, bars in _WINDOWS.items()]


def seasonal(panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Regressors of SEAS."""
    ahead, calm = _calendar(panel, fold, horizon)
    return [*plain(panel, fold, horizon), ahead, *_ranges(panel, calm, tuple(_WINDOWS.values()))]


def reference(panel: Panel, fold: Fold, horizon: str) -> list[Floats]:
    """Regressors of REF."""
    ahead, calm = _calendar(panel, fold, horizon)
    ranges = _ranges(panel, calm, (*_WINDOWS.values(), *_FINE))
    return [*plain(panel, fold, horizon), ahead, *ranges, *_signs(panel), *_volume(panel), *_market(panel)]


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


def known_or_zero(values: Floats) -> Floats:
    """Return values (N,), 0 where not known: for regressors whose 0 says nothing."""
    return np.where(np.isfinite(values), values, 0.0)


def _calendar(panel: Panel, fold: Fold, horizon: str) -> tuple[Floats, Floats]:
    """Return the log profile of what is ahead (N,), and each bar's range variance without its season (N,)."""
    bar = np.exp(log_past(panel, "bar_realised_variance_5m", 1))
    profile = fit_profile(panel, fold, np.log(bar / week_mean(panel)))
    return profile.ahead(panel.row_time_ns, horizon), bar * np.exp(-profile.of_bar(panel.row_time_ns))


def _ranges(panel: Panel, calm: Floats, windows: tuple[int, ...]) -> list[Floats]:
    with np.errstate(divide="ignore"):
        return [np.log(panel.trailing_mean(calm, bars, _KNOWN_RATIO)) for bars in windows]


def _signs(panel: Panel) -> list[Floats]:
    """Semivariance as the share of losses, and leverage: losses and gains in deviations of their window."""
    columns, week = panel.columns, week_mean(panel)
    found = []
    for name in ("1h", "1d"):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = columns[f"bar_negative_semivariance_{name}"] / columns[f"bar_realised_variance_{name}"]
        found.append(known_or_zero(share - 0.5))
    for name in ("5m", "1h", "1d"):
        scaled = known_or_zero(columns[f"bar_signed_return_{name}"] / np.sqrt(week * _WINDOWS[name]))
        found += [np.clip(scaled, -_RETURN_LIMIT, 0), np.clip(scaled, 0, _RETURN_LIMIT)]
    return found


def _volume(panel: Panel) -> list[Floats]:
    """Log volumes of a bar, an hour and a day, each against the window above it."""
    columns = panel.columns
    bar = columns["bar_traded_volume_5m"]
    hour, day = columns["bar_traded_volume_1h"] / _WINDOWS["1h"], columns["bar_traded_volume_1d"] / _WINDOWS["1d"]
    week = panel.trailing_mean(bar, WEEK_BARS)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = [np.log(bar / hour), columns["bar_volume_surprise_1d"], np.log(day / week)]
    return [known_or_zero(step) for step in steps]


def _market(panel: Panel) -> list[Floats]:
    """Log variance of all instruments in the last hour against its own day and week."""
    market = panel.columns["market_bar_volatility_1h"]
    return [known_or_zero(market - panel.trailing_mean(market, bars)) for bars in (_DAY_BARS, WEEK_BARS)]
