"""Best quotes in time: the spread that was quoted, flow by its size, orders that come and go."""

import numpy as np

from featurestore import feature, tile
from schemas import Quote

SECOND_NS = 1e9


def relative_gap(bid_price, ask_price):
    """(Ask - bid) / mid."""
    return 2 * (ask_price - bid_price) / (ask_price + bid_price)


@tile(Quote, interval="1s")
def inner_spread_time(bid_price, ask_price, tile_time_ns):
    """Spread times how long it was quoted, between the quotes of the tile, in ratio seconds."""
    held = (tile_time_ns[1:] - tile_time_ns[:-1]) / SECOND_NS
    return (relative_gap(bid_price[:-1], ask_price[:-1]) * held).sum()


@tile(Quote, interval="1s")
def first_quote_s(tile_time_ns):
    """Time from the tile's start to its first quote, in seconds."""
    return tile_time_ns[0] % SECOND_NS / SECOND_NS


@tile(Quote, interval="1s")
def last_quote_s(tile_time_ns):
    """Time from the tile's start to its last quote, in seconds."""
    return tile_time_ns[-1] % SECOND_NS / SECOND_NS


@tile(Quote, carry="15m", interval="1s")
def last_spread(bid_price, ask_price):
    """Spread of the last quote, kept while no quote comes, in ratio."""
    return relative_gap(bid_price[-1], ask_price[-1])


@tile(window=2)
def spread_time(inner_spread_time, first_quote_s, last_quote_s, last_spread):
    """Spread times how long it was quoted in the tile, in ratio seconds."""
    first = first_quote_s[..., 1]
    before, after = last_spread[..., 0], last_spread[..., 1]
    quoted = before * first + inner_spread_time[..., 1] + after * (1 - last_quote_s[..., 1])
    return np.where(np.isnan(first), after, quoted)


@tile(window=1)
def absolute_flow(bid_flow_total, ask_flow_total):
    """Size of the order flow imbalance of the tile, in base units."""
    return np.abs(bid_flow_total[..., 0] - ask_flow_total[..., 0])


@tile(window=1)
def squared_flow(bid_flow_total, ask_flow_total):
    """Square of the order flow imbalance of the tile, in squared base units."""
    return np.square(bid_flow_total[..., 0] - ask_flow_total[..., 0])


def arrived(size, size_before, better, same):
    """Size that came to the best price: all of a better price, what is more of the same."""
    return np.where(better, size, np.where(same, np.maximum(size - size_before, 0), 0))


@tile(Quote)
def added_size(bid_price, bid_size, ask_price, ask_size):
    """Size that came to the best prices from quote to quote of the tile, in base units."""
    bid, bid_before, ask, ask_before = bid_price[1:], bid_price[:-1], ask_price[1:], ask_price[:-1]
    bids = arrived(bid_size[1:], bid_size[:-1], bid > bid_before, bid == bid_before)
    asks = arrived(ask_size[1:], ask_size[:-1], ask < ask_before, ask == ask_before)
    return (bids + asks).sum()


@tile(Quote)
def removed_size(bid_price, bid_size, ask_price, ask_size):
    """Size that left the best prices from quote to quote of the tile, in base units."""
    bid, bid_before, ask, ask_before = bid_price[1:], bid_price[:-1], ask_price[1:], ask_price[:-1]
    # What leaves forwards in time is what comes backwards.
    bids = arrived(bid_size[:-1], bid_size[1:], bid < bid_before, bid == bid_before)
    asks = arrived(ask_size[:-1], ask_size[1:], ask > ask_before, ask == ask_before)
    return (bids + asks).sum()


def joined(first, last):
    """Size that came between the last quote of a tile and the first of the next, 0 where there is none.

    `first`, `last`: bid price, bid size, ask price, ask size, each [...].
    """
    bid, bid_size, ask, ask_size = first
    bid_before, bid_size_before, ask_before, ask_size_before = last
    bids = arrived(bid_size, bid_size_before, bid > bid_before, bid == bid_before)
    asks = arrived(ask_size, ask_size_before, ask < ask_before, ask == ask_before)
    known = np.isfinite(bid) & np.isfinite(bid_before)
    return np.where(known, bids + asks, 0.0)


