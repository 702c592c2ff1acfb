"""Token movements: mints and burns that concern all instruments, transfers of an asset's own.

Mints and burns are transfers from and to the zero address. USDT's issue() and redeem(), which raise
and lower its treasury's balance by an event of their own, are not among them.
"""

import numpy as np

from featurestore import feature, tile
from schemas import Flow

WHALE_USD = 1e6


@tile(Flow, combine="sum", scope="market")
def minted_usd(kind, amount_usd):
    """Value of stablecoin mints, in US dollars."""
    return np.nansum(np.where(kind == "mint", amount_usd, 0.0))


@tile(Flow, combine="sum", scope="market")
def burned_usd(kind, amount_usd):
    """Value of stablecoin burns, in US dollars."""
    return np.nansum(np.where(kind == "burn", amount_usd, 0.0))


@tile(Flow, combine="sum", scope="market")
def moved_usd(kind, amount_usd):
    """Value of stablecoin transfers, in US dollars."""
    return np.nansum(np.where(kind == "transfer", amount_usd, 0.0))


@tile(Flow, combine="sum", scope="market")
def whale_count(amount_usd):
    """Stablecoin movements of a million US dollars and more, in movements."""
    return (amount_usd >= WHALE_USD).sum()


@tile(Flow, combine="sum")
def asset_moved(amount):
    """Movements of the asset's own token, in base units.

    Nobody tells their value in dollars; an amount that is not known makes the sum unknown.
    """
    return amount.sum()


@feature(window=["5m", "1h", "6h"])
def stablecoin_issuance(minted_usd, burned_usd):
    """Stablecoin mints minus burns (Chi, Chu and Hao 2024), in US dollars."""
    return minted_usd.sum(-1) - burned_usd.sum(-1)


@feature(window=["5m", "1h"])
def stablecoin_transfers(moved_usd):
    """Stablecoin transfers (Chi, Chu and Hao 2024), in US dollars."""
    return moved_usd.sum(-1)


@feature(window="1h")
def whale_movements(whale_count):
    """Stablecoin movements of a million US dollars and more (Herremans and Low 2022), in movements."""
    return whale_count.sum(-1)


@feature(window=["5m", "1h"])
def asset_transfers(asset_moved):
    """Movements of the asset's own token, in base units."""
    return asset_moved.sum(-1)
