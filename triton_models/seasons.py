"""The calendar profile: how much variance each hour of the week has, against the week's mean.

A profile is the logs of 168 factors, from Thursday 0:00 UTC as the epoch; their mean factor is 1.
"""

import numpy as np
import numpy.typing as npt

from schemas.rules import DAY_NS, HOUR_NS

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]

HOURS = 168
_DAY_HOURS = 24
_WEEK_NS = HOURS * HOUR_NS
_DAILY_SPAN_NS, _WEEKLY_SPAN_NS = 3 * DAY_NS, 28 * DAY_NS
"""Hours of the day are told apart from so many days on, those of the week from so many."""


def hour_of_week(time_ns: Times) -> Indices:
    """Return the hour of the week (N,), 0 at the hour of the epoch, a Thursday."""
    return np.asarray(time_ns % _WEEK_NS // HOUR_NS, np.int64)


def log_mean_factor(log_factor: Floats, end_ns: Times, length_ns: int) -> Floats:
    """Return the log of the mean factor (N,) over the time of a length, at most a week, up to each end.

    Without a season it is exactly 0: a fit would scale up the rounding of a sum as if it told something.

    >>> log_mean_factor(np.zeros(168), np.array([10**18]), HOUR_NS)
    array([0.])
    """
    if not np.any(log_factor):
        return np.zeros(len(end_ns))
    hours = np.arange(2 * HOURS + 1, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(np.tile(np.exp(log_factor), 2))])
    end = np.ascontiguousarray((end_ns % _WEEK_NS) / HOUR_NS + HOURS)
    length = length_ns / HOUR_NS
    mean = (np.interp(end, hours, sums) - np.interp(end - length, hours, sums)) / length
    return np.asarray(np.log(mean))


def fit_profile(start_ns: Times, log_relative: Floats, weights: Floats) -> Floats:
    """Fit log factors (168,) on logs of variance over its week's mean (N,), each of an interval from its start on.

    An hour that was never seen has the factor 1. A span too short to tell days of the week apart gives
    one day seven times; one too short for hours of the day, no season.
    """
    if not len(start_ns) or (span_ns := int(start_ns.max() - start_ns.min())) < _DAILY_SPAN_NS:
        return np.zeros(HOURS)
    count = HOURS if span_ns >= _WEEKLY_SPAN_NS else _DAY_HOURS
    hour = hour_of_week(start_ns) % count
    total = np.bincount(hour, weights, count)
    sums = np.bincount(hour, weights * log_relative, count)
    overall = sums.sum() / max(total.sum(), 1e-300)
    found = np.where(total > 0, sums / np.maximum(total, 1e-300) - overall, 0.0)
    whole = np.tile(found, HOURS // count)
    return np.asarray(whole - np.log(np.exp(whole).mean()))
