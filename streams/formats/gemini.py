"""Gemini's stream (version 2): trades and level-2 changes; the first frame of a market holds its book.

Changes carry neither number nor time. Perpetuals count their sizes in the base asset.

https://docs.gemini.com/websocket/market-data/v2
"""

import re
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange, NumberLevel
from streams.formats.fields import Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.levels import MAX_LEVELS
from streams.formats.rest import rest_answer

FORMAT = "gemini-websocket"

_VENUE = "gemini"
_MS = 1_000_000
_Made = list[Event | BookChange] | LeftOut
_SYMBOL = re.compile(
    r"(?P<base>PAXG|USDG|[A-Z0-9]{1,20}?)(?P<quote>RLUSD|GUSD|USDC|USDT|USD|EUR|GBP|SGD|BTC|ETH|SOL|FIL)(?P<perpetual>PERP)?"
)
"""PAXGUSD is PAXG in USD, where ABCGUSD is ABC in GUSD: as listed on 2026-08-09."""


class _Frame(msgspec.Struct, frozen=True, gc=False):
    type: Annotated[str, Meta(max_length=64)] = ""
    result: Annotated[str, Meta(max_length=64)] = ""


class _Change(msgspec.Struct, frozen=True, gc=False, array_like=True):
    side: Literal["buy", "sell"]
    price: Positive
    quantity: NonNegative


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `side` is the taker's."""

    symbol: Name
    tid: Number
    price: Positive
    quantity: Positive
    side: Literal["buy", "sell"]
    timestamp: Milliseconds


class _Levels(msgspec.Struct, frozen=True, gc=False):
    """Changes of a book. With `trades`, those from before the subscription, it is the whole book."""

    symbol: Name
    changes: Annotated[list[_Change], Meta(max_length=2 * MAX_LEVELS)]
    trades: list[msgspec.Raw] | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_TRADE = msgspec.json.Decoder(_Trade, strict=False)
_LEVELS = msgspec.json.Decoder(_Levels, strict=False)
_LEFT_OUT = {"heartbeat": "heartbeat", "auction": "auction", "candles": "candle", "subscription": "subscription"}
"""Beginnings of types that are not read (`candles_1m_updates`), and how they are counted."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    frame = read(_FRAME, value)
    if frame.type == "l2_updates":
        return _levels(read(_LEVELS, value))
    if frame.type == "trade":
        return [_trade(read(_TRADE, value))]
    for beginning, kind in _LEFT_OUT.items():
        if frame.type.startswith(beginning):
            return LeftOut(kind)
    if not frame.type and frame.result == "error":
        return LeftOut("error")
    raise DecodeError(f"expected a frame of Gemini, got {shown(frame.type)}", path="$.type")


def _levels(levels: _Levels) -> _Made:
    return [
        BookChange(
            instrument_id=_instrument(levels.symbol),
            venue=_VENUE,
            event_time_ns=0,
            bids=_side(levels.changes, "buy"),
            asks=_side(levels.changes, "sell"),
            snapshot=levels.trades is not None,
        )
    ]


def _side(changes: list[_Change], side: str) -> list[NumberLevel]:
    return [(change.price, change.quantity) for change in changes if change.side == side]


def _trade(trade: _Trade) -> Event:
    return Trade(
        instrument_id=_instrument(trade.symbol),
        venue=_VENUE,
        event_time_ns=trade.timestamp * _MS,
        sequence=trade.tid,
        price=trade.price,
        size=trade.quantity,
        side=1 if trade.side == "buy" else -1,
    )


@lru_cache(maxsize=65_536)
def _instrument(symbol: str) -> str:
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise DecodeError(f"expected a symbol such as BTCUSD, got {shown(symbol)}", path="$.symbol")
    return f"{_VENUE}:{'-'.join(part for part in match.groups() if part)}"
