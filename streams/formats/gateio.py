"""Gate's spot stream: trades, best prices, closed candles, level-2 changes, and the REST book they join.

https://www.gate.com/docs/developers/apiv4/ws/en/
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import Bar, DecodeError, Event, LeftOut, Trade
from streams.formats.bars import interval_ns
from streams.formats.book import BookChange
from streams.formats.fields import LAST_NS, Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.levels import NumberLevels
from streams.formats.pairs import of_parts
from streams.formats.quotes import quote
from streams.formats.rest import RestAnswer, rest_answer

FORMAT = "gateio-websocket"

_VENUE = "gateio"
_MS = 1_000_000
_SECOND = 1_000_000_000
_Made = list[Event | BookChange] | LeftOut
Seconds = Annotated[int, Meta(ge=1, le=LAST_NS // _SECOND)]
"""A time in s since 1970."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What all frames of Gate share."""

    channel: Annotated[str, Meta(max_length=64)]
    event: Annotated[str, Meta(max_length=64)] = ""
    time_ms: Annotated[int, Meta(ge=0, le=LAST_NS // _MS)] = 0
    error: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def control(self) -> str:
        """What the frame is if it carries no data, "" for data."""
        if self.channel.endswith(".pong"):
            return "pong"
        if self.event in {"subscribe", "unsubscribe"}:
            return "subscription" if bytes(self.error) in {b"", b"null"} else "error"
        return "error" if bytes(self.error) not in {b"", b"null"} else ""


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """`side` is the taker's; `create_time_ms` holds parts of milliseconds behind a point."""

    id: Number
    create_time_ms: Annotated[str, Meta(pattern=r"^[0-9]{13}(\.[0-9]{1,9})?\Z")]
    side: Literal["buy", "sell"]
    currency_pair: Name
    amount: Positive
    price: Positive


class _Quote(msgspec.Struct, frozen=True, gc=False):
    t: Milliseconds
    u: Number
    s: Name
    b: NonNegative
    B: NonNegative
    a: NonNegative
    A: NonNegative


class _Update(msgspec.Struct, frozen=True, gc=False):
    """Changes from id `U` to `u`; `full`: all of the book."""

    t: Milliseconds
    s: Name
    U: Number
    u: Number
    b: NumberLevels
    a: NumberLevels
    full: bool = False


class _Depth(msgspec.Struct, frozen=True, gc=False):
    """The best levels: a whole book each time."""

    t: Milliseconds
    s: Name
    bids: NumberLevels
    asks: NumberLevels


class Candle(msgspec.Struct, frozen=True, gc=False):
    """A candle: `n` interval and symbol, `t` start (s), `w` whether it is closed.

    `a` is the volume in base units; `v` is in quote units on spot, in contracts on futures.
    """

    t: Seconds
    n: Name
    o: Positive
    h: Positive
    l: Positive  # noqa: E741 - Gate's name
    c: Positive
    v: NonNegative
    a: NonNegative | None = None
    w: bool = False


class _Book(msgspec.Struct, frozen=True, gc=False):
    bids: NumberLevels
    asks: NumberLevels
    id: Number | None = None
    current: Milliseconds | None = None


FRAME = msgspec.json.Decoder(Frame, strict=False)
_BOOK = msgspec.json.Decoder(_Book, strict=False)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame or REST answer; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return _answer(answer)
    frame = read(FRAME, value)
    if frame.control:
        return LeftOut(frame.control)
    if frame.channel == "spot.tickers":
        return LeftOut("ticker")
    reader = _READERS.get(frame.channel)
    if reader is None:
        raise DecodeError(f"expected a channel of Gate's spot market, got {shown(frame.channel)}", path="$.channel")
    decoder, build = reader
    return build(read(decoder, frame.result))


def book_limit(answer: RestAnswer) -> int:
    """Return how many levels of a side were asked for; Gate gives 10 where the request names none."""
    text = answer.argument("limit")
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 4 else 10  # noqa: PLR2004 - at most 9999


def bar(candle: Candle, instrument_id: str, volume: float) -> Bar:
    """Return a closed candle; raises DecodeError."""
    if not candle.l <= min(candle.o, candle.c) <= max(candle.o, candle.c) <= candle.h:
        raise DecodeError(f"expected low <= open, close <= high, got {shown(candle)}", path="$.result")
    interval = interval_ns(candle.n.partition("_")[0])
    return Bar(
        instrument_id=instrument_id,
        venue=instrument_id.partition(":")[0],
        event_time_ns=candle.t * _SECOND + interval - 1,
        open=candle.o,
        high=candle.h,
        low=candle.l,
        close=candle.c,
        volume=volume,
        interval_ns=interval,
    )


def _answer(answer: RestAnswer) -> _Made:
    if answer.path.endswith("/spot/currency_pairs"):
        return LeftOut("instrument-list")
    if not answer.path.endswith("/spot/order_book"):
        return LeftOut("rest-answer")
    book = read(_BOOK, answer.data)
    if book.id is None:
        return LeftOut("book-without-id")
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, answer.argument("currency_pair"), "_"),
            venue=_VENUE,
            event_time_ns=(book.current or 0) * _MS,
            bids=book.bids,
            asks=book.asks,
            snapshot=True,
            last=book.id,
            limit=book_limit(answer),
        )
    ]


def _trade(trade: _Trade) -> _Made:
    milliseconds, _, parts = trade.create_time_ms.partition(".")
    return [
        Trade(
            instrument_id=of_parts(_VENUE, trade.currency_pair, "_"),
            venue=_VENUE,
            event_time_ns=int(milliseconds) * _MS + int(f"{parts:0<6}"[:6]),
            sequence=trade.id,
            price=trade.price,
            size=trade.amount,
            side=1 if trade.side == "buy" else -1,
        )
    ]


def _quote(best: _Quote) -> _Made:
    made = quote(of_parts(_VENUE, best.s, "_"), best.t * _MS, (best.b, best.B), (best.a, best.A), best.u)
    return made if isinstance(made, LeftOut) else [made]


def _update(update: _Update) -> _Made:
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, update.s, "_"),
            venue=_VENUE,
            event_time_ns=update.t * _MS,
            bids=update.b,
            asks=update.a,
            snapshot=update.full,
            first=update.U,
            last=update.u,
        )
    ]


def _depth(depth: _Depth) -> _Made:
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, depth.s, "_"),
            venue=_VENUE,
            event_time_ns=depth.t * _MS,
            bids=depth.bids,
            asks=depth.asks,
            snapshot=True,
        )
    ]


def _candle(candle: Candle) -> _Made:
    if not candle.w:
        return LeftOut("open-candle")
    if candle.a is None:
        return LeftOut("candle-without-base-volume")
    return [bar(candle, of_parts(_VENUE, candle.n.partition("_")[2], "_"), candle.a)]


def _reader(kind: Any, build: Callable[[Any], _Made]) -> tuple[msgspec.json.Decoder[Any], Callable[[Any], _Made]]:
    return msgspec.json.Decoder(kind, strict=False), build


_READERS = {
    "spot.trades": _reader(_Trade, _trade),
    "spot.trades_v2": _reader(_Trade, _trade),
    "spot.book_ticker": _reader(_Quote, _quote),
    "spot.order_book_update": _reader(_Update, _update),
    "spot.order_book": _reader(_Depth, _depth),
    "spot.candlesticks": _reader(Candle, _candle),
}
