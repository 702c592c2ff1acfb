"""Books beyond the best price: how much lies how near, of the ten levels that are told.

Ten levels of a book with small ticks end within a few basis points. What they do not reach is not
known: on such books the wide ones of these stay NaN.
"""

import numpy as np

from featurestore import feature, field, tile
from featurestore.features.filled import mean_where_half_known
from schemas import Depth


def middle(bid_prices, ask_prices):
    """Mean of best bid and ask, [..., 1]; NaN where a side is empty."""
    return (bid_prices[..., :1] + ask_prices[..., :1]) / 2


def within(prices, sizes, mid, ratio):
    """Size of the levels at most `ratio` of the mid away from it; NaN where the last level that is told is nearer.

    A book of fewer levels than are told ends there; of a full one nobody knows what lies behind.
    """
    near = np.abs(prices - mid) <= ratio * mid
    known = np.isfinite(mid[..., 0]) & ~near[..., -1]
    return np.where(known, np.where(near, sizes, 0.0).sum(-1), np.nan)


@field(Depth)
def bid_size_5bp(bid_prices, bid_sizes, ask_prices):
    """Bids at most 5 basis points from the mid, in base units."""
    return within(bid_prices, bid_sizes, middle(bid_prices, ask_prices), 5e-4)


@field(Depth)
def ask_size_5bp(bid_prices, ask_prices, ask_sizes):
    """Asks at most 5 basis points from the mid, in base units."""
    return within(ask_prices, ask_sizes, middle(bid_prices, ask_prices), 5e-4)


@field(Depth)
def bid_size_25bp(bid_prices, bid_sizes, ask_prices):
    """Bids at most 25 basis points from the mid, in base units."""
    return within(bid_prices, bid_sizes, middle(bid_prices, ask_prices), 25e-4)


@field(Depth)
def ask_size_25bp(bid_prices, ask_prices, ask_sizes):
    """Asks at most 25 basis points from the mid, in base units."""
    return within(ask_prices, ask_sizes, middle(bid_prices, ask_prices), 25e-4)


@field(Depth)
def bid_size_100bp(bid_prices, bid_sizes, ask_prices):
    """Bids at most 100 basis points from the mid, in base units."""
    return within(bid_prices, bid_sizes, middle(bid_prices, ask_prices), 100e-4)


@field(Depth)
def ask_size_100bp(bid_prices, ask_prices, ask_sizes):
    """Asks at most 100 basis points from the mid, in base units."""
    return within(ask_prices, ask_sizes, middle(bid_prices, ask_prices), 100e-4)


@field(Depth)
def deep_imbalance(bid_sizes, ask_sizes):
    """(Bids - asks) / (bids + asks) of the levels behind the best, in [-1, 1]."""
    bids = np.where(np.isnan(bid_sizes), 0.0, bid_sizes)[..., 1:].sum(-1)
    asks = np.where(np.isnan(ask_sizes), 0.0, ask_sizes)[..., 1:].sum(-1)
    return (bids - asks) / np.where(bids + asks > 0, bids + asks, np.nan)


@tile(Depth, carry="15m")
def last_bid_size_5bp(bid_size_5bp):
    """Bids at most 5 basis points from the mid of the last book, in base units."""
    return bid_size_5bp[-1]


@tile(Depth, carry="15m")
def last_ask_size_5bp(ask_size_5bp):
    """Asks at most 5 basis points from the mid of the last book, in base units."""
    return ask_size_5bp[-1]


@tile(Depth, carry="15m")
def last_bid_size_25bp(bid_size_25bp):
    """Bids at most 25 basis points from the mid of the last book, in base units."""
    return bid_size_25bp[-1]


@tile(Depth, carry="15m")
def last_ask_size_25bp(ask_size_25bp):
    """Asks at most 25 basis points from the mid of the last book, in base units."""
    return ask_size_25bp[-1]


@tile(Depth, carry="15m")
def last_bid_size_100bp(bid_size_100bp):
    """Bids at most 100 basis points from the mid of the last book, in base units."""
    return bid_size_100bp[-1]


@tile(Depth, carry="15m")
def last_ask_size_100bp(ask_size_100bp):
    """Asks at most 100 basis points from the mid of the last book, in base units."""
    return ask_size_100bp[-1]


@tile(Depth, carry="15m")
def last_deep_imbalance(deep_imbalance):
    """Imbalance behind the best level of the last book, in [-1, 1]."""
    return deep_imbalance[-1]


@feature(window="1m")
def bid_depth_5bp(last_bid_size_5bp):
    """Mean of bids at most 5 basis points from the mid (Degryse, de Jong and van Kervel 2015), in base units."""
    return mean_where_half_known(last_bid_size_5bp)


@feature(window="1m")
def ask_depth_5bp(last_ask_size_5bp):
    """Mean of asks at most 5 basis points from the mid (Degryse, de Jong and van Kervel 2015), in base units."""
    return mean_where_half_known(last_ask_size_5bp)


@feature(window="1m")
def bid_depth_25bp(last_bid_size_25bp):
    """Mean of bids at most 25 basis points from the mid (Degryse, de Jong and van Kervel 2015), in base units."""
    return mean_where_half_known(last_bid_size_25bp)


@feature(window="1m")
def ask_depth_25bp(last_ask_size_25bp):
    """Mean of asks at most 25 basis points from the mid (Degryse, de Jong and van Kervel 2015), in base units."""
    return mean_where_half_known(last_ask_size_25bp)


@feature(window="1m")
def bid_depth_100bp(last_bid_size_100bp):
    """Mean of bids at most 100 basis points from the mid (Degryse, de Jong and van Kervel 2015), in base units."""
    return mean_where_half_known(last_bid_size_100bp)


@feature(window="1m")
def ask_depth_100bp(last_ask_size_100bp):
    """Mean of asks at most 100 basis points from the mid (Degryse, de Jong and van Kervel 2015), in base units."""
    return mean_where_half_known(last_ask_size_100bp)


@feature(window="1m")
def depth_imbalance(last_deep_imbalance):
    """Mean over time of the imbalance of levels 2 to 10 (Cao, Hansch and Wang 2009), in [-1, 1]."""
    return mean_where_half_known(last_deep_imbalance)
