"""Instruments of tardis.dev's exchanges in our names, and what their amounts are in.

Tardis leaves symbols and amounts as each exchange has them. Exchanges that are not here, and contracts
of unknown size, are left out: of a wrong size nobody would know.
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

from schemas import DecodeError
from streams.formats import binance_symbols, deribit_names, gateio_contracts, okx_contracts
from streams.formats.fields import shown
from streams.formats.pairs import of_parts, of_word
from streams.formats.sizes import of_contracts


class Instrument(NamedTuple):
    """An instrument. One of its amounts is worth `unit` base units, or `usd` dollars where that is above 0."""

    instrument_id: str
    unit: float = 1.0
    usd: float = 0.0

    def size(self, amount: float, price: float) -> float:
        """Return an amount in base units."""
        return of_contracts(amount, self.usd, price) if self.usd else amount * self.unit


_FIAT = ("USDT", "USDC", "USD", "EUR", "GBP", "BTC", "ETH")
_KRAKEN_ASSETS = {"XBT": "BTC", "XDG": "DOGE"}
_BYBIT_INVERSE = re.compile(r"([A-Z0-9]{1,20})USD")
_KRAKEN_INVERSE = re.compile(r"(PI|FI)_([A-Z]{2,10})USD(?:_([0-9]{6}))?")


@lru_cache(maxsize=65_536)
def instrument(exchange: str, symbol: str) -> Instrument | None:
    """Return what an exchange calls `symbol`, None where its size is not known. Raises DecodeError.

    >>> instrument("okex-swap", "BTC-USDT-SWAP")
    Instrument(instrument_id='okx:BTC-USDT-PERP', unit=0.01, usd=0.0)
    >>> instrument("bitmex", "XBTUSD")
    Instrument(instrument_id='bitmex:BTC-USD-PERP', unit=1.0, usd=1.0)
    """
    return EXCHANGES[exchange](symbol)


def _spot(venue: str, separator: str, symbol: str) -> Instrument:
    return Instrument(of_parts(venue, symbol, separator))


def _word(venue: str, quotes: tuple[str, ...], contract: str, symbol: str) -> Instrument:
    return Instrument(of_word(venue, symbol.upper(), quotes, contract))


def _binance(venue: str, symbol: str) -> Instrument:
    name = binance_symbols.instrument(venue, symbol, "$")
    return Instrument(name, usd=binance_symbols.contract_usd(venue, symbol))


def _okx(symbol: str) -> Instrument | None:
    found = okx_contracts.instrument(symbol)
    return None if found is None else Instrument(found.instrument_id, found.unit, found.usd)


def _deribit(symbol: str) -> Instrument:
    found = deribit_names.instrument(symbol)
    return Instrument(found.instrument_id, usd=found.contract_usd)


def _upbit(symbol: str) -> Instrument:
    quoted, _, base = symbol.partition("-")
    return Instrument(of_parts("upbit", f"{base}-{quoted}", "-"))


def _kraken(symbol: str) -> Instrument:
    parts = [_KRAKEN_ASSETS.get(asset, asset) for asset in symbol.split("/")]
    return Instrument(of_parts("kraken", "/".join(parts), "/"))


def _kraken_futures(symbol: str) -> Instrument | None:
    match = _KRAKEN_INVERSE.fullmatch(symbol)
    if match is None:
        return None
    base = _KRAKEN_ASSETS.get(match[2], match[2])
    return Instrument(f"kraken-futures:{base}-USD-{match[3] or 'PERP'}", usd=1.0)


def _bybit(symbol: str) -> Instrument | None:
    if match := _BYBIT_INVERSE.fullmatch(symbol):
        return Instrument(f"bybit:{match[1]}-USD-PERP", usd=1.0)
    if symbol.endswith("USDT"):
        return Instrument(of_word("bybit", symbol, ("USDT",), "PERP"))
    return None


def _bitmex(symbol: str) -> Instrument | None:
    return Instrument("bitmex:BTC-USD-PERP", usd=1.0) if symbol == "XBTUSD" else None


def _gateio_futures(symbol: str) -> Instrument | None:
    size = gateio_contracts.CONTRACT_SIZES.get(symbol)
    return None if size is None else Instrument(of_parts("gateio-futures", symbol, "_", "PERP"), size)


EXCHANGES: dict[str, Callable[[str], Instrument | None]] = {
    "binance": partial(_binance, "binance"),
    "binance-us": partial(_binance, "binance-us"),
    "binance-futures": partial(_binance, "binance-usdm"),
    "binance-delivery": partial(_binance, "binance-coinm"),
    "bitfinex": partial(_word, "bitfinex", ("USD", "EUR", "GBP", "JPY", "BTC", "ETH", "UST"), ""),
    "bitget": partial(_word, "bitget", ("USDT", "USDC", "BTC", "ETH"), ""),
    "bitget-futures": partial(_word, "bitget", ("USDT", "USDC", "USD"), "PERP"),
    "bitmex": _bitmex,
    "bitstamp": partial(_word, "bitstamp", _FIAT, ""),
    "bybit": _bybit,
    "bybit-spot": partial(_word, "bybit", ("USDT", "USDC", "EUR", "BTC", "ETH"), ""),
    "coinbase": partial(_spot, "coinbase", "-"),
    "crypto-com": partial(_spot, "crypto-com", "_"),
    "cryptofacilities": _kraken_futures,
    "deribit": _deribit,
    "gate-io": partial(_spot, "gateio", "_"),
    "gate-io-futures": _gateio_futures,
    "gemini": partial(_word, "gemini", _FIAT, ""),
    "huobi": partial(_word, "huobi", ("USDT", "USDC", "USDD", "HUSD", "BTC", "ETH", "TRX", "HT"), ""),
    "kraken": _kraken,
    "kucoin": partial(_spot, "kucoin", "-"),
    "okex": _okx,
    "okex-futures": _okx,
    "okex-options": _okx,
    "okex-swap": _okx,
    "upbit": _upbit,
}
"""Tardis's exchanges whose symbols and amounts are known here."""

VOLATILITY_UNITS = {"deribit": 0.01, "okex-options": 1.0}
"""What a volatility of one is as a ratio, of exchanges whose options are read."""


def exchange_of(name: str) -> str:
    """Return the name of an exchange that could be one of tardis.dev; raises DecodeError."""
    if not re.fullmatch(r"[a-z0-9-]{1,40}", name):
        raise DecodeError(f"expected an exchange such as binance-futures, got {shown(name)}", path="$.exchange")
    return name
