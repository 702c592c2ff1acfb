"""Days on which contracts end, and options among instrument names."""

import re
from datetime import UTC, datetime
from functools import lru_cache

from schemas import DecodeError, Option
from streams.formats.fields import LAST_NS, shown

_DAY = re.compile(r"([0-9]{1,2})(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)([0-9]{2})")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_KINDS = {"C": "call", "P": "put"}


@lru_cache(maxsize=4096)
def day_of_text(text: str) -> str:
    """Return a day such as 7JUN24 as 240607, "" where it is none.

    >>> day_of_text("7JUN24"), day_of_text("30JUL21"), day_of_text("PERPETUAL")
    ('240607', '210730', '')
    """
    match = _DAY.fullmatch(text)
    if match is None:
        return ""
    return f"{match[3]}{_MONTHS.index(match[2]) + 1:02}{int(match[1]):02}"


@lru_cache(maxsize=4096)
def expiry_ns(day: str, hour: int = 8) -> int:
    """Return `hour` o'clock UTC of a day such as 240607 in ns; raises DecodeError.

    Options of Deribit and OKX end at 8:00 UTC.

    >>> expiry_ns("210730")
    1627632000000000000
    """
    try:
        time = datetime(2000 + int(day[:2]), int(day[2:4]), int(day[4:]), hour, tzinfo=UTC)
    except ValueError:
        raise DecodeError(f"expected a day such as 240607, got {shown(day)}") from None
    return min(int(time.timestamp()) * 1_000_000_000, LAST_NS)


def option(
    instrument_id: str,
    event_time_ns: int,
    mark_volatility: float,
    bid_volatility: float,
    ask_volatility: float,
    delta: float,
    underlying_price: float,
    open_interest: float,
) -> Option:
    """Return the summary of an option from its name and numbers; raises DecodeError.

    `instrument_id` ends in day, strike and C or P: `deribit:BTC-USD-210730-34000-C`.
    """
    venue, _, name = instrument_id.partition(":")
    _, _, day, strike, kind = name.split("-")
    return Option(
        instrument_id=instrument_id,
        venue=venue,
        event_time_ns=event_time_ns,
        strike=float(strike),
        expiry_ns=expiry_ns(day),
        kind=_KINDS[kind],
        mark_volatility=mark_volatility,
        bid_volatility=bid_volatility,
        ask_volatility=ask_volatility,
        delta=delta,
        underlying_price=underlying_price,
        open_interest=open_interest,
    )
