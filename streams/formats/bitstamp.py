"""Bitstamp's stream: trades and level-2 changes, and the REST books that the changes join.

Changes carry no number: their `microtimestamp` rises, and those at or before the time of a REST book
are in it.

https://www.bitstamp.net/websocket/v2/
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import LAST_NS, Number, Positive, read, shown
from streams.formats.levels import NumberLevels
from streams.formats.rest import RestAnswer, rest_answer

FORMAT = "bitstamp-websocket"

_VENUE = "bitstamp"
_US = 1_000
_Made = list[Event | BookChange] | LeftOut
_PAIR = re.compile(r"([a-z0-9]{1,20}?)(usdt|usdc|usd|eur|gbp|btc|eth|pax)")
_Microseconds = Annotated[int, Meta(ge=1, le=LAST_NS // _US)]


class _Frame(msgspec.Struct, frozen=True, gc=False):
    event: Annotated[str, Meta(max_length=64)]
    channel: Annotated[str, Meta(max_length=64)] = ""
    data: msgspec.Raw = msgspec.Raw(b"")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `type` of the taker: 0 buys, 1 sells."""

    id: Number
    amount_str: Positive
    price_str: Positive
    type: Literal[0, 1]
    microtimestamp: _Microseconds


class _Book(msgspec.Struct, frozen=True, gc=False):
    microtimestamp: _Microseconds
    bids: NumberLevels
    asks: NumberLevels


_FRAME = msgspec.json.Decoder(_Frame)
_BOOK = msgspec.json.Decoder(_Book, strict=False)
_TRADE = msgspec.json.Decoder(_Trade, strict=False)
_BEST_LEVELS = 100
"""What `order_book` holds of a side, whole each time."""
_LEFT_OUT = frozenset({"live_orders", "detail_order_book"})
_CONTROL = {
    "bts:subscription_succeeded": "subscription",
    "bts:unsubscription_succeeded": "subscription",
    "bts:request_reconnect": "notice",
    "bts:heartbeat": "heartbeat",
    "bts:error": "error",
}
"""Events of the connection, and how they are counted."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame or REST answer; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return _answer(answer)
    frame = read(_FRAME, value)
    if frame.event in _CONTROL:
        return LeftOut(_CONTROL[frame.event])
    channel, _, pair = frame.channel.rpartition("_")
    if channel in _LEFT_OUT:
        return LeftOut(channel)
    build = _READERS.get(channel)
    if build is None:
        raise DecodeError(f"expected a channel of Bitstamp, got {shown(frame.channel)}", path="$.channel")
    return [build(frame.data, _instrument(pair))]


def _answer(answer: RestAnswer) -> _Made:
    if "/order_book/" in answer.path:
        return [_snapshot(answer.data, _instrument(answer.path.rpartition("/")[2]))]
    return LeftOut("instrument-list" if answer.path.endswith("/trading-pairs-info") else "rest-answer")


def _trade(data: msgspec.Raw, instrument_id: str) -> Event:
    trade = read(_TRADE, data)
    return Trade(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=trade.microtimestamp * _US,
        sequence=trade.id,
        price=trade.price_str,
        size=trade.amount_str,
        side=-1 if trade.type else 1,
    )


def _change(data: msgspec.Raw, instrument_id: str) -> BookChange:
    return _of(read(_BOOK, data), instrument_id)


def _snapshot(data: msgspec.Raw, instrument_id: str) -> BookChange:
    return _of(read(_BOOK, data), instrument_id, snapshot=True)


def _best(data: msgspec.Raw, instrument_id: str) -> BookChange:
    return _of(read(_BOOK, data), instrument_id, snapshot=True, limit=_BEST_LEVELS)


def _of(book: _Book, instrument_id: str, *, snapshot: bool = False, limit: int = 0) -> BookChange:
    return BookChange(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=book.microtimestamp * _US,
        bids=book.bids,
        asks=book.asks,
        snapshot=snapshot,
        last=book.microtimestamp,
        limit=limit,
    )


@lru_cache(maxsize=65_536)
def _instrument(pair: str) -> str:
    match = _PAIR.fullmatch(pair)
    if match is None:
        raise DecodeError(f"expected a pair such as btcusd, got {shown(pair)}", path="$.channel")
    return f"{_VENUE}:{match[1].upper()}-{match[2].upper()}"


_READERS: dict[str, Callable[[Any, str], Event | BookChange]] = {
    "live_trades": _trade,
    "diff_order_book": _change,
    "order_book": _best,
}
