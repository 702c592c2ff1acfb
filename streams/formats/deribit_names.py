"""Deribit's instruments in our names, and what their amounts are in."""

import re
from functools import lru_cache
from typing import NamedTuple

from schemas import DecodeError
from streams.formats.expiries import day_of_text, expiry_ns
from streams.formats.fields import shown
from streams.formats.sizes import of_contracts

_VENUE = "deribit"
_NAME = re.compile(
    r"(?P<base>[A-Z0-9]{1,20})(?:_(?P<quote>USDC|USDT))?"
    r"-(?P<day>PERPETUAL|[0-9]{1,2}[A-Z]{3}[0-9]{2})"
    r"(?:-(?P<strike>[0-9]{1,9}(?:d[0-9]{1,9})?)-(?P<kind>[CP]))?"
)


class Instrument(NamedTuple):
    """An instrument; amounts are in dollars where it is `inverse`, else in the base asset."""

    instrument_id: str
    inverse: bool
    option: bool

    @property
    def contract_usd(self) -> float:
        """What one of its amounts is worth in dollars, 0 where it is one of the base asset."""
        return 1.0 if self.inverse else 0.0

    def size(self, amount: float, price: float) -> float:
        """Return an amount in base units; raises DecodeError."""
        return of_contracts(amount, 1.0, price) if self.inverse and price else amount


@lru_cache(maxsize=65_536)
def instrument(name: str) -> Instrument:
    """Return what Deribit calls `name`; raises DecodeError.

    Prices of options against USD are in the base asset, those of all others in dollars.

    >>> instrument("BTC-PERPETUAL").instrument_id, instrument("SOL_USDC-PERPETUAL").instrument_id
    ('deribit:BTC-USD-PERP', 'deribit:SOL-USDC-PERP')
    >>> instrument("BTC-27JUN25").instrument_id, instrument("BTC-27JUN25-100000-C").instrument_id
    ('deribit:BTC-USD-250627', 'deribit:BTC-USD-250627-100000-C')
    """
    match = _NAME.fullmatch(name)
    day = "" if match is None else "PERP" if match["day"] == "PERPETUAL" else day_of_text(match["day"])
    if match is None or not day or (match["kind"] and day == "PERP"):
        raise DecodeError(f"expected an instrument such as BTC-27JUN25-100000-C, got {shown(name)}", path="$.params")
    if day != "PERP":
        expiry_ns(day)
    parts = [match["base"], match["quote"] or "USD", day]
    if match["kind"]:
        parts += [match["strike"].replace("d", "."), match["kind"]]
    option = match["kind"] is not None
    return Instrument(f"{_VENUE}:{'-'.join(parts)}", match["quote"] is None and not option, option)
