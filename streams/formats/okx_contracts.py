"""OKX's instruments in our names, and what its contracts are worth."""

import re
from functools import lru_cache
from typing import NamedTuple

from schemas import DecodeError
from streams.formats.fields import shown
from streams.formats.sizes import of_contracts

_VENUE = "okx"
_PATTERN = re.compile(r"([A-Z0-9]{1,20})-([A-Z0-9]{1,20})(?:-(SWAP|[0-9]{6})(?:-([0-9]{1,9})-([CP]))?)?")

_INVERSE_USD = {
    100.0: ("BTC",),
    10.0: (
        *("1INCH", "ADA", "ALGO", "ATOM", "AVAX", "BCH", "BSV", "CRV", "DASH", "DOGE", "DOT", "EOS", "ETC", "ETH"),
        *("FIL", "GRT", "IOST", "IOTA", "KNC", "KSM", "LINK", "LTC", "MANA", "NEO", "ONT", "QTUM", "SAND", "SOL"),
        *("SUSHI", "THETA", "TRX", "UNI", "XLM", "XMR", "XRP", "XTZ", "YFI", "YFII", "ZEC"),
    ),
}
"""Dollars a contract of inverse swaps and futures (against USD), as listed on 2022-05-13."""
_LINEAR_UNITS = {
    0.0001: ("YFI",),
    0.001: ("YFII",),
    0.01: ("BTC", "ICP", "MKR", "TORN", "XCH"),
    0.1: (
        *("AAVE", "APE", "AXS", "BADGER", "BAL", "BCH", "BZZ", "COMP", "DASH", "DORA", "EGLD", "ENS", "ETH", "FIL"),
        *("KSM", "LPT", "TRB", "UMA", "WNXM", "XMR", "ZEC"),
    ),
    1.0: (
        *("1INCH", "AGLD", "ALPHA", "ANT", "API3", "ATOM", "AVAX", "BAND", "BICO", "BSV", "CELO", "CQT", "CRV"),
        *("CSPR", "DOT", "DYDX", "EFI", "ENJ", "GMT", "GODS", "IMX", "KNC", "LINK", "LON", "LOOKS", "LTC", "MASK"),
        *("MINA", "NEO", "NYM", "OMG", "PERP", "QTUM", "SNX", "SOL", "SRM", "SUSHI", "SWRV", "UNI", "WAVES", "WNCG"),
        *("XTZ", "YGG", "ZEN"),
    ),
    10.0: (
        *("ALGO", "ASTR", "BAT", "BNT", "CFX", "CHZ", "CONV", "CRO", "EOS", "ETC", "FITFI", "FLM", "FTM", "GALA"),
        *("GRT", "IOTA", "LAT", "LRC", "MANA", "MATIC", "NEAR", "ONT", "REN", "RSS3", "RVN", "SAND", "SLP", "STORJ"),
        *("THETA", "UMEE", "XEM", "ZRX"),
    ),
    100.0: ("ADA", "BTM", "CVC", "DOME", "JST", "PEOPLE", "RSR", "SC", "XLM", "XRP", "ZIL"),
    1e3: ("DOGE", "IOST", "TRX"),
    1e5: ("STARL",),
    1e6: ("BTT", "ELON", "NFT", "SHIB", "SOS"),
    1e9: ("BABYDOGE", "KISHU"),
}
"""Units of the base asset a contract of linear swaps and futures (against USDT), as listed on 2022-05-13."""
_OPTION_UNITS = {"BTC": 0.1, "ETH": 1.0}
"""Units of the base asset a contract of options (against USD), as listed on 2022-05-13."""
_INVERSE = {asset: usd for usd, assets in _INVERSE_USD.items() for asset in assets}
_LINEAR = {asset: units for units, assets in _LINEAR_UNITS.items() for asset in assets}


class Instrument(NamedTuple):
    """An instrument. Of its sizes, one is worth `unit` of the base asset, or `usd` dollars where that is above 0."""

    instrument_id: str
    unit: float
    usd: float

    def size(self, size: float, price: float) -> float:
        """Return a size in base units; raises DecodeError."""
        return of_contracts(size, self.usd, price) if self.usd and price else size * self.unit


@lru_cache(maxsize=65_536)
def instrument(symbol: str) -> Instrument | None:
    """Return what OKX calls `symbol`, None for contracts of unknown size. Raises DecodeError.

    >>> instrument("BTC-USDT-SWAP")
    Instrument(instrument_id='okx:BTC-USDT-PERP', unit=0.01, usd=0.0)
    >>> instrument("BTC-USD-220527"), instrument("XYZ-USDT-SWAP")
    (Instrument(instrument_id='okx:BTC-USD-220527', unit=1.0, usd=100.0), None)
    """
    match = _PATTERN.fullmatch(symbol)
    if match is None:
        raise DecodeError(f"expected an instrument such as BTC-USDT-SWAP, got {shown(symbol)}", path="$.arg.instId")
    base, quoted, contract, strike, kind = match.groups()
    if contract is None:
        return Instrument(f"{_VENUE}:{symbol}", 1.0, 0.0)
    if kind is not None:
        unit = _OPTION_UNITS.get(base) if quoted == "USD" and contract != "SWAP" else None
        name = f"{_VENUE}:{base}-{quoted}-{contract}-{strike}-{kind}"
        return None if unit is None else Instrument(name, unit, 0.0)
    name = f"{_VENUE}:{base}-{quoted}-{'PERP' if contract == 'SWAP' else contract}"
    if quoted == "USD":
        return Instrument(name, 1.0, _INVERSE[base]) if base in _INVERSE else None
    return Instrument(name, _LINEAR[base], 0.0) if quoted == "USDT" and base in _LINEAR else None
