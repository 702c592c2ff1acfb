"""Poloniex's public stream (v2): trades, whole books of a few levels, level-2 changes of 20 levels.

A change says which id it joins (`lastId`) and its own (`id`).

https://api-docs.poloniex.com/spot/websocket/market-data
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Milliseconds, Name, Number, Positive, read, shown
from streams.formats.levels import NumberLevels
from streams.formats.pairs import of_parts
from streams.formats.rest import rest_answer

FORMAT = "poloniex-websocket"

_VENUE = "poloniex"
_MS = 1_000_000
_DEPTH = 20
_Made = list[Event | BookChange] | LeftOut


class _Frame(msgspec.Struct, frozen=True, gc=False):
    channel: Annotated[str, Meta(max_length=64)] = ""
    event: Annotated[str, Meta(max_length=64)] = ""
    action: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    symbol: Name
    id: Number
    createTime: Milliseconds  # noqa: N815 - Poloniex's names
    price: Positive
    quantity: Positive
    takerSide: Literal["buy", "sell"]  # noqa: N815


class _Book(msgspec.Struct, frozen=True, gc=False):
    """`createTime` is the time of the change, `ts` that of the frame."""

    symbol: Name
    createTime: Milliseconds  # noqa: N815 - Poloniex's names
    asks: NumberLevels
    bids: NumberLevels
    id: Number
    ts: Milliseconds
    lastId: Number = -1  # noqa: N815


_FRAME = msgspec.json.Decoder(_Frame)
_TRADES = msgspec.json.Decoder(list[_Trade], strict=False)
_BOOKS = msgspec.json.Decoder(list[_Book], strict=False)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return LeftOut("instrument-list" if answer.path == "/markets" else "rest-answer")
    frame = read(_FRAME, value)
    if frame.event:
        known = {"subscribe": "subscription", "unsubscribe": "subscription", "pong": "pong"}
        return LeftOut(known.get(frame.event, "error"))
    if frame.channel == "trades":
        return _trades(read(_TRADES, frame.data))
    if frame.channel in {"book", "book_lv2"}:
        return _books(read(_BOOKS, frame.data), frame)
    if frame.channel == "ticker":
        return LeftOut("ticker")
    if frame.channel.startswith("candles_"):
        return LeftOut("candle")
    raise DecodeError(f"expected a channel of Poloniex, got {shown(frame.channel)}", path="$.channel")


def _trades(trades: list[_Trade]) -> _Made:
    return [
        Trade(
            instrument_id=of_parts(_VENUE, trade.symbol, "_"),
            venue=_VENUE,
            event_time_ns=trade.createTime * _MS,
            sequence=trade.id,
            price=trade.price,
            size=trade.quantity,
            side=1 if trade.takerSide == "buy" else -1,
        )
        for trade in trades
    ] or LeftOut("nothing-in-it")


def _books(books: list[_Book], frame: _Frame) -> _Made:
    level2 = frame.channel == "book_lv2"
    if level2 and frame.action not in {"snapshot", "update"}:
        raise DecodeError(f"expected snapshot or update, got {shown(frame.action)}", path="$.action")
    snapshot = not level2 or frame.action == "snapshot"
    return [
        BookChange(
            instrument_id=of_parts(_VENUE, book.symbol, "_"),
            venue=_VENUE,
            # The last change before a snapshot may be hours old.
            event_time_ns=(book.ts if snapshot else book.createTime) * _MS,
            bids=book.bids,
            asks=book.asks,
            snapshot=snapshot,
            last=book.id,
            previous=-1 if snapshot else book.lastId,
            depth=_DEPTH if level2 else 0,
            limit=0 if level2 else max(len(book.asks), len(book.bids)),
        )
        for book in books
    ] or LeftOut("nothing-in-it")
