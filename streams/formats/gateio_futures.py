"""Gate's USDT futures stream: trades, best prices, tickers, candles, level-2 changes and the REST book.

Sizes are in contracts of so many base units each; what a contract of unknown size says is left out.

https://www.gate.com/docs/developers/futures/ws/en/
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Trade
from schemas.events import UNKNOWN
from streams.formats.book import BookChange, NumberLevel
from streams.formats.fields import LAST_NS, Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.gateio import FRAME, Candle, Frame, bar, book_limit
from streams.formats.gateio_contracts import CONTRACT_SIZES
from streams.formats.levels import MAX_LEVELS
from streams.formats.pairs import of_parts
from streams.formats.quotes import quote
from streams.formats.rest import RestAnswer, rest_answer

FORMAT = "gateio-futures-websocket"

_VENUE = "gateio-futures"
_MS = 1_000_000
_Made = list[Event | BookChange] | LeftOut
_UNKNOWN_SIZE = LeftOut("contract-of-unknown-size")
_Rate = Annotated[float, Meta(ge=-10, le=10)]


class _Level(msgspec.Struct, frozen=True, gc=False):
    p: Positive
    s: NonNegative


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """`size` is below 0 where the taker sold."""

    id: Number
    size: Annotated[float, Meta(ge=-1e18, le=1e18)]
    create_time_ms: Milliseconds
    price: Positive
    contract: Name


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
    b: _Levels
    a: _Levels
    full: bool = False


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """State of a contract; `total_size` is the open interest in contracts."""

    contract: Name
    mark_price: Positive | None = None
    index_price: Positive | None = None
    funding_rate: _Rate | None = None
    total_size: NonNegative | None = None


class _Book(msgspec.Struct, frozen=True, gc=False):
    """`current` is the time of the answer (s), `update` that of the last change."""

    bids: _Levels
    asks: _Levels
    id: Number | None = None
    current: Annotated[float, Meta(ge=0, le=LAST_NS // 1_000_000_000)] = 0.0


_BOOK = msgspec.json.Decoder(_Book, strict=False)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame or REST answer; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return _answer(answer)
    frame = read(FRAME, value)
    if frame.control:
        return LeftOut(frame.control)
    if frame.channel in {"futures.order_book", "futures.public_liquidates"}:
        return LeftOut(frame.channel.rpartition(".")[2])
    reader = _READERS.get(frame.channel)
    if reader is None:
        raise DecodeError(f"expected a channel of Gate's futures, got {shown(frame.channel)}", path="$.channel")
    decoder, build = reader
    return build(read(decoder, frame.result), frame)


def _answer(answer: RestAnswer) -> _Made:
    if answer.path.endswith("/contracts"):
        return LeftOut("instrument-list")
    if not answer.path.endswith("/futures/usdt/order_book"):
        return LeftOut("rest-answer")
    book = read(_BOOK, answer.data)
    name = answer.argument("contract")
    instrument_id, size = _instrument(name), CONTRACT_SIZES.get(name)
    if book.id is None:
        return LeftOut("book-without-id")
    if size is None:
        return _UNKNOWN_SIZE
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=round(book.current * 1_000) * _MS,
            bids=_levels(book.bids),
            asks=_levels(book.asks),
            snapshot=True,
            last=book.id,
            limit=book_limit(answer),
            size_unit=size,
        )
    ]


def _trades(trades: list[_Trade], _frame: Frame) -> _Made:
    made: list[Event | BookChange] = []
    for trade in trades:
        instrument_id, size = _instrument(trade.contract), CONTRACT_SIZES.get(trade.contract)
        if size is None or not trade.size:
            continue
        made.append(
            Trade(
                instrument_id=instrument_id,
                venue=_VENUE,
                event_time_ns=trade.create_time_ms * _MS,
                sequence=trade.id,
                price=trade.price,
                size=abs(trade.size) * size,
                side=1 if trade.size > 0 else -1,
            )
        )
    return made or _UNKNOWN_SIZE


def _quote(best: _Quote, _frame: Frame) -> _Made:
    instrument_id, size = _instrument(best.s), CONTRACT_SIZES.get(best.s)
    if size is None:
        return _UNKNOWN_SIZE
    made = quote(instrument_id, best.t * _MS, (best.b, best.B * size), (best.a, best.A * size), best.u)
    return made if isinstance(made, LeftOut) else [made]


def _update(update: _Update, _frame: Frame) -> _Made:
    instrument_id, size = _instrument(update.s), CONTRACT_SIZES.get(update.s)
    if size is None:
        return _UNKNOWN_SIZE
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=update.t * _MS,
            bids=_levels(update.b),
            asks=_levels(update.a),
            snapshot=update.full,
            first=update.U,
            last=update.u,
            size_unit=size,
        )
    ]


def _tickers(tickers: list[_Ticker], frame: Frame) -> _Made:
    made: list[Event | BookChange] = []
    for ticker in tickers:
        size = CONTRACT_SIZES.get(ticker.contract)
        known = size is not None and ticker.total_size is not None
        made.append(
            Derivative(
                instrument_id=_instrument(ticker.contract),
                venue=_VENUE,
                event_time_ns=frame.time_ms * _MS,
                mark_price=_or_unknown(ticker.mark_price),
                index_price=_or_unknown(ticker.index_price),
                funding_rate=_or_unknown(ticker.funding_rate),
                open_interest=(ticker.total_size or 0.0) * (size or 0.0) if known else UNKNOWN,
            )
        )
    return made or LeftOut("nothing-in-it")


def _candles(candles: list[Candle], _frame: Frame) -> _Made:
    closed = [candle for candle in candles if candle.w]
    if not closed:
        return LeftOut("open-candle")
    made: list[Event | BookChange] = []
    for candle in closed:
        name = candle.n.partition("_")[2]
        size = CONTRACT_SIZES.get(name)
        if size is not None:
            made.append(bar(candle, _instrument(name), candle.v * size))
    return made or _UNKNOWN_SIZE


def _or_unknown(number: float | None) -> float:
    return UNKNOWN if number is None else number


def _levels(levels: Sequence[_Level]) -> list[NumberLevel]:
    return [(level.p, level.s) for level in levels]


def _instrument(contract: str) -> str:
    """Return the instrument of `BTC_USDT`, a perpetual. Dated contracts are of another stream."""
    return of_parts(_VENUE, contract, "_", "PERP")


_Build = Callable[[Any, Frame], _Made]


def _reader(kind: Any, build: _Build) -> tuple[msgspec.json.Decoder[Any], _Build]:
    return msgspec.json.Decoder(kind, strict=False), build


_READERS = {
    "futures.trades": _reader(list[_Trade], _trades),
    "futures.book_ticker": _reader(_Quote, _quote),
    "futures.order_book_update": _reader(_Update, _update),
    "futures.tickers": _reader(list[_Ticker], _tickers),
    "futures.candlesticks": _reader(list[Candle], _candles),
}
