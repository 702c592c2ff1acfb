"""Realised measures of the mid price; a return is the log change of the mid from tile to tile."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.filled import HALF


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


@feature(window=["5m", "15m"], interval="1s")
def return_autocorrelation(lagged_product, squared_return):
    """Sum of products of neighbouring returns over the sum of squares (Lo and MacKinlay 1988), in [-1, 1]."""
    total = squared_return.sum(-1)
    return lagged_product.sum(-1) / np.where(total > 0, total, np.nan)


@feature(window="1h", interval="1s")
def volatility_of_volatility(squared_return):
    """Deviation of the log variance of the window's minutes (Corsi et al. 2008), in log ratio.

    Minutes in which nothing moved are left out; not known where they are more than half.
    """
    moved = squared_return > 0
    filled = np.isfinite(squared_return).all(-1) & (moved.mean(-1) >= HALF)
    logs = np.log(np.where(moved, squared_return, 1))
    gap = np.where(moved, logs - (logs.sum(-1) / moved.sum(-1))[..., None], 0.0)
    return np.where(filled, np.sqrt(np.square(gap).sum(-1) / moved.sum(-1)), np.nan)
