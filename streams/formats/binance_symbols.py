"""Binance's symbols, and its contracts, in our names and units."""

import re
from functools import lru_cache

from schemas import DecodeError

MARKETS = {
    "binance": "spot",
    "binance-us": "spot",
    "binance-usdm": "linear",
    "binance-coinm": "inverse",
}
"""The Binance venues, by how their sizes are told: inverse contracts are worth a number of dollars."""

QUOTE_ASSETS = (
    *("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USDP", "USDS", "USD1", "USDE", "DAI", "PAX", "UST", "AEUR", "EURI"),
    *("USD", "EUR", "GBP", "AUD", "TRY", "BRL", "JPY", "RUB", "UAH", "NGN", "ZAR", "PLN", "RON", "ARS", "MXN", "CZK"),
    *("COP", "BIDR", "BKRW", "IDRT", "IDR", "BVND", "VAI", "BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL"),
)
_QUOTE = re.compile(rf"(?P<base>[A-Z0-9]{{1,20}}?)(?P<quote>{'|'.join(sorted(QUOTE_ASSETS, key=len, reverse=True))})")
_INVERSE = re.compile(r"(?P<base>[A-Z0-9]{1,20}?)(?P<quote>USD)")
"""Inverse contracts are all against USD: DOTUSD is not DO-TUSD there."""
_DELIVERY = re.compile(r"PERP|[0-9]{6}")
_BITCOIN_CONTRACT_USD = 100.0
_CONTRACT_USD = 10.0


@lru_cache(maxsize=65_536)
def instrument(source: str, symbol: str, path: str = "$.data") -> str:
    """Return the instrument that a Binance venue calls `symbol`; `path` is of its record. Raises DecodeError.

    >>> instrument("binance", "BTCUSDT"), instrument("binance-usdm", "BTCUSDT")
    ('binance:BTC-USDT', 'binance-usdm:BTC-USDT-PERP')
    >>> instrument("binance-usdm", "BTCUSDT_240628"), instrument("binance-coinm", "BTCUSD_PERP")
    ('binance-usdm:BTC-USDT-240628', 'binance-coinm:BTC-USD-PERP')
    """
    pair, _, contract = symbol.partition("_")
    match = (_INVERSE if MARKETS[source] == "inverse" else _QUOTE).fullmatch(pair)
    if match is None:
        raise DecodeError(f"expected a Binance symbol such as BTCUSDT, got {symbol!r}", path=f"{path}.s")
    spot = MARKETS[source] == "spot"
    if (contract and (spot or not _DELIVERY.fullmatch(contract))) or (symbol.endswith("_") and not contract):
        raise DecodeError(f"expected a symbol of {source}, got {symbol!r}", path=f"{path}.s")
    parts = [match["base"], match["quote"], *([] if spot else [contract or "PERP"])]
    return f"{source}:{'-'.join(parts)}"


@lru_cache(maxsize=65_536)
def contract_usd(source: str, symbol: str) -> float:
    """Return what one contract is worth in dollars, 0 where sizes are in base units.

    >>> contract_usd("binance-coinm", "BTCUSD_PERP"), contract_usd("binance-usdm", "BTCUSDT")
    (100.0, 0.0)
    """
    if MARKETS[source] != "inverse":
        return 0.0
    return _BITCOIN_CONTRACT_USD if symbol.startswith("BTCUSD") else _CONTRACT_USD
