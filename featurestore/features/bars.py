"""Five-minute bars: what the bar profile knows of prices and volume."""

import numpy as np

from featurestore import feature, tile
from schemas import Bar

BAR_S = 300.0
"""Length of a bar, in seconds."""
HALF = 0.5
"""A mean is known where so many of the window's bars are there: a few hours without any silence no week."""


@tile(Bar, combine="last", carry="1d", interval="5m")
def bar_close(close):
    """Closing price, kept while no bar comes, in quote units."""
    return close[-1]


@tile(Bar, combine="max", interval="5m")
def bar_high(high):
    """Highest price, in quote units."""
    return high.max()


@tile(Bar, combine="min", interval="5m")
def bar_low(low):
    """Lowest price, in quote units."""
    return low.min()


@tile(Bar, combine="sum", interval="5m")
def bar_volume(volume):
    """Traded volume, in base units."""
    return volume.sum()


@tile(Bar, combine="sum", interval="5m")
def garman_klass(open, high, low, close):  # noqa: A002 - the record's field
    """Variance of one bar, hl^2 / 2 - (2 ln 2 - 1) co^2 (Garman and Klass 1980), in squared log return."""
    spread = np.log(high.max() / low.min())
    change = np.log(close[-1] / open[0])
    return np.maximum(spread * spread / 2 - (2 * np.log(2) - 1) * change * change, 0)


@tile(window=2, combine="sum")
def bar_return(bar_close):
    """Log change of the close from bar to bar, in log return."""
    return np.log(bar_close[..., 1] / bar_close[..., 0])


@tile(window=1, combine="sum")
def bar_squared_return(bar_return):
    """Squared return, in squared log return."""
    return np.square(bar_return[..., 0])


@tile(window=1, combine="sum")
def bar_squared_loss(bar_return):
    """Squared return where it is negative, in squared log return."""
    return np.square(np.minimum(bar_return[..., 0], 0))


@tile(window=1, combine="sum")
def bar_fourth_power_return(bar_return):
    """Fourth power of the return, in fourth power of log return."""
    return np.square(np.square(bar_return[..., 0]))


@tile(window=1, combine="sum", interval="5m")
def bar_count(garman_klass):
    """Whether there is a bar, in bars."""
    return 1.0 * np.isfinite(garman_klass[..., 0])


@tile(window=1, combine="sum", interval="5m")
def known_garman_klass(garman_klass):
    """Variance of one bar, 0 where there is none, in squared log return."""
    return np.where(np.isfinite(garman_klass[..., 0]), garman_klass[..., 0], 0.0)


@feature(window=["5m", "1h", "6h", "1d", "7d"])
def bar_realised_variance(bar_squared_return, garman_klass):
    """Sum of squared returns; of a window of one bar, Garman-Klass, in squared log return.

    (Andersen, Bollerslev, Diebold and Labys 2003; Garman and Klass 1980)
    """
    of_one_bar = bar_squared_return.shape[-1] == 1
    return (garman_klass if of_one_bar else bar_squared_return).sum(-1)


@feature(window=["1h", "1d"])
def bar_negative_semivariance(bar_squared_loss):
    """Sum of squared losses (Barndorff-Nielsen, Kinnebrock and Shephard 2010), in squared log return."""
    return bar_squared_loss.sum(-1)


@feature(window="1d")
def bar_realised_quarticity(bar_fourth_power_return):
    """n/3 times the sum of r^4 (Bollerslev, Patton and Quaedvlieg 2016), in fourth power of log return."""
    return bar_fourth_power_return.sum(-1) * bar_fourth_power_return.shape[-1] / 3


@feature(window=["5m", "1h", "1d"])
def bar_signed_return(bar_return):
    """Log return of the window, in log return."""
    return bar_return.sum(-1)


@feature(window=["1h", "1d"])
def bar_range_variance(bar_high, bar_low):
    """Variance from the price range, ln(high/low)^2 / (4 ln 2) (Parkinson 1980), in squared log return."""
    spread = np.log(np.fmax.reduce(bar_high, -1) / np.fmin.reduce(bar_low, -1))
    return spread * spread / (4 * np.log(2))


def mean_of_known(total, bar_count, border_s, weight):
    """Return the weighted mean per bar of tile sums, a bar or an hour each; NaN where too few bars are there."""
    there = np.isfinite(bar_count) & np.isfinite(total)
    count = np.where(there, bar_count, 0.0)
    tiles = border_s.shape[-1]
    tile_s = (border_s[..., -1] - border_s[..., 0]) / (tiles - 1) if tiles > 1 else BAR_S
    enough = count.sum(-1) >= HALF * tiles * tile_s / BAR_S
    return np.where(enough, (weight * np.where(there, total, 0.0)).sum(-1) / (weight * count).sum(-1), np.nan)


@feature(
    window=["5m", "10m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "2d", "4d", "7d"],
    interval="5m",
)
def bar_garman_klass_variance(known_garman_klass, bar_count, border_s):
    """Mean variance of the window's bars from open, high, low and close (Garman and Klass 1980), in squared log return.

    Not known where more than half of them are missing.
    """
    return mean_of_known(known_garman_klass, bar_count, border_s, 1.0)


@feature(window=["1h", "6h", "1d", "4d", "7d"], interval="5m")
def bar_decayed_variance(known_garman_klass, bar_count, border_s):
    """Mean variance of bars, weights falling by e in a fifth of the window (RiskMetrics 1996), in squared log return.

    Not known where more than half of the bars are missing.
    """
    age = border_s[..., -1:] - border_s
    weight = np.exp(-5 * age / (age[..., :1] + (age[..., :1] == 0)))
    return mean_of_known(known_garman_klass, bar_count, border_s, weight)


@feature(window=["5m", "1h", "1d", "7d"])
def bar_traded_volume(bar_volume):
    """Volume of the window (Karpoff 1987), in base units."""
    return bar_volume.sum(-1)


@feature(window="1d")
def bar_volume_surprise(bar_volume):
    """Log of the mean volume of the last hour (24th of the window) over that of all, in log ratio.

    (Gervais, Kaniel and Mingelgrin 2001)
    """
    recent = bar_volume[..., -(bar_volume.shape[-1] // 24) :].mean(-1)
    return np.log(np.where(recent > 0, recent, np.nan) / bar_volume.mean(-1))
