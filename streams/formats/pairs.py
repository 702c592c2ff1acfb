"""Instrument names of venues: symbols written in one word, and symbols with a separator."""

import re
from functools import lru_cache

from schemas import DecodeError
from streams.formats.binance_symbols import QUOTE_ASSETS

_MORE_QUOTES = ("HUSD", "UST", "KRW", "JPY", "SGD", "BGB", "KCS", "GT", "HT")
_QUOTES = "|".join(sorted({*QUOTE_ASSETS, *_MORE_QUOTES}, key=len, reverse=True))
_WORD = re.compile(rf"([A-Z0-9]{{1,20}}?)({_QUOTES})")
_PART = re.compile(r"[A-Z0-9]{1,20}")


@lru_cache(maxsize=65_536)
def of_word(venue: str, symbol: str, contract: str = "") -> str:
    """Return the instrument of a symbol in one word; `contract` is PERP or a day. Raises DecodeError.

    >>> of_word("huobi", "YFIHUSD"), of_word("bitget", "BTCUSDT", "PERP")
    ('huobi:YFI-HUSD', 'bitget:BTC-USDT-PERP')
    """
    match = _WORD.fullmatch(symbol)
    if match is None:
        raise DecodeError(f"expected a symbol of {venue} such as BTCUSDT, got {symbol!r}")
    return f"{venue}:{'-'.join(part for part in (*match.groups(), contract) if part)}"


@lru_cache(maxsize=65_536)
def of_parts(venue: str, symbol: str, separator: str, contract: str = "") -> str:
    """Return the instrument of a symbol BASE, separator, QUOTE. Raises DecodeError.

    >>> of_parts("gateio", "BTC_USDT", "_"), of_parts("gateio-futures", "BTC_USDT", "_", "PERP")
    ('gateio:BTC-USDT', 'gateio-futures:BTC-USDT-PERP')
    """
    parts = symbol.split(separator)
    if len(parts) != 2 or not all(map(_PART.fullmatch, parts)):  # noqa: PLR2004 - base and quote
        raise DecodeError(f"expected a symbol of {venue} such as BTC{separator}USDT, got {symbol!r}")
    return f"{venue}:{'-'.join([*parts, contract] if contract else parts)}"
