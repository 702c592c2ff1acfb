"""Variance from the prices of many bars of a window: minutes, or hours where the window is long."""

import numpy as np

from featurestore import feature

YANG_ZHANG = 0.34


def known_or_zero(values):
    """Values, 0 where there is none."""
    return np.where(np.isnan(values), 0.0, values)


def bars_variance(first_price, high_price, low_price, last_price):
    """Rogers and Satchell's h(h - c) + l(l - c) of each bar, relative to its first price, and c."""
    first = np.log(first_price)
    high, low, close = np.log(high_price) - first, np.log(low_price) - first, np.log(last_price) - first
    return high * (high - close) + low * (low - close), close


def sample_variance(values):
    """Variance of the values that are known, with n - 1."""
    known = np.isfinite(values)
    count = known.sum(-1)
    values = np.where(known, values, 0.0)
    gap = known * (values - (values.sum(-1) / count)[..., None])
    return (gap * gap).sum(-1) / np.where(count > 1, count - 1, np.nan)


@feature(window=["1h", "1d"])
def rogers_satchell_variance(first_price, high_price, low_price, last_price, trade_count):
    """Sum over the window's bars of h(h - c) + l(l - c) (Rogers and Satchell 1991), in squared log return."""
    variance, _ = bars_variance(first_price, high_price, low_price, last_price)
    found = known_or_zero(variance).sum(-1)
    # A bar without trades adds nothing; one before the first trade ever makes the sum unknown.
    return np.where(np.isfinite(trade_count).all(-1), found, np.nan)


@feature(window="7d")
def yang_zhang_variance(first_price, high_price, low_price, last_price, trade_count):
    """Variance from gaps, changes and ranges of the week's hours (Yang and Zhang 2000), in squared log return.

    n (var(o) + k var(c) + (1 - k) mean(rs)), k = 0.34 / (1.34 + (n + 1) / (n - 1)); o the gap from
    the bar before, which without a night is that between two trades, c the change inside the bar.
    """
    bars = np.isfinite(last_price).sum(-1)
    count = np.where(bars > 1, bars, np.nan)
    gaps = np.log(first_price[..., 1:] / last_price[..., :-1])
    variance, close = bars_variance(first_price, high_price, low_price, last_price)
    inside = known_or_zero(variance).sum(-1) / count
    weight = YANG_ZHANG / (1 + YANG_ZHANG + (count + 1) / (count - 1))
    changes = sample_variance(close)
    found = count * (sample_variance(gaps) + weight * changes + (1 - weight) * inside)
    return np.where(np.isfinite(trade_count).all(-1), found, np.nan)