def joined_back(first, last):
    """Size that left between the last quote of a tile and the first of the next, 0 where there is none."""
    bid, bid_size, ask, ask_size = first
    bid_before, bid_size_before, ask_before, ask_size_before = last
    bids = arrived(bid_size_before, bid_size, bid < bid_before, bid == bid_before)
    asks = arrived(ask_size_before, ask_size, ask > ask_before, ask == ask_before)
    known = np.isfinite(bid) & np.isfinite(bid_before)
    return np.where(known, bids + asks, 0.0)


@tile(window=2, combine="sum")
def added_total(  # noqa: PLR0913, PLR0917 - four numbers of each of two quotes
    added_size,
    first_bid_price,
    first_bid_size,
    first_ask_price,
    first_ask_size,
    last_bid_price,
    last_bid_size,
    last_ask_price,
    last_ask_size,
):
    """Size that came to the best prices since the last quote of the tile before, in base units."""
    first = (first_bid_price[..., 1], first_bid_size[..., 1], first_ask_price[..., 1], first_ask_size[..., 1])
    last = (last_bid_price[..., 0], last_bid_size[..., 0], last_ask_price[..., 0], last_ask_size[..., 0])
    return added_size[..., 1] + joined(first, last)


@tile(window=2, combine="sum")
def removed_total(  # noqa: PLR0913, PLR0917 - four numbers of each of two quotes
    removed_size,
    first_bid_price,
    first_bid_size,
    first_ask_price,
    first_ask_size,
    last_bid_price,
    last_bid_size,
    last_ask_price,
    last_ask_size,
):
    """Size that left the best prices since the last quote of the tile before, in base units."""
    first = (first_bid_price[..., 1], first_bid_size[..., 1], first_ask_price[..., 1], first_ask_size[..., 1])
    last = (last_bid_price[..., 0], last_bid_size[..., 0], last_ask_price[..., 0], last_ask_size[..., 0])
    return removed_size[..., 1] + joined_back(first, last)


def mean_depth(depth_sum, quote_count):
    """Mean of bid and ask size over the quotes of the window."""
    depth = depth_sum.sum(-1) / quote_count.sum(-1)
    return np.where(depth > 0, depth, np.nan)


@feature(window=["10s", "1m"], interval="1s")
def time_weighted_spread(spread_time):
    """Mean over time of (ask - bid) / mid (McInish and Wood 1992), in ratio."""
    return spread_time.mean(-1)


@feature(window=["1m", "5m"])
def absolute_order_flow(absolute_flow, depth_sum, quote_count):
    """Sum of the size of the order flow imbalance (Cont, Kukanov and Stoikov 2014), in mean depths."""
    return absolute_flow.sum(-1) / mean_depth(depth_sum, quote_count)


@feature(window=["1m", "5m"])
def squared_order_flow(squared_flow, depth_sum, quote_count):
    """Sum of the squared order flow imbalance (Cont, Kukanov and Stoikov 2014), in squared mean depths."""
    return squared_flow.sum(-1) / np.square(mean_depth(depth_sum, quote_count))


@feature(window="5m")
def cancel_add_ratio(added_total, removed_total, volume):
    """Size taken off the best prices otherwise than by trades, over size added (Hasbrouck and Saar 2002), in ratio."""
    added = added_total.sum(-1)
    cancelled = np.maximum(removed_total.sum(-1) - volume.sum(-1), 0)
    return cancelled / np.where(added > 0, added, np.nan)


@feature(window="15m", interval="1s")
def resilience_half_life(last_bid_size, last_ask_size, volume):
    """Time in which depth at the best prices comes half back to its mean after a trade (Large 2007), in seconds.

    From how the log depth's gap to its mean goes on: its product with the gap two seconds later over
    that with the gap one second later, over seconds with trades. What flickers within the second is
    in neither, so that it does not shorten the time. 0 where depth is back within the second.
    """
    depth = np.log(last_bid_size + last_ask_size)
    gap = depth - depth.mean(-1)[..., None]
    traded = volume[..., :-2] > 0
    before = np.where(traded, gap[..., :-2], 0)
    next_product, later_product = (before * gap[..., 1:-1]).sum(-1), (before * gap[..., 2:]).sum(-1)
    lasting = (next_product > 0) & (later_product > 0)
    slope = later_product / np.where(lasting, next_product, 1)
    half_life = np.log(0.5) / np.log(np.where(lasting & (slope < 1), slope, 0.5))
    known = traded.any(-1) & np.isfinite(next_product + later_product) & np.isfinite(volume).all(-1)
    return np.where(known & ~(lasting & (slope >= 1)), np.where(lasting, half_life, 0.0), np.nan)
