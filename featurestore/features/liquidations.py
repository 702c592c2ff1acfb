"""Forced orders: whose positions were closed, how much, how many, how close together."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.dollars import where_in_dollars
from schemas import Liquidation

SECOND_NS = 1e9
DECAY_S = 60.0


@tile(Liquidation, combine="sum")
def long_liquidated(price, size, side, instrument_id):
    """Value of forced sales, which close long positions, in dollars."""
    return where_in_dollars(price * size * (side < 0), instrument_id).sum()


@tile(Liquidation, combine="sum")
def short_liquidated(price, size, side, instrument_id):
    """Value of forced purchases, which close short positions, in dollars."""
    return where_in_dollars(price * size * (side > 0), instrument_id).sum()


@tile(Liquidation, combine="sum")
def liquidation_count(side):
    """Number of forced orders, in orders."""
    return side.size


@tile(Liquidation, interval="1s")
def liquidation_excitation(tile_time_ns):
    """Sum over forced orders of exp(-age / 60 s) at the tile's end, in orders."""
    age = 1 - tile_time_ns % SECOND_NS / SECOND_NS
    return np.exp(-age / DECAY_S).sum()


@feature(window=["5m", "1h"])
def long_liquidations(long_liquidated):
    """Value of long positions that were closed by force, in dollars."""
    return long_liquidated.sum(-1)


@feature(window=["5m", "1h"])
def short_liquidations(short_liquidated):
    """Value of short positions that were closed by force, in dollars."""
    return short_liquidated.sum(-1)


@feature(window=["5m", "1h"])
def liquidations(liquidation_count):
    """Forced orders of the window, in orders."""
    return liquidation_count.sum(-1)


@feature(window="5m", interval="1s")
def liquidation_burst(liquidation_excitation, border_s):
    """Sum over forced orders of exp(-age / 60 s) (Hawkes 1971), in orders."""
    age = border_s[..., -1:] - border_s
    return (liquidation_excitation * np.exp(-age / DECAY_S)).sum(-1)
