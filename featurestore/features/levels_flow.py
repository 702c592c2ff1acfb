"""Order flow at five levels of the book, from the book at each tile's end to that at the next."""

import numpy as np

from featurestore import feature, field, tile
from featurestore.features.filled import half_known, mean_where_half_known
from schemas import Depth

LEVELS = 5
SQUARINGS = 6
"""2^6 = 64 steps of the power method."""


def level_flow(bid_price, bid_size, ask_price, ask_size):
    """Cont, Kukanov and Stoikov's flow of one level: to the bid less to the ask, arrays [..., 2]."""
    bid_before, bid = bid_price[..., 0], bid_price[..., 1]
    ask_before, ask = ask_price[..., 0], ask_price[..., 1]
    bids = bid_size[..., 1] * (bid >= bid_before) - bid_size[..., 0] * (bid <= bid_before)
    asks = ask_size[..., 1] * (ask <= ask_before) - ask_size[..., 0] * (ask >= ask_before)
    return bids - asks


@field(Depth)
def mean_level_size(bid_sizes, ask_sizes):
    """Mean size of the five best levels of both sides, in base units."""
    sizes = bid_sizes[..., :LEVELS] + ask_sizes[..., :LEVELS]
    known = np.isfinite(sizes)
    return np.where(known, sizes, 0.0).sum(-1) / 2 / known.sum(-1)


@tile(Depth, carry="15m")
def last_level_size(mean_level_size):
    """Mean size of the five best levels of the last book, in base units."""
    return mean_level_size[-1]


@tile(Depth, carry="15m")
def bid_price_at_1(bid_price_1):
    """Bid price of level 1 of the last book, in quote units."""
    return bid_price_1[-1]


@tile(Depth, carry="15m")
def bid_size_at_1(bid_size_1):
    """Bid size of level 1 of the last book, in base units."""
    return bid_size_1[-1]


@tile(Depth, carry="15m")
def ask_price_at_1(ask_price_1):
    """Ask price of level 1 of the last book, in quote units."""
    return ask_price_1[-1]


@tile(Depth, carry="15m")
def ask_size_at_1(ask_size_1):
    """Ask size of level 1 of the last book, in base units."""
    return ask_size_1[-1]


@tile(Depth, carry="15m")
def bid_price_at_2(bid_price_2):
    """Bid price of level 2 of the last book, in quote units."""
    return bid_price_2[-1]


@tile(Depth, carry="15m")
def bid_size_at_2(bid_size_2):
    """Bid size of level 2 of the last book, in base units."""
    return bid_size_2[-1]


@tile(Depth, carry="15m")
def ask_price_at_2(ask_price_2):
    """Ask price of level 2 of the last book, in quote units."""
    return ask_price_2[-1]


@tile(Depth, carry="15m")
def ask_size_at_2(ask_size_2):
    """Ask size of level 2 of the last book, in base units."""
    return ask_size_2[-1]


@tile(Depth, carry="15m")
def bid_price_at_3(bid_price_3):
    """Bid price of level 3 of the last book, in quote units."""
    return bid_price_3[-1]


@tile(Depth, carry="15m")
def bid_size_at_3(bid_size_3):
    """Bid size of level 3 of the last book, in base units."""
    return bid_size_3[-1]


@tile(Depth, carry="15m")
def ask_price_at_3(ask_price_3):
    """Ask price of level 3 of the last book, in quote units."""
    return ask_price_3[-1]


@tile(Depth, carry="15m")
def ask_size_at_3(ask_size_3):
    """Ask size of level 3 of the last book, in base units."""
    return ask_size_3[-1]


@tile(Depth, carry="15m")
def bid_price_at_4(bid_price_4):
    """Bid price of level 4 of the last book, in quote units."""
    return bid_price_4[-1]


@tile(Depth, carry="15m")
def bid_size_at_4(bid_size_4):
    """Bid size of level 4 of the last book, in base units."""
    return bid_size_4[-1]


@tile(Depth, carry="15m")
def ask_price_at_4(ask_price_4):
    """Ask price of level 4 of the last book, in quote units."""
    return ask_price_4[-1]


@tile(Depth, carry="15m")
def ask_size_at_4(ask_size_4):
    """Ask size of level 4 of the last book, in base units."""
    return ask_size_4[-1]


@tile(Depth, carry="15m")
def bid_price_at_5(bid_price_5):
    """Bid price of level 5 of the last book, in quote units."""
    return bid_price_5[-1]


