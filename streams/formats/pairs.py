"""Instrument names of venues: symbols written in one word, and symbols with a separator."""

import re
from functools import lru_cache

from schemas import DecodeError

_PART = re.compile(r"[A-Z0-9]{1,20}")


@lru_cache(maxsize=65_536)
def of_word(venue: str, symbol: str, quotes: tuple[str, ...], contract: str = "") -> str:
    """Return the instrument of a symbol in one word. Raises DecodeError.

    `quotes` are the assets that the venue quotes in, the longest of one ending first: with assets that
    it does not quote in, `BNBUSD` would be BN-BUSD. `contract` is PERP or a day.

    >>> of_word("huobi", "YFIHUSD", ("HUSD", "BTC")), of_word("bitget", "BTCUSDT", ("USDT",), "PERP")
    ('huobi:YFI-HUSD', 'bitget:BTC-USDT-PERP')
    """
    quoted = next((asset for asset in quotes if symbol.endswith(asset)), "")
    base = symbol.removesuffix(quoted)
    if not quoted or not _PART.fullmatch(base):
        raise DecodeError(f"expected a symbol of {venue} that ends in {', '.join(quotes)}, got {symbol!r}")
    return f"{venue}:{base}-{quoted}{contract and '-'}{contract}"


@lru_cache(maxsize=65_536)
def of_parts(venue: str, symbol: str, separator: str, contract: str = "") -> str:
    """Return the instrument of a symbol BASE, separator, QUOTE. Raises DecodeError.

    >>> of_parts("gateio", "BTC_USDT", "_"), of_parts("gateio-futures", "BTC_USDT", "_", "PERP")
    ('gateio:BTC-USDT', 'gateio-futures:BTC-USDT-PERP')
    """
    parts = symbol.split(separator)
    if len(parts) != 2 or not all(map(_PART.fullmatch, parts)):  # noqa: PLR2004 - base and quote
        raise DecodeError(f"expected a symbol of {venue} such as BTC{separator}USDT, got {symbol!r}")
    return f"{venue}:{'-'.join(parts)}{contract and '-'}{contract}"
