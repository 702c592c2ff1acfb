"""bitFlyer's stream: executions, tickers and boards. A whole board comes every few seconds.

Boards carry neither number nor time.

https://bf-lightning-api.readme.io/docs/realtime-board
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.expiries import day_of_text
from streams.formats.fields import Name, NonNegative, Number, Positive, read, shown, time_ns
from streams.formats.levels import MAX_LEVELS
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "bitflyer-websocket"

_VENUE = "bitflyer"
_Made = list[Event | BookChange] | LeftOut
_CHANNEL = re.compile(r"lightning_(board_snapshot|board|ticker|executions)_([A-Z0-9_]{1,40})")
_SPOT = re.compile(r"(FX_)?([A-Z0-9]{1,20})_([A-Z]{3,4})")
_FUTURE = re.compile(r"([A-Z0-9]{1,20}?)(JPY|USD|EUR)([0-9]{2}[A-Z]{3})20([0-9]{2})")
_NO_STREAM = frozenset({"CLOSED", "STOP", "MATURED", "AWAITING SQ", "STARTING", "PREOPEN", "CIRCUIT BREAK"})


class _Params(msgspec.Struct, frozen=True, gc=False):
    channel: Annotated[str, Meta(max_length=128)]
    message: msgspec.Raw


class _Frame(msgspec.Struct, frozen=True, gc=False):
    method: Annotated[str, Meta(max_length=64)] = ""
    params: _Params | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Execution(msgspec.Struct, frozen=True, gc=False):
    """A trade; `side` is the taker's, empty for one that an auction made."""

    id: Number
    side: Literal["BUY", "SELL", ""]
    price: Positive
    size: Positive
    exec_date: Name


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    state: Annotated[str, Meta(max_length=32)]
    timestamp: Name
    tick_id: Number
    best_bid: NonNegative
    best_ask: NonNegative
    best_bid_size: NonNegative
    best_ask_size: NonNegative


class _Level(msgspec.Struct, frozen=True, gc=False):
    """A level; at price 0 stand the market orders of an auction."""

    price: NonNegative
    size: NonNegative


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Board(msgspec.Struct, frozen=True, gc=False):
    bids: _Levels
    asks: _Levels


_FRAME = msgspec.json.Decoder(_Frame)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    frame = read(_FRAME, value)
    if frame.params is None and (bytes(frame.result) or bytes(frame.error)):
        return LeftOut("answer")
    match = None if frame.params is None else _CHANNEL.fullmatch(frame.params.channel)
    if frame.params is None or match is None:
        raise DecodeError(f"expected a channel of bitFlyer, got {value[:80]!r}", path="$.params.channel")
    decoder, build = _READERS[match[1]]
    return build(read(decoder, frame.params.message), _instrument(match[2]))


def _executions(executions: list[_Execution], instrument_id: str) -> _Made:
    made: list[Event | BookChange] = [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=time_ns(execution.exec_date, "$.params.message.exec_date"),
            sequence=execution.id,
            price=execution.price,
            size=execution.size,
            side=1 if execution.side == "BUY" else -1,
        )
        for execution in executions
        if execution.side
    ]
    return made or LeftOut("auction-trade" if executions else "no-trades")


def _ticker(ticker: _Ticker, instrument_id: str) -> _Made:
    if ticker.state in _NO_STREAM:
        return LeftOut("ticker-without-trading")
    time = time_ns(ticker.timestamp, "$.params.message.timestamp")
    bid, ask = (ticker.best_bid, ticker.best_bid_size), (ticker.best_ask, ticker.best_ask_size)
    made = quote(instrument_id, time, bid, ask, ticker.tick_id)
    return made if isinstance(made, LeftOut) else [made]


def _board(board: _Board, instrument_id: str) -> _Made:
    return [_change(board, instrument_id, snapshot=False)]


def _whole_board(board: _Board, instrument_id: str) -> _Made:
    return [_change(board, instrument_id, snapshot=True)]


def _change(board: _Board, instrument_id: str, *, snapshot: bool) -> BookChange:
    return BookChange(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=0,
        bids=[(level.price, level.size) for level in board.bids if level.price],
        asks=[(level.price, level.size) for level in board.asks if level.price],
        snapshot=snapshot,
        limit=_LIMIT if snapshot else 0,
    )


@lru_cache(maxsize=65_536)
def _instrument(product: str) -> str:
    """Return the instrument of a product; FX_BTC_JPY is a contract without an end."""
    if match := _SPOT.fullmatch(product):
        return f"{_VENUE}:{match[2]}-{match[3]}{'-PERP' if match[1] else ''}"
    match = _FUTURE.fullmatch(product)
    day = "" if match is None else day_of_text(match[3] + match[4])
    if match is None or not day:
        raise DecodeError(f"expected a product such as BTC_JPY, got {shown(product)}", path="$.params.channel")
    return f"{_VENUE}:{match[1]}-{match[2]}-{day}"


def _reader(kind: Any, build: Callable[..., _Made]) -> tuple[msgspec.json.Decoder[Any], Callable[..., _Made]]:
    return msgspec.json.Decoder(kind), build


_LIMIT = 300
"""Levels of a side that a whole board holds at most."""
_READERS = {
    "executions": _reader(list[_Execution], _executions),
    "ticker": _reader(_Ticker, _ticker),
    "board": _reader(_Board, _board),
    "board_snapshot": _reader(_Board, _whole_board),
}