@tile(Depth, carry="15m")
def bid_size_at_5(bid_size_5):
    """Bid size of level 5 of the last book, in base units."""
    return bid_size_5[-1]


@tile(Depth, carry="15m")
def ask_price_at_5(ask_price_5):
    """Ask price of level 5 of the last book, in quote units."""
    return ask_price_5[-1]


@tile(Depth, carry="15m")
def ask_size_at_5(ask_size_5):
    """Ask size of level 5 of the last book, in base units."""
    return ask_size_5[-1]


@tile(window=2)
def flow_at_1(bid_price_at_1, bid_size_at_1, ask_price_at_1, ask_size_at_1):
    """Order flow imbalance of level 1, in base units."""
    return level_flow(bid_price_at_1, bid_size_at_1, ask_price_at_1, ask_size_at_1)


@tile(window=2)
def flow_at_2(bid_price_at_2, bid_size_at_2, ask_price_at_2, ask_size_at_2):
    """Order flow imbalance of level 2, in base units."""
    return level_flow(bid_price_at_2, bid_size_at_2, ask_price_at_2, ask_size_at_2)


@tile(window=2)
def flow_at_3(bid_price_at_3, bid_size_at_3, ask_price_at_3, ask_size_at_3):
    """Order flow imbalance of level 3, in base units."""
    return level_flow(bid_price_at_3, bid_size_at_3, ask_price_at_3, ask_size_at_3)


@tile(window=2)
def flow_at_4(bid_price_at_4, bid_size_at_4, ask_price_at_4, ask_size_at_4):
    """Order flow imbalance of level 4, in base units."""
    return level_flow(bid_price_at_4, bid_size_at_4, ask_price_at_4, ask_size_at_4)


@tile(window=2)
def flow_at_5(bid_price_at_5, bid_size_at_5, ask_price_at_5, ask_size_at_5):
    """Order flow imbalance of level 5, in base units."""
    return level_flow(bid_price_at_5, bid_size_at_5, ask_price_at_5, ask_size_at_5)


def flows_of(*levels):
    """Flows of the levels, [..., LEVELS, T], 0 where a level was not there."""
    flows = np.stack(levels, axis=-2)
    return np.where(np.isnan(flows), 0.0, flows)


def scaled(flow, last_level_size, flow_at_1):
    """Flow of the known tiles, taken for all of the window, in mean sizes of a level; NaN where they are too few."""
    size = mean_where_half_known(last_level_size)
    share = np.where(half_known(flow_at_1), np.isfinite(flow_at_1).mean(-1), np.nan)
    return flow / share / np.where(size > 0, size, np.nan)


def first_component(flows):
    """Weights [..., LEVELS] of the first principal component of flows [..., LEVELS, T], sizes summing to 1."""
    gaps = flows - flows.mean(-1)[..., None]
    power = (gaps[..., :, None, :] * gaps[..., None, :, :]).sum(-1)
    for _ in range(SQUARINGS):
        largest = np.abs(power).max(-1).max(-1)[..., None, None]
        power = power / np.where(largest > 0, largest, 1)
        power = (power[..., :, :, None] * power[..., None, :, :]).sum(-2)
    # Any start does that is not orthogonal to the component: the column of the largest level is its own.
    place = np.diagonal(power, axis1=-2, axis2=-1).argmax(-1)
    weights = np.take_along_axis(power, place[..., None, None], -1)[..., 0]
    total = weights.sum(-1)[..., None]
    return weights * np.sign(total) / np.abs(weights).sum(-1)[..., None]


@feature(window="1m")
def multilevel_order_flow(flow_at_1, flow_at_2, flow_at_3, flow_at_4, flow_at_5, last_level_size):
    """Mean order flow imbalance of five levels (Xu, Gould and Howison 2018), in mean level sizes."""
    flows = flows_of(flow_at_1, flow_at_2, flow_at_3, flow_at_4, flow_at_5)
    return scaled(flows.sum(-1).sum(-1) / LEVELS, last_level_size, flow_at_1)


@feature(window="1m")
def integrated_order_flow(flow_at_1, flow_at_2, flow_at_3, flow_at_4, flow_at_5, last_level_size):
    """First principal component of five levels' order flow (Cont, Cucuringu and Zhang 2023), in mean level sizes.

    Weights are those of the window's tiles, their sizes sum to 1, their sum is not below 0.
    """
    flows = flows_of(flow_at_1, flow_at_2, flow_at_3, flow_at_4, flow_at_5)
    flow = (first_component(flows) * flows.sum(-1)).sum(-1)
    return scaled(flow, last_level_size, flow_at_1)
