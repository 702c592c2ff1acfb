"""Seasons of day and week, from the same hours and minutes of the days before: no calendar is needed."""

import numpy as np

from featurestore import feature

HOURS = 24
MINUTES = 60


def positive(values):
    """Values above 0, NaN for the others."""
    return np.where(values > 0, values, np.nan)


@feature(window="7d")
def seasonal_factor(squared_return):
    """Variance to expect of the coming hour for its time of day and week, over the mean hour's, in ratio.

    s(tod) s(dow): the mean of the same hour of seven days over that of all hours, times the mean of
    the day that began a week ago over that of all days (Hansen, Kim and Kimbrough 2021).
    """
    mean = positive(squared_return.mean(-1))
    same_hour = np.ascontiguousarray(squared_return[..., ::HOURS]).mean(-1)
    same_day = np.ascontiguousarray(squared_return[..., :HOURS]).mean(-1)
    return same_hour / mean * (same_day / mean)


@feature(window="7d")
def deseasonalised_variance(squared_return):
    """Variance of the last hour over its time of day's factor (Andersen and Bollerslev 1997), in squared log return.

    The factor is the mean of that hour of the six days before over that of all hours before: an
    hour that is held against itself would seem calmer than it is.
    """
    before = np.ascontiguousarray(squared_return[..., :-1])
    same_hour = positive(np.ascontiguousarray(before[..., HOURS - 1 :: HOURS]).mean(-1))
    return squared_return[..., -1] * before.mean(-1) / same_hour


@feature(window="1d", interval="1s")
def minute_of_hour_factor(squared_return):
    """Variance of the coming minute of the hour in 24 hours over the mean minute's, in ratio.

    Hansen, Kim and Kimbrough (2021): trading on the hour and its quarters is a season of its own.
    """
    same_minute = np.ascontiguousarray(squared_return[..., ::MINUTES]).mean(-1)
    return same_minute / positive(squared_return.mean(-1))


@feature(window="7d")
def seasonal_volume_surprise(volume):
    """Log of the last hour's volume over the mean of that hour on the six days before, in log ratio."""
    before = np.ascontiguousarray(volume[..., HOURS - 1 : -1 : HOURS]).mean(-1)
    return np.log(positive(volume[..., -1]) / positive(before))
