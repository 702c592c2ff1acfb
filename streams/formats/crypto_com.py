"""Crypto.com's market stream: trades, tickers, and books of up to 150 levels, whole each time.

https://exchange-docs.crypto.com/spot/index.html
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.levels import MAX_LEVELS
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "crypto-com-websocket"

_VENUE = "crypto-com"
_MS = 1_000_000
_Made = list[Event | BookChange] | LeftOut
_SPOT = re.compile(r"([A-Z0-9]{1,20})_([A-Z0-9]{1,20})")
_CONTRACT = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")


class _Result(msgspec.Struct, frozen=True, gc=False):
    channel: Annotated[str, Meta(max_length=64)]
    instrument_name: Name
    depth: Number = 0
    data: msgspec.Raw = msgspec.Raw(b"")


class _Frame(msgspec.Struct, frozen=True, gc=False):
    method: Annotated[str, Meta(max_length=64)] = ""
    result: _Result | None = None


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `s` is the taker's side."""

    s: Literal["BUY", "SELL", "buy", "sell"]
    p: Positive
    q: Positive
    t: Milliseconds
    d: Number


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """Best bid `b` and ask `k`, null where a side is empty; newer frames say their sizes."""

    t: Milliseconds
    b: NonNegative | None = None
    k: NonNegative | None = None
    bs: NonNegative | None = None
    ks: NonNegative | None = None


class _Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Price, size, number of orders."""

    price: Positive
    size: NonNegative


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Book(msgspec.Struct, frozen=True, gc=False):
    t: Milliseconds
    bids: _Levels
    asks: _Levels


_FRAME = msgspec.json.Decoder(_Frame)
_CONTROL = {
    **dict.fromkeys(("subscribe", "unsubscribe"), "subscription"),
    "public/heartbeat": "heartbeat",
    "public/auth": "notice",
}
"""Methods of the connection, and how they are counted."""
_LEFT_OUT = {
    "candlestick": "candle",
    "book.update": "book-update",
    **dict.fromkeys(("mark", "index", "settlement", "funding", "estimatedfunding"), "contracts"),
}
"""Channels that are not read, and how they are counted."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    frame = read(_FRAME, value)
    result = frame.result
    if result is None:
        if frame.method not in _CONTROL:
            raise DecodeError(f"expected a method of Crypto.com, got {shown(frame.method)}", path="$.method")
        return LeftOut(_CONTROL[frame.method])
    if result.channel in _LEFT_OUT:
        return LeftOut(_LEFT_OUT[result.channel])
    reader = _READERS.get(result.channel)
    if reader is None:
        raise DecodeError(f"expected a channel of Crypto.com, got {shown(result.channel)}", path="$.result.channel")
    decoder, build = reader
    records, instrument_id = read(decoder, result.data), _instrument(result.instrument_name)
    return _all(build(record, instrument_id, result) for record in records) if instrument_id else LeftOut("contracts")


def _all(made: Any) -> _Made:
    events: list[Event | BookChange] = []
    left_out = LeftOut("no-records")
    for each in made:
        if isinstance(each, LeftOut):
            left_out = each
        else:
            events.append(each)
    return events or left_out


def _trade(trade: _Trade, instrument_id: str, _result: _Result) -> Event:
    return Trade(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=trade.t * _MS,
        sequence=trade.d,
        price=trade.p,
        size=trade.q,
        side=1 if trade.s.upper() == "BUY" else -1,
    )


def _ticker(ticker: _Ticker, instrument_id: str, _result: _Result) -> Event | LeftOut:
    if ticker.bs is None or ticker.ks is None:
        # Prices without sizes would keep those of the books away.
        return LeftOut("ticker-of-prices")
    return quote(instrument_id, ticker.t * _MS, (ticker.b or 0.0, ticker.bs), (ticker.k or 0.0, ticker.ks))


def _book(book: _Book, instrument_id: str, result: _Result) -> BookChange:
    return BookChange(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=book.t * _MS,
        bids=[(level.price, level.size) for level in book.bids],
        asks=[(level.price, level.size) for level in book.asks],
        snapshot=True,
        limit=result.depth,
    )


@lru_cache(maxsize=65_536)
def _instrument(symbol: str) -> str:
    """Return the instrument of a symbol, "" for contracts."""
    if match := _SPOT.fullmatch(symbol):
        return f"{_VENUE}:{match[1]}-{match[2]}"
    if _CONTRACT.fullmatch(symbol):
        return ""
    raise DecodeError(f"expected a symbol such as BTC_USDT, got {shown(symbol)}", path="$.result.instrument_name")


def _reader(kind: Any, build: Callable[..., Any]) -> tuple[msgspec.json.Decoder[Any], Callable[..., Any]]:
    return msgspec.json.Decoder(list[kind], strict=False), build


_READERS = {"trade": _reader(_Trade, _trade), "ticker": _reader(_Ticker, _ticker), "book": _reader(_Book, _book)}
