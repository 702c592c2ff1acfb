"""Variance from the prices of many bars of a window: minutes, or hours where the window is long."""

import numpy as np

from featurestore import feature

YANG_ZHANG = 0.34
FEWEST_TRADES = 20.0
"""Trades in the mean bar below which its range is that of the trades, not of the price."""


def known_or_zero(values):
    """Values, 0 where there is none."""
    return np.where(np.isnan(values), 0.0, values)


def bars_variance(first_price, high_price, low_price, trade_price):
    """Rogers and Satchell's h(h - c) + l(l - c) of each bar, relative to its opening price, and c.

    A bar opens at the last price before it, which lasts while nobody trades; the first of the
    window, and one after a long silence, at its first trade.
    """
    before = np.concatenate([first_price[..., :1], trade_price[..., :-1]], axis=-1)
    opening = np.where(np.isfinite(before), before, first_price)
    first, close = np.log(opening), np.log(trade_price)
    high, low = np.log(np.fmax(high_price, opening)) - first, np.log(np.fmin(low_price, opening)) - first
    change = close - first
    return high * (high - change) + low * (low - change), change


def where_busy(values, trade_count):
    """Values of windows that are filled and have enough trades, NaN for the others."""
    return np.where(trade_count.mean(-1) >= FEWEST_TRADES, values, np.nan)


@feature(window=["1h", "1d"])
def rogers_satchell_variance(first_price, high_price, low_price, trade_price, trade_count):
    """Sum over the window's bars of h(h - c) + l(l - c) (Rogers and Satchell 1991), in squared log return.

    Not known where the mean bar has fewer than 20 trades.
    """
    variance, _ = bars_variance(first_price, high_price, low_price, trade_price)
    return where_busy(known_or_zero(variance).sum(-1), trade_count)


@feature(window="7d")
def yang_zhang_variance(first_price, high_price, low_price, trade_price, trade_count):
    """Variance from changes and ranges of the week's hours (Yang and Zhang 2000), in squared log return.

    n (k var(c) + (1 - k) mean(rs)), k = 0.34 / (1.34 + (n + 1) / (n - 1)); c the change of an hour.
    There is no night and no gap: an hour opens at the last price before it. Not known where the
    mean hour has fewer than 20 trades.
    """
    count = trade_count.shape[-1]
    variance, change = bars_variance(first_price, high_price, low_price, trade_price)
    change = known_or_zero(change)
    gap = change - change.mean(-1)[..., None]
    changes = np.square(gap).sum(-1) / (count - 1)
    weight = YANG_ZHANG / (1 + YANG_ZHANG + (count + 1) / (count - 1))
    found = count * weight * changes + (1 - weight) * known_or_zero(variance).sum(-1)
    return where_busy(found, trade_count)
