"""Realised measures of the mid price; a return is the log change of the mid from tile to tile."""

import numpy as np

from featurestore import feature, tile

ABSOLUTE_NORMAL_MEAN_SQUARED = 2 / np.pi


@tile(window=2, combine="sum")
def log_return(mid):
    """Log change of the mid, in log return."""
    return np.log(mid[..., 1] / mid[..., 0])


@tile(window=1, combine="sum")
def return_count(log_return):
    """Whether there is a return, in returns."""
    return 1.0 * np.isfinite(log_return[..., 0])


@tile(window=1, combine="sum")
def squared_return(log_return):
    """Squared return, in squared log return."""
    return np.square(log_return[..., 0])


@tile(window=1, combine="sum")
def squared_gain(log_return):
    """Squared return where it is positive, in squared log return."""
    return np.square(np.maximum(log_return[..., 0], 0))


@tile(window=1, combine="sum")
def squared_loss(log_return):
    """Squared return where it is negative, in squared log return."""
    return np.square(np.minimum(log_return[..., 0], 0))


@tile(window=2, combine="sum")
def bipower_product(log_return):
    """Product of the sizes of two returns in a row, in squared log return."""
    return np.abs(log_return[..., 0]) * np.abs(log_return[..., 1])


@tile(window=2, combine="sum")
def lagged_product(log_return):
    """Product of two returns in a row, in squared log return."""
    return log_return[..., 0] * log_return[..., 1]


@tile(window=1, combine="sum")
def fourth_power_return(log_return):
    """Fourth power of the return, in fourth power of log return."""
    return np.square(np.square(log_return[..., 0]))


@feature(window=["1m", "5m", "15m", "1h", "6h", "1d", "7d"])
def realised_variance(squared_return):
    """Sum of squared returns (Andersen, Bollerslev, Diebold and Labys 2003), in squared log return."""
    return squared_return.sum(-1)


@feature(window=["5m", "1h"])
def bipower_variation(bipower_product):
    """pi/2 times the sum of |r| |r before| (Barndorff-Nielsen and Shephard 2004), in squared log return."""
    return bipower_product.sum(-1) / ABSOLUTE_NORMAL_MEAN_SQUARED


@feature(window="1h")
def jump_variance(squared_return, bipower_product):
    """Realised variance above bipower variation (Andersen, Bollerslev and Diebold 2007), in squared log return."""
    return np.maximum(squared_return.sum(-1) - bipower_product.sum(-1) / ABSOLUTE_NORMAL_MEAN_SQUARED, 0)


@feature(window=["1m", "5m", "1h"])
def positive_semivariance(squared_gain):
    """Sum of squared gains (Barndorff-Nielsen, Kinnebrock and Shephard 2010), in squared log return."""
    return squared_gain.sum(-1)


@feature(window=["1m", "5m", "1h"])
def negative_semivariance(squared_loss):
    """Sum of squared losses (Barndorff-Nielsen, Kinnebrock and Shephard 2010), in squared log return."""
    return squared_loss.sum(-1)


@feature(window=["5m", "1h"])
def realised_quarticity(fourth_power_return, return_count):
    """n/3 times the sum of r^4 (Bollerslev, Patton and Quaedvlieg 2016), in fourth power of log return."""
    return fourth_power_return.sum(-1) * return_count.sum(-1) / 3


@feature(window=["5m", "1h", "5h", "5d"])
def decayed_variance(squared_return, return_count, border_s):
    """Mean squared return, weights falling by e in a fifth of the window (RiskMetrics 1996), in squared log return."""
    age = border_s[..., -1:] - border_s
    weight = np.exp(-5 * age / (age[..., :1] + (age[..., :1] == 0)))
    return (weight * squared_return).sum(-1) / (weight * return_count).sum(-1)


@feature(window=["1m", "5m", "1h", "1d"])
def signed_return(log_return):
    """Log return of the window, in log return."""
    return log_return.sum(-1)


@feature(window=["1h", "1d", "7d"])
def leverage(log_return):
    """Log return of the window where it is a loss, else 0 (Corsi and Reno 2012), in log return."""
    return np.minimum(log_return.sum(-1), 0)


@feature(window=["5m", "15m"])
def return_autocorrelation(lagged_product, squared_return):
    """Sum of products of neighbouring returns over the sum of squares (Lo and MacKinlay 1988), in [-1, 1]."""
    total = squared_return.sum(-1)
    return lagged_product.sum(-1) / np.where(total > 0, total, np.nan)


@feature(window="1h")
def volatility_of_volatility(squared_return):
    """Deviation of the log variance of the window's minutes (Corsi et al. 2008), in log ratio."""
    return np.nanstd(np.log(np.where(squared_return > 0, squared_return, np.nan)), -1)
