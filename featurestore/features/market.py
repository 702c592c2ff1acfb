"""The market factor: what all instruments have in common."""

import numpy as np

from featurestore import feature, market


@market(window="1m")
def log_variance(squared_return):
    """Log of the realised variance of the last minute, in log squared return."""
    variance = squared_return.sum(-1)
    return np.log(np.where(variance > 0, variance, np.nan))


@market(window="1h")
def bar_log_variance(bar_squared_return):
    """Log of the realised variance of the last hour of bars, in log squared return."""
    variance = bar_squared_return.sum(-1)
    return np.log(np.where(variance > 0, variance, np.nan))


@feature(window=["5m", "15m"])
def market_volatility(log_variance):
    """Mean log variance of all instruments (Zhang et al. 2022), in log squared return."""
    return np.nanmean(log_variance, -1)


@feature(window=["1h", "1d", "5d"])
def market_bar_volatility(bar_log_variance):
    """Mean log variance of all instruments' bars (Zhang et al. 2022), in log squared return."""
    return np.nanmean(bar_log_variance, -1)
