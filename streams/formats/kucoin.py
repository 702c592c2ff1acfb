"""KuCoin's spot stream: matches, tickers, candles, level-2 changes, and the REST book they join.

A change says from which number to which it leads (`sequenceStart`, `sequenceEnd`), and carries no
time before 2023; a level of price 0 only moves the number on.

https://www.kucoin.com/docs-new/3470068w0
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import Bar, DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange, NumberLevel
from streams.formats.fields import (
    LAST_NS,
    Identifier,
    Milliseconds,
    Name,
    NonNegative,
    Number,
    Positive,
    read,
    shown,
)
from streams.formats.levels import MAX_LEVELS, NumberLevels
from streams.formats.pairs import of_parts
from streams.formats.quotes import quote
from streams.formats.rest import RestAnswer, rest_answer

FORMAT = "kucoin-websocket"

_VENUE = "kucoin"
_MS = 1_000_000
_SECOND = 1_000_000_000
_INTERVALS_NS = {
    f"{count}{unit}": count * minutes * 60 * _SECOND
    for unit, minutes, counts in (
        ("min", 1, (1, 3, 5, 15, 30)),
        ("hour", 60, (1, 2, 4, 6, 8, 12)),
        ("day", 1_440, (1,)),
        ("week", 10_080, (1,)),
    )
    for count in counts
}
_Made = list[Event | BookChange] | LeftOut
_Seconds = Annotated[int, Meta(ge=1, le=LAST_NS // _SECOND)]
_Nanoseconds = Annotated[int, Meta(ge=1, le=LAST_NS)]


class _Message(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    topic: Annotated[str, Meta(max_length=256)] = ""
    subject: Annotated[str, Meta(max_length=64)] = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Match(msgspec.Struct, frozen=True, gc=False):
    """A trade; `side` is the taker's."""

    symbol: Name
    sequence: Number
    side: Literal["buy", "sell"]
    size: Positive
    price: Positive
    time: _Nanoseconds
    tradeId: Identifier  # noqa: N815 - KuCoin's name


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    sequence: Number
    time: Milliseconds
    bestBid: NonNegative | None = None  # noqa: N815 - KuCoin's names
    bestBidSize: NonNegative | None = None  # noqa: N815
    bestAsk: NonNegative | None = None  # noqa: N815
    bestAskSize: NonNegative | None = None  # noqa: N815


_NumberedLevels = Annotated[list[tuple[NonNegative, NonNegative, Number]], Meta(max_length=MAX_LEVELS)]


class _Changes(msgspec.Struct, frozen=True, gc=False):
    asks: _NumberedLevels
    bids: _NumberedLevels


class _Level2(msgspec.Struct, frozen=True, gc=False):
    sequenceStart: Number  # noqa: N815 - KuCoin's names
    sequenceEnd: Number  # noqa: N815
    symbol: Name
    changes: _Changes
    time: Milliseconds | None = None


class _Depth(msgspec.Struct, frozen=True, gc=False):
    """The best 5 or 50 levels: a whole book each time."""

    asks: NumberLevels
    bids: NumberLevels
    timestamp: Milliseconds


class _Candle(msgspec.Struct, frozen=True, gc=False):
    """`candles`: start (s), open, close, high, low, volume, turnover."""

    symbol: Name
    candles: tuple[_Seconds, Positive, Positive, Positive, Positive, NonNegative, NonNegative]
    time: _Nanoseconds


class _Book(msgspec.Struct, frozen=True, gc=False):
    sequence: Number
    bids: NumberLevels | None = None
    asks: NumberLevels | None = None


class _BookAnswer(msgspec.Struct, frozen=True, gc=False):
    data: _Book


_MESSAGE = msgspec.json.Decoder(_Message)
_BOOK = msgspec.json.Decoder(_BookAnswer, strict=False)
_CONTROL = {"welcome", "ack", "pong", "error"}


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame or REST answer; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return _answer(answer)
    message = read(_MESSAGE, value)
    if message.type in _CONTROL:
        return LeftOut(message.type)
    if message.type != "message":
        raise DecodeError(f"expected a message or one of {sorted(_CONTROL)}, got {shown(message.type)}", path="$.type")
    channel, _, name = message.topic.partition(":")
    if channel == "/market/snapshot":
        return LeftOut("ticker-24h")
    reader = _READERS.get(channel)
    if reader is None:
        raise DecodeError(f"expected a topic of KuCoin's spot market, got {shown(message.topic)}", path="$.topic")
    decoder, build = reader
    return build(read(decoder, message.data), message.subject if name == "all" else name)


