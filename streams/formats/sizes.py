"""Sizes in contracts, in units of the base asset."""

from schemas import DecodeError

_HUGE = 1e18


def of_contracts(contracts: float, usd: float, price: float) -> float:
    """Return the base units of inverse contracts worth `usd` dollars each; raises DecodeError.

    >>> of_contracts(200.0, 100.0, 40_000.0)
    0.5
    """
    size = contracts * usd / price
    # A price next to nothing is of another market, or damage: no size is endless.
    if size > _HUGE:
        raise DecodeError(f"expected a size of at most {_HUGE:g} of the base asset, got {contracts} at {price}")
    return size
