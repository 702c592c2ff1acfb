"""Closed bars as plain JSON: what bar files are replayed as.

`{"instrument_id": "binance:BTC-USDT", "interval": "5m", "start_time_ns": 1672531200000000000,
"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "volume": 3.0}`; `volume` in base units,
`trade_count` where it is known. Binance kline frames are of the format `binance-combined`.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas import Bar, DecodeError, Event, LeftOut
from schemas.events import UNKNOWN
from streams.formats.fields import LAST_NS, NonNegative, Positive, read, shown

FORMAT = "bars"

_UNITS_NS = {
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_INTERVAL = re.compile(r"([1-9][0-9]{0,3})([smhdw])")


class PlainBar(msgspec.Struct, frozen=True, gc=False):
    """One closed bar of an instrument."""

    instrument_id: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}:[A-Z0-9]{1,20}(-[A-Z0-9]{1,20}){1,3}$")]
    interval: str
    start_time_ns: Annotated[int, Meta(ge=1, le=LAST_NS)]
    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: NonNegative
    trade_count: NonNegative | None = None


_BAR = msgspec.json.Decoder(PlainBar)


def decode(value: bytes, source: str) -> list[Event] | LeftOut:  # noqa: ARG001 - the instrument names its venue
    """Return the bar of one message; raises DecodeError."""
    bar = read(_BAR, value)
    if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        raise DecodeError(f"expected low <= open, close <= high, got {shown(bar)}")
    interval = interval_ns(bar.interval)
    return [
        Bar(
            instrument_id=bar.instrument_id,
            venue=bar.instrument_id.partition(":")[0],
            event_time_ns=bar.start_time_ns + interval - 1,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            trade_count=UNKNOWN if bar.trade_count is None else bar.trade_count,
            interval_ns=interval,
        )
    ]


def interval_ns(text: str) -> int:
    """Return the length of a bar in nanoseconds.

    >>> interval_ns("5m")
    300000000000
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise DecodeError(f"expected an interval such as 5m, 1h or 1d, got {shown(text)}", path="$.interval")
    return int(match[1]) * _UNITS_NS[match[2]]
