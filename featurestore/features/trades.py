"""Trades: how many, how large, who started them, how far prices went."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.dollars import where_in_dollars
from schemas import Trade


@tile(Trade, combine="sum")
def trade_count(size):
    """Number of trades, in trades."""
    return size.size


@tile(Trade, combine="sum")
def volume(size):
    """Traded volume, in base units."""
    return size.sum()


@tile(Trade, combine="sum")
def signed_flow(size, side):
    """Buyer minus seller volume, in base units."""
    return (size * side).sum()


@tile(Trade, combine="sum")
def buy_volume(size, side):
    """Volume that buyers started, in base units."""
    return (size * (side > 0)).sum()


@tile(Trade, combine="sum")
def sell_volume(size, side):
    """Volume that sellers started, in base units."""
    return (size * (side < 0)).sum()


@tile(Trade, combine="sum")
def dollar_turnover(price, size, instrument_id):
    """Traded value where it is in dollars, in dollars."""
    return where_in_dollars(price * size, instrument_id).sum()


@tile(Trade, combine="sum")
def squared_size(size):
    """Sum of squared trade sizes, in squared base units."""
    return (size * size).sum()


@tile(Trade, combine="first")
def first_price(price):
    """Price of the first trade, in quote units."""
    return price[0]


@tile(Trade, combine="last")
def last_price(price):
    """Price of the last trade, in quote units."""
    return price[-1]


@tile(Trade, combine="min")
def low_price(price):
    """Lowest trade price, in quote units."""
    return price.min()


@tile(Trade, combine="max")
def high_price(price):
    """Highest trade price, in quote units."""
    return price.max()


@tile(Trade, combine="last", carry="15m")
def trade_price(price):
    """Last trade price, kept while no trade comes, in quote units."""
    return price[-1]


@feature(window=["1m", "5m", "1h"])
def trade_intensity(trade_count):
    """Trades of the window (Jones, Kaul and Lipson 1994), in trades."""
    return trade_count.sum(-1)


@feature(window=["1m", "5m", "1h"])
def traded_volume(volume):
    """Volume of the window (Karpoff 1987), in base units."""
    return volume.sum(-1)


@feature(window=["1m", "5m", "1h"])
def trade_imbalance(buy_volume, sell_volume):
    """Buyer minus seller volume over their sum (Chordia, Roll and Subrahmanyam 2002), in [-1, 1]."""
    bought, sold = buy_volume.sum(-1), sell_volume.sum(-1)
    return (bought - sold) / (bought + sold)


@feature(window=["5m", "1h"])
def trade_size_dispersion(squared_size, volume, trade_count):
    """Standard deviation of trade sizes over their mean, in ratio."""
    mean = volume.sum(-1) / trade_count.sum(-1)
    variance = squared_size.sum(-1) / trade_count.sum(-1) - mean * mean
    return np.sqrt(np.maximum(variance, 0)) / mean


@feature(window="1h")
def volume_surprise(volume):
    """Log of the mean volume of the last twelfth of the window over that of all, in log ratio.

    (Gervais, Kaniel and Mingelgrin 2001)
    """
    recent = volume[..., -(volume.shape[-1] // 12) :].mean(-1)
    return np.log(np.where(recent > 0, recent, np.nan) / volume.mean(-1))


@feature(window="5m")
def range_variance(high_price, low_price):
    """Variance from the price range, ln(high/low)^2 / (4 ln 2) (Parkinson 1980), in squared log return."""
    spread = np.log(np.fmax.reduce(high_price, -1) / np.fmin.reduce(low_price, -1))
    return spread * spread / (4 * np.log(2))


@feature(window=["1h", "1d"])
def parkinson_variance(high_price, low_price, trade_count):
    """Variance from the price range, ln(high/low)^2 / (4 ln 2) (Parkinson 1980), in squared log return.

    Not known before the window is filled: a range of its last minutes is not one of a day.
    """
    spread = np.log(np.fmax.reduce(high_price, -1) / np.fmin.reduce(low_price, -1))
    return np.where(np.isfinite(trade_count).all(-1), spread * spread / (4 * np.log(2)), np.nan)


def first_known(values):
    """First value of the window that is known."""
    place = np.isfinite(values).argmax(-1)
    return np.take_along_axis(values, place[..., None], -1)[..., 0]


@feature(window=["5m", "1h"])
def garman_klass_variance(first_price, high_price, low_price, last_price, trade_count):
    """Variance of the window, hl^2 / 2 - (2 ln 2 - 1) co^2 (Garman and Klass 1980), in squared log return."""
    spread = np.log(np.fmax.reduce(high_price, -1) / np.fmin.reduce(low_price, -1))
    change = np.log(first_known(last_price[..., ::-1]) / first_known(first_price))
    found = np.maximum(spread * spread / 2 - (2 * np.log(2) - 1) * change * change, 0)
    return np.where(np.isfinite(trade_count).all(-1), found, np.nan)


@feature(window=["1m", "5m"])
def net_flow(signed_flow):
    """Buyer minus seller volume of the window (Chordia, Roll and Subrahmanyam 2002), in base units."""
    return signed_flow.sum(-1)


@feature(window=["1h", "1d"])
def amihud_illiquidity(trade_price, dollar_turnover):
    """Mean of |log return| over turnover, tiles with trades alone (Amihud 2002), in 1 / million dollars."""
    moved = np.abs(np.diff(np.log(trade_price), axis=-1))
    traded = dollar_turnover[..., 1:]
    ratio = np.where(traded > 0, moved / np.where(traded > 0, traded, 1), 0)
    filled = np.isfinite(dollar_turnover).all(-1)
    return np.where(filled, 1e6 * ratio.sum(-1) / (traded > 0).sum(-1), np.nan)
