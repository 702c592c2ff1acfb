"""Bitget's public stream (v1): trades, tickers of contracts, level-2 books with checksums.

Sizes of contracts are in base units. Tickers of the spot market round prices to where bid and ask
meet, so its quotes come from the books. Candles do not say whether they are closed.

https://www.bitget.com/api-doc/common/websocket-intro
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Trade
from streams.formats.book import CHECKED_LEVELS, BookChange, TextLevel
from streams.formats.fields import Milliseconds, Name, NonNegative, Positive, read, shown
from streams.formats.levels import TextLevels
from streams.formats.pairs import of_word
from streams.formats.rest import rest_answer

FORMAT = "bitget-websocket"

_VENUE = "bitget"
_MS = 1_000_000
_Made = list[Event | BookChange] | LeftOut
_MARKETS = {"sp": "", "mc": "PERP"}
"""`instType`: spot and contracts, to the last part of an instrument's name."""
_QUOTES = {"sp": ("USDT", "USDC", "BTC", "ETH", "EUR", "BRL", "BGB"), "mc": ("USDT", "USDC", "USD")}
_PARTIAL = {"books1": 1, "books5": 5, "books15": 15}


class _Argument(msgspec.Struct, frozen=True, gc=False):
    instType: Name = ""  # noqa: N815 - Bitget's names
    channel: Name = ""
    instId: Name = ""  # noqa: N815


class _Frame(msgspec.Struct, frozen=True, gc=False):
    event: str = ""
    action: str = ""
    arg: _Argument = _Argument()
    data: msgspec.Raw = msgspec.Raw(b"")


_Row = tuple[Milliseconds, Positive, Positive, Literal["buy", "sell"]]
"""A trade: time, price, size, side of the taker."""


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """State of a contract; `capitalRate` is the funding rate, `holding` the open interest."""

    systemTime: Milliseconds  # noqa: N815 - Bitget's names
    markPrice: Positive  # noqa: N815
    indexPrice: Positive  # noqa: N815
    capitalRate: Annotated[float, Meta(ge=-10, le=10)]  # noqa: N815
    nextSettleTime: Milliseconds  # noqa: N815
    holding: NonNegative


class _Book(msgspec.Struct, frozen=True, gc=False):
    bids: TextLevels
    asks: TextLevels
    ts: Milliseconds
    checksum: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_TRADES = msgspec.json.Decoder(list[_Row], strict=False)
_TICKERS = msgspec.json.Decoder(list[_Ticker], strict=False)
_BOOKS = msgspec.json.Decoder(list[_Book], strict=False)
_CANDLES = msgspec.json.Decoder(list[list[str]])


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if value == b"pong":
        return LeftOut("pong")
    answer = rest_answer(value)
    if answer is not None:
        known = answer.path.endswith(("/public/products", "/market/contracts"))
        return LeftOut("instrument-list" if known else "rest-answer")
    frame = read(_FRAME, value)
    if frame.event:
        return LeftOut("error" if frame.event == "error" else "subscription")
    market, channel = frame.arg.instType.lower(), frame.arg.channel
    if market not in _MARKETS:
        raise DecodeError(f"expected {' or '.join(_MARKETS)}, got {shown(market)}", path="$.arg.instType")
    if frame.action not in {"snapshot", "update"}:
        raise DecodeError(f"expected snapshot or update, got {shown(frame.action)}", path="$.action")
    instrument_id = of_word(_VENUE, frame.arg.instId, _QUOTES[market], _MARKETS[market])
    build = _build(channel)
    if build is None:
        raise DecodeError(f"expected a channel of Bitget, got {shown(channel)}", path="$.arg.channel")
    return build(frame, instrument_id)


def _build(channel: str) -> Callable[[_Frame, str], _Made] | None:
    if channel.startswith("candle"):
        return _candles
    return _READERS.get(channel)


def _trades(frame: _Frame, instrument_id: str) -> _Made:
    rows = read(_TRADES, frame.data)
    # The first frame repeats up to an hour of trades, without ids to know them by.
    if frame.action == "snapshot":
        return LeftOut("trade-history")
    return [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=time * _MS,
            price=price,
            size=size,
            side=1 if side == "buy" else -1,
        )
        for time, price, size, side in rows
    ] or LeftOut("nothing-in-it")


def _tickers(frame: _Frame, instrument_id: str) -> _Made:
    if not instrument_id.endswith("-PERP"):
        read(_ANYTHING, frame.data)
        return LeftOut("ticker")
    return [
        Derivative(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=ticker.systemTime * _MS,
            mark_price=ticker.markPrice,
            index_price=ticker.indexPrice,
            funding_rate=ticker.capitalRate,
            next_funding_time_ns=ticker.nextSettleTime * _MS,
            open_interest=ticker.holding,
        )
        for ticker in read(_TICKERS, frame.data)
    ] or LeftOut("nothing-in-it")


def _books(frame: _Frame, instrument_id: str) -> _Made:
    limit = _PARTIAL.get(frame.arg.channel, 0)
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=book.ts * _MS,
            bids=book.bids,
            asks=book.asks,
            snapshot=frame.action == "snapshot" or limit > 0,
            limit=limit,
            check=None if limit or book.checksum is None else partial(has_checksum, book.checksum),
        )
        for book in read(_BOOKS, frame.data)
    ] or LeftOut("nothing-in-it")


def has_checksum(checksum: int, bids: Sequence[TextLevel], asks: Sequence[TextLevel]) -> bool:
    """Return whether a book's best 25 levels, bids and asks in turn, have this CRC-32 (signed).

    >>> has_checksum(zlib.crc32(b"9:1:10:2:8:3"), [("9", "1"), ("8", "3")], [("10", "2")])
    True
    """
    sides = zip_longest(bids[:CHECKED_LEVELS], asks[:CHECKED_LEVELS])
    text = ":".join(f"{level[0]}:{level[1]}" for level in chain.from_iterable(sides) if level is not None)
    return zlib.crc32(text.encode()) == checksum & 0xFFFFFFFF


def _candles(frame: _Frame, _instrument_id: str) -> _Made:
    read(_CANDLES, frame.data)
    return LeftOut("candle-history" if frame.action == "snapshot" else "candle")


_ANYTHING = msgspec.json.Decoder(list[dict[str, Any]])
_READERS = {"trade": _trades, "ticker": _tickers, **dict.fromkeys(("books", *_PARTIAL), _books)}
