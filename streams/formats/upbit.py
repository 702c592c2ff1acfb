"""Upbit's stream in its SIMPLE format: trades, and whole books of 15 levels.

Symbols begin with what is paid: `KRW-BTC` is BTC-KRW here.

https://docs.upbit.com/kr/reference/websocket-guide
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.levels import MAX_LEVELS
from streams.formats.pairs import of_parts
from streams.formats.rest import rest_answer

FORMAT = "upbit-websocket"

_VENUE = "upbit"
_MS = 1_000_000
_Made = list[Event | BookChange] | LeftOut


class _Frame(msgspec.Struct, frozen=True, gc=False):
    ty: Annotated[str, Meta(max_length=32)] = ""
    status: str = ""
    error: msgspec.Raw = msgspec.Raw(b"")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """`ttms` is the time of the trade, `ab` the taker's side (ASK sells), `sid` its number."""

    cd: Name
    ttms: Milliseconds
    tp: Positive
    tv: Positive
    ab: Literal["ASK", "BID"]
    sid: Number


class _Unit(msgspec.Struct, frozen=True, gc=False):
    """One level of both sides; a side that ends before the other goes on with zeros."""

    ap: NonNegative
    bp: NonNegative
    as_: NonNegative = msgspec.field(name="as")
    bs: NonNegative


class _Book(msgspec.Struct, frozen=True, gc=False):
    cd: Name
    tms: Milliseconds
    obu: Annotated[list[_Unit], Meta(max_length=MAX_LEVELS)]


_FRAME = msgspec.json.Decoder(_Frame)
_TRADE = msgspec.json.Decoder(_Trade)
_BOOK = msgspec.json.Decoder(_Book)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return LeftOut("instrument-list" if answer.path.endswith("/market/all") else "rest-answer")
    frame = read(_FRAME, value)
    if frame.ty == "trade":
        return [_trade(read(_TRADE, value))]
    if frame.ty == "orderbook":
        return [_book(read(_BOOK, value))]
    if frame.ty == "ticker" or frame.ty.startswith("candle"):
        return LeftOut(frame.ty.partition(".")[0])
    if frame.status or bytes(frame.error):
        return LeftOut("status" if frame.status else "error")
    raise DecodeError(f"expected a trade or an orderbook of Upbit's SIMPLE format, got {shown(frame.ty)}", path="$.ty")


def _trade(trade: _Trade) -> Trade:
    return Trade(
        instrument_id=_instrument(trade.cd),
        venue=_VENUE,
        event_time_ns=trade.ttms * _MS,
        sequence=trade.sid,
        price=trade.tp,
        size=trade.tv,
        side=1 if trade.ab == "BID" else -1,
    )


def _book(book: _Book) -> BookChange:
    return BookChange(
        instrument_id=_instrument(book.cd),
        venue=_VENUE,
        event_time_ns=book.tms * _MS,
        bids=[(unit.bp, unit.bs) for unit in book.obu if unit.bp],
        asks=[(unit.ap, unit.as_) for unit in book.obu if unit.ap],
        snapshot=True,
        limit=len(book.obu),
    )


def _instrument(code: str) -> str:
    quoted, _, base = code.partition("-")
    return of_parts(_VENUE, f"{base}-{quoted}", "-")
