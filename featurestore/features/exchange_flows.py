"""Tokens that reach and leave exchanges, by addresses that were known to be theirs; large holders; who is active."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.exchange_addresses import EXCHANGES
from schemas import Flow

SECOND_NS = 1e9
WHALE_USD = 1e6
NOBODY = "0x0000000000000000000000000000000000000000"
"""The zero address: what mints come from and burns go to."""
FIRST_KNOWN_S = min(known_s for _, _, known_s in EXCHANGES)
"""Before it no address was known to be an exchange's."""


def of_exchange(address, tile_time_ns):
    """Whether each address was known to be an exchange's at the time, as 0 and 1."""
    found = tile_time_ns < 0
    for labelled, _, known_s in EXCHANGES:
        found = found | ((address == labelled) & (tile_time_ns >= known_s * SECOND_NS))
    return 1.0 * found


def to_exchanges(from_address, to_address, tile_time_ns):
    """1 for what reaches an exchange, -1 for what leaves one, 0 for all else, moves between two included."""
    return of_exchange(to_address, tile_time_ns) - of_exchange(from_address, tile_time_ns)


def reached(direction, amount):
    """Sum of what moved to exchanges less from them; NaN where such a move's amount is not known."""
    return np.where(direction == 0, 0.0, direction * amount).sum()


def since_labels(values, border_s):
    """Values of windows that begin when addresses of exchanges were known, NaN for those before."""
    return np.where(border_s[..., 0] > FIRST_KNOWN_S, values, np.nan)


@tile(Flow, combine="sum", scope="market")
def exchange_inflow_usd(from_address, to_address, tile_time_ns, amount_usd):
    """Stablecoins that reached exchanges less those that left, in US dollars."""
    return reached(to_exchanges(from_address, to_address, tile_time_ns), amount_usd)


@tile(Flow, combine="sum")
def exchange_inflow_units(from_address, to_address, tile_time_ns, amount):
    """The asset's own token that reached exchanges less what left, in base units."""
    return reached(to_exchanges(from_address, to_address, tile_time_ns), amount)


@tile(Flow, combine="sum", scope="market")
def whale_usd(amount_usd):
    """Value of stablecoin movements of a million US dollars and more, in US dollars."""
    return np.nansum(np.where(amount_usd >= WHALE_USD, amount_usd, 0.0))


@tile(Flow, combine="sum", scope="market")
def squared_moved_usd(kind, amount_usd):
    """Sum of squared values of stablecoin transfers, in squared US dollars."""
    return np.nansum(np.where(kind == "transfer", amount_usd * amount_usd, 0.0))


@tile(Flow, combine="sum", scope="market")
def address_count(from_address, to_address):
    """Different addresses that sent or received a stablecoin in the tile, that of mints left out, in addresses."""
    addresses = np.union1d(from_address, to_address)
    return ((addresses != NOBODY) & (addresses != "")).sum()


@feature(window=["1h", "6h"])
def stablecoin_exchange_inflow(exchange_inflow_usd, border_s):
    """Stablecoins that reached exchanges less those that left (Chi, Chu and Hao 2024), in US dollars."""
    return since_labels(exchange_inflow_usd.sum(-1), border_s)


@feature(window=["1h", "6h"])
def asset_exchange_inflow(exchange_inflow_units, border_s):
    """The asset's token that reached exchanges less what left (Chi, Chu and Hao 2024), in base units."""
    return since_labels(exchange_inflow_units.sum(-1), border_s)


@feature(window="1h")
def whale_value(whale_usd):
    """Value of stablecoin movements of a million US dollars and more (Herremans and Low 2022), in US dollars."""
    return whale_usd.sum(-1)


@feature(window="1h")
def transfer_concentration(squared_moved_usd, moved_usd):
    """Sum of squared shares of stablecoin transfers in their value (Herfindahl 1950), in [0, 1]."""
    total = moved_usd.sum(-1)
    return squared_moved_usd.sum(-1) / np.square(np.where(total > 0, total, np.nan))


@feature(window="1h")
def active_addresses(address_count):
    """Addresses of stablecoin movements, summed over tiles (Herremans and Low 2022), in addresses.

    Each counts once for each tile (second, or bar) in which a movement of it became known, so that
    who moves in twelve blocks counts twelve times: it says activity, not a number of holders.
    """
    return address_count.sum(-1)
