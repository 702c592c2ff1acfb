"""Best quotes: spread, imbalance, microprice, order flow at the first level."""

import numpy as np

from featurestore import feature, tile
from schemas import Quote


@tile(Quote, combine="last", carry="15m")
def mid(bid_price, ask_price):
    """Mean of best bid and ask, kept while no quote comes, in quote units."""
    return (bid_price[-1] + ask_price[-1]) / 2


@tile(Quote, combine="sum")
def quote_count(bid_price):
    """Number of quotes, in quotes."""
    return bid_price.size


@tile(Quote, combine="sum")
def spread_sum(bid_price, ask_price):
    """Sum of (ask - bid) / mid over the quotes, in ratio."""
    return (2 * (ask_price - bid_price) / (ask_price + bid_price)).sum()


@tile(Quote, combine="sum")
def queue_imbalance_sum(bid_size, ask_size):
    """Sum of (bid size - ask size) / (bid size + ask size) over the quotes, in [-1, 1] each."""
    depth = bid_size + ask_size
    return np.where(depth > 0, (bid_size - ask_size) / depth, 0.0).sum()


@tile(Quote, combine="sum")
def microprice_gap_sum(bid_price, bid_size, ask_price, ask_size):
    """Sum of (microprice - mid) / mid over the quotes, in ratio."""
    depth = bid_size + ask_size
    tilt = np.where(depth > 0, (bid_size - ask_size) / depth, 0.0)
    # (ask Vb + bid Va) / (Va + Vb) - mid = tilt (ask - bid) / 2
    return (tilt * (ask_price - bid_price) / (ask_price + bid_price)).sum()


@tile(Quote, combine="sum")
def depth_sum(bid_size, ask_size):
    """Sum of the mean of bid and ask size over the quotes, in base units."""
    return ((bid_size + ask_size) / 2).sum()


def bid_flow(price, size, price_before, size_before):
    """Size that came to the bid from one quote to the next."""
    return size * (price >= price_before) - size_before * (price <= price_before)


def ask_flow(price, size, price_before, size_before):
    """Size that came to the ask from one quote to the next."""
    return size * (price <= price_before) - size_before * (price >= price_before)


@tile(Quote)
def bid_flow_inside(bid_price, bid_size):
    """Flow to the bid between the quotes of the tile, in base units."""
    return bid_flow(bid_price[1:], bid_size[1:], bid_price[:-1], bid_size[:-1]).sum()


@tile(Quote)
def ask_flow_inside(ask_price, ask_size):
    """Flow to the ask between the quotes of the tile, in base units."""
    return ask_flow(ask_price[1:], ask_size[1:], ask_price[:-1], ask_size[:-1]).sum()


@tile(Quote)
def first_bid_price(bid_price):
    """Bid of the first quote, in quote units."""
    return bid_price[0]


@tile(Quote)
def first_bid_size(bid_size):
    """Bid size of the first quote, in base units."""
    return bid_size[0]


@tile(Quote)
def first_ask_price(ask_price):
    """Ask of the first quote, in quote units."""
    return ask_price[0]


@tile(Quote)
def first_ask_size(ask_size):
    """Ask size of the first quote, in base units."""
    return ask_size[0]


@tile(Quote, carry="15m")
def last_bid_price(bid_price):
    """Bid of the last quote, kept while no quote comes, in quote units."""
    return bid_price[-1]


@tile(Quote, carry="15m")
def last_bid_size(bid_size):
    """Bid size of the last quote, kept while no quote comes, in base units."""
    return bid_size[-1]


@tile(Quote, carry="15m")
def last_ask_price(ask_price):
    """Ask of the last quote, kept while no quote comes, in quote units."""
    return ask_price[-1]


@tile(Quote, carry="15m")
def last_ask_size(ask_size):
    """Ask size of the last quote, kept while no quote comes, in base units."""
    return ask_size[-1]


@tile(window=2, combine="sum")
def bid_flow_total(bid_flow_inside, first_bid_price, first_bid_size, last_bid_price, last_bid_size):
    """Flow to the bid since the last quote of the tile before, in base units."""
    joint = bid_flow(first_bid_price[..., 1], first_bid_size[..., 1], last_bid_price[..., 0], last_bid_size[..., 0])
    return bid_flow_inside[..., 1] + np.where(np.isnan(first_bid_price[..., 1]), 0.0, joint)


@tile(window=2, combine="sum")
def ask_flow_total(ask_flow_inside, first_ask_price, first_ask_size, last_ask_price, last_ask_size):
    """Flow to the ask since the last quote of the tile before, in base units."""
    joint = ask_flow(first_ask_price[..., 1], first_ask_size[..., 1], last_ask_price[..., 0], last_ask_size[..., 0])
    return ask_flow_inside[..., 1] + np.where(np.isnan(first_ask_price[..., 1]), 0.0, joint)


@feature(window=["1m", "5m", "1h"])
def quote_intensity(quote_count):
    """Quotes of the window (Hasbrouck and Saar 2002), in quotes."""
    return quote_count.sum(-1)


@feature(window=["10s", "1m", "5m"])
def relative_spread(spread_sum, quote_count):
    """Mean of (ask - bid) / mid over the quotes (Demsetz 1968), in ratio."""
    return spread_sum.sum(-1) / quote_count.sum(-1)


@feature(window=["10s", "1m"])
def queue_imbalance(queue_imbalance_sum, quote_count):
    """Mean of (bid size - ask size) / (bid size + ask size) (Gould and Bonart 2016), in [-1, 1]."""
    return queue_imbalance_sum.sum(-1) / quote_count.sum(-1)


@feature(window=["10s", "1m"])
def microprice_gap(microprice_gap_sum, quote_count):
    """Mean of (microprice - mid) / mid (Stoikov 2018), in ratio."""
    return microprice_gap_sum.sum(-1) / quote_count.sum(-1)


@feature(window=["1m", "5m"])
def quote_imbalance_flow(bid_flow_total, ask_flow_total, depth_sum, quote_count):
    """Order flow imbalance of the best level (Cont, Kukanov and Stoikov 2014), in mean depths."""
    depth = depth_sum.sum(-1) / quote_count.sum(-1)
    return (bid_flow_total.sum(-1) - ask_flow_total.sum(-1)) / np.where(depth > 0, depth, np.nan)
