"""Coinbase's Advanced Trade stream: trades, tickers and level-2 books of its spot markets.

Each frame has a number that counts all frames of the connection, so a gap in one book cannot be
told from a frame of another channel. `side` of a trade is the maker's.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Name, NonNegative, Number, Positive, read, shown, time_ns
from streams.formats.levels import MAX_LEVELS
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "coinbase-websocket"

_VENUE = "coinbase"
_Made = list[Event | BookChange] | LeftOut
_SPOT = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")
_CONTRACT = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")


class _Frame(msgspec.Struct, frozen=True, gc=False):
    """As much of any frame as says what it is; `type` is of answers in the old form."""

    channel: Annotated[str, Meta(max_length=64)] = ""
    type: Annotated[str, Meta(max_length=64)] = ""
    timestamp: Annotated[str, Meta(max_length=64)] = ""
    events: msgspec.Raw = msgspec.Raw(b"[]")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    product_id: Name
    trade_id: Number
    price: Positive
    size: Positive
    time: Name
    side: Literal["BUY", "SELL"]


class _Trades(msgspec.Struct, frozen=True, gc=False):
    """Trades; a snapshot holds those from before the subscription."""

    type: Literal["snapshot", "update"]
    trades: list[_Trade]


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """Best prices; empty where a side is."""

    product_id: Name
    best_bid: NonNegative | Literal[""] = ""
    best_ask: NonNegative | Literal[""] = ""
    best_bid_quantity: NonNegative | Literal[""] = ""
    best_ask_quantity: NonNegative | Literal[""] = ""


class _Tickers(msgspec.Struct, frozen=True, gc=False):
    tickers: list[_Ticker]


class _Level(msgspec.Struct, frozen=True, gc=False):
    side: Literal["bid", "offer"]
    event_time: Name
    price_level: Positive
    new_quantity: NonNegative


class _Book(msgspec.Struct, frozen=True, gc=False):
    type: Literal["snapshot", "update"]
    product_id: Name
    updates: Annotated[list[_Level], Meta(max_length=2 * MAX_LEVELS)]


_FRAME = msgspec.json.Decoder(_Frame)
_LEFT_OUT = {"candles": "candle", "heartbeats": "heartbeat", "subscriptions": "subscription", "status": "status"}
"""Channels that are not read, and how they are counted."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    frame = read(_FRAME, value)
    if frame.channel in _LEFT_OUT:
        return LeftOut(_LEFT_OUT[frame.channel])
    if not frame.channel and frame.type == "error":
        return LeftOut("error")
    reader = _READERS.get(frame.channel)
    if reader is None:
        raise DecodeError(f"expected a channel of Coinbase, got {shown(frame.channel)}", path="$.channel")
    decoder, build = reader
    return build(read(decoder, frame.events), frame)


def _trades(events: list[_Trades], _frame: _Frame) -> _Made:
    updates = [event for event in events if event.type == "update"]
    if events and not updates:
        return LeftOut("trade-history")
    named = [(trade, _instrument(trade.product_id)) for event in updates for trade in event.trades]
    made: list[Event | BookChange] = [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=time_ns(trade.time, "$.events.trades.time"),
            sequence=trade.trade_id,
            price=trade.price,
            size=trade.size,
            side=1 if trade.side == "SELL" else -1,
        )
        for trade, instrument_id in named
        if instrument_id
    ]
    return made or LeftOut("contracts" if named else "no-trades")


def _tickers(events: list[_Tickers], frame: _Frame) -> _Made:
    time = time_ns(frame.timestamp, "$.timestamp")
    made: list[Event | BookChange] = []
    left_out = LeftOut("no-tickers")
    for ticker in (ticker for event in events for ticker in event.tickers):
        instrument_id = _instrument(ticker.product_id)
        bid = (ticker.best_bid or 0.0, ticker.best_bid_quantity or 0.0)
        ask = (ticker.best_ask or 0.0, ticker.best_ask_quantity or 0.0)
        best = quote(instrument_id, time, bid, ask) if instrument_id else LeftOut("contracts")
        if isinstance(best, LeftOut):
            left_out = best
        else:
            made.append(best)
    return made or left_out


def _books(events: list[_Book], _frame: _Frame) -> _Made:
    named = [(book, _instrument(book.product_id)) for book in events]
    made: list[Event | BookChange] = [_book(book, instrument_id) for book, instrument_id in named if instrument_id]
    return made or LeftOut("contracts" if named else "no-levels")


def _book(book: _Book, instrument_id: str) -> BookChange:
    # All levels of a frame have one time, so each text is read once.
    times = {level.event_time for level in book.updates}
    return BookChange(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=max((time_ns(time, "$.events.updates.event_time") for time in times), default=0),
        bids=[(level.price_level, level.new_quantity) for level in book.updates if level.side == "bid"],
        asks=[(level.price_level, level.new_quantity) for level in book.updates if level.side == "offer"],
        snapshot=book.type == "snapshot",
    )


@lru_cache(maxsize=65_536)
def _instrument(product: str) -> str:
    """Return the instrument of a product, "" for futures, whose sizes are in contracts."""
    if _SPOT.fullmatch(product):
        return f"{_VENUE}:{product}"
    if _CONTRACT.fullmatch(product):
        return ""
    raise DecodeError(f"expected a product such as BTC-USD, got {shown(product)}", path="$.events.product_id")


def _reader(
    kind: Any, build: Callable[[Any, _Frame], _Made]
) -> tuple[msgspec.json.Decoder[Any], Callable[[Any, _Frame], _Made]]:
    return msgspec.json.Decoder(list[kind], strict=False), build


_READERS = {
    "market_trades": _reader(_Trades, _trades),
    "ticker": _reader(_Tickers, _tickers),
    "ticker_batch": _reader(_Tickers, _tickers),
    "l2_data": _reader(_Book, _books),
}