def _answer(answer: RestAnswer) -> _Made:
    if not answer.path.endswith("/market/orderbook/level2"):
        return LeftOut("instrument-list" if answer.path.endswith("/symbols") else "rest-answer")
    book = read(_BOOK, answer.data).data
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, answer.argument("symbol"), "-"),
            venue=_VENUE,
            # Its time is that of the answer, and the changes that follow have none of their own to compare.
            event_time_ns=0,
            bids=book.bids or [],
            asks=book.asks or [],
            snapshot=True,
            last=book.sequence,
        )
    ]


def _match(match: _Match, _name: str) -> _Made:
    return [
        Trade(
            instrument_id=of_parts(_VENUE, match.symbol, "-"),
            venue=_VENUE,
            event_time_ns=match.time,
            sequence=match.sequence,
            id=match.tradeId,
            price=match.price,
            size=match.size,
            side=1 if match.side == "buy" else -1,
        )
    ]


def _ticker(ticker: _Ticker, name: str) -> _Made:
    bid = (ticker.bestBid or 0.0, ticker.bestBidSize or 0.0)
    ask = (ticker.bestAsk or 0.0, ticker.bestAskSize or 0.0)
    made = quote(of_parts(_VENUE, name, "-"), ticker.time * _MS, bid, ask, ticker.sequence)
    return made if isinstance(made, LeftOut) else [made]


def _level2(change: _Level2, _name: str) -> _Made:
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, change.symbol, "-"),
            venue=_VENUE,
            event_time_ns=(change.time or 0) * _MS,
            bids=_levels(change.changes.bids),
            asks=_levels(change.changes.asks),
            first=change.sequenceStart,
            last=change.sequenceEnd,
        )
    ]


def _levels(changes: list[tuple[float, float, int]]) -> list[NumberLevel]:
    return [(price, size) for price, size, _ in changes if price]


def _depth(depth: _Depth, name: str) -> _Made:
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, name, "-"),
            venue=_VENUE,
            event_time_ns=depth.timestamp * _MS,
            bids=depth.bids,
            asks=depth.asks,
            snapshot=True,
        )
    ]


def _candle(candle: _Candle, name: str) -> _Made:
    interval = _INTERVALS_NS.get(name.rpartition("_")[2])
    if interval is None:
        raise DecodeError(f"expected an interval such as 1min in the topic, got {shown(name)}", path="$.topic")
    start, opened, closed, high, low, volume, _ = candle.candles
    if not low <= min(opened, closed) <= max(opened, closed) <= high:
        raise DecodeError(f"expected low <= open, close <= high, got {shown(candle)}", path="$.data.candles")
    end_ns = start * _SECOND + interval
    # Of each candle the state is sent while it grows; the one after its end is the last.
    if candle.time < end_ns:
        return LeftOut("open-candle")
    return [
        Bar(
            instrument_id=of_parts(_VENUE, candle.symbol, "-"),
            venue=_VENUE,
            event_time_ns=end_ns - 1,
            open=opened,
            high=high,
            low=low,
            close=closed,
            volume=volume,
            interval_ns=interval,
        )
    ]


_Build = Callable[[Any, str], _Made]


def _reader(kind: Any, build: _Build) -> tuple[msgspec.json.Decoder[Any], _Build]:
    return msgspec.json.Decoder(kind, strict=False), build


_READERS = {
    "/market/match": _reader(_Match, _match),
    "/market/ticker": _reader(_Ticker, _ticker),
    "/market/level2": _reader(_Level2, _level2),
    "/market/candles": _reader(_Candle, _candle),
    "/spotMarket/level2Depth5": _reader(_Depth, _depth),
    "/spotMarket/level2Depth50": _reader(_Depth, _depth),
}
