"""Time of day and week, UTC, of the row: markets that never close have seasons all the same."""

import numpy as np

from featurestore import feature

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
FIRST_MONDAY_S = 4 * DAY_S
"""The epoch began on a Thursday."""


def turn(time_s, period_s):
    """Return the angle of a time in its period."""
    return 2 * np.pi * (time_s % period_s) / period_s


@feature()
def hour_sine(border_s):
    """Sine of the time of day, in [-1, 1]."""
    return np.sin(turn(border_s[..., -1], DAY_S))


@feature()
def hour_cosine(border_s):
    """Cosine of the time of day, in [-1, 1]."""
    return np.cos(turn(border_s[..., -1], DAY_S))


@feature()
def weekday_sine(border_s):
    """Sine of the time of week, from Monday, in [-1, 1]."""
    return np.sin(turn(border_s[..., -1] - FIRST_MONDAY_S, WEEK_S))


@feature()
def weekday_cosine(border_s):
    """Cosine of the time of week, from Monday, in [-1, 1]."""
    return np.cos(turn(border_s[..., -1] - FIRST_MONDAY_S, WEEK_S))
