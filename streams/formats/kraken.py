"""Kraken's spot stream (version 1): trades, best prices and level-2 books with their checksum.

Frames of data are lists `[channel number, data ..., channel name, pair]`. A book's `c` is the CRC32
of its ten best levels as written. Trades carry no id.

https://docs.kraken.com/api/docs/websocket-v1/book
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange, TextLevel
from streams.formats.fields import LAST_NS, NonNegative, Positive, read, shown
from streams.formats.levels import MAX_LEVELS, Digits
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "kraken-websocket"

_VENUE = "kraken"
_CHECKED_LEVELS = 10
_Made = list[Event | BookChange] | LeftOut
_Seconds = Annotated[str, Meta(pattern=r"^[0-9]{1,10}\.[0-9]{1,9}\Z")]
_Short = Annotated[str, Meta(max_length=64)]
_PART = re.compile(r"[A-Z0-9]{1,20}")
_ASSETS = {"XBT": "BTC", "XDG": "DOGE"}
"""Kraken's names of assets that the others call otherwise."""
_LEFT_OUT = {
    "heartbeat": "heartbeat",
    "pong": "heartbeat",
    "systemStatus": "status",
    "subscriptionStatus": "subscription",
    "error": "error",
}
"""Events, and how they are counted."""
_CHANNELS_LEFT_OUT = {"ohlc": "candle", "ticker": "ticker-of-prices"}
"""A ticker comes with trades alone, without a time: 18 in 30 s in which best prices changed 810 times."""


class _Told(msgspec.Struct, frozen=True, gc=False):
    event: _Short


class _Trade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Price, volume, time, side of the taker."""

    price: Positive
    volume: Positive
    time: _Seconds
    side: Literal["b", "s"]


class _Spread(msgspec.Struct, frozen=True, gc=False, array_like=True):
    bid: NonNegative
    ask: NonNegative
    time: _Seconds
    bid_volume: NonNegative
    ask_volume: NonNegative


class _Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A level; "r" stands behind one that the book had before and that came back into its depth."""

    price: Digits
    volume: Digits
    time: _Seconds


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Book(msgspec.Struct, frozen=True, gc=False):
    """A snapshot (`as`, `bs`), or changes of one side or both."""

    asks: Annotated[list[_Level], Meta(max_length=MAX_LEVELS)] | None = msgspec.field(default=None, name="as")
    bids: Annotated[list[_Level], Meta(max_length=MAX_LEVELS)] | None = msgspec.field(default=None, name="bs")
    a: _Levels = []
    b: _Levels = []
    c: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None


_TOLD = msgspec.json.Decoder(_Told)
_LIST = msgspec.json.Decoder(Annotated[list[msgspec.Raw], Meta(min_length=4, max_length=5)])
_TEXT = msgspec.json.Decoder(_Short)
_TRADES = msgspec.json.Decoder(list[_Trade], strict=False)
_SPREAD = msgspec.json.Decoder(_Spread, strict=False)
_BOOK = msgspec.json.Decoder(_Book, strict=False)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    if value.lstrip()[:1] == b"{":
        event = read(_TOLD, value).event
        if event not in _LEFT_OUT:
            raise DecodeError(f"expected an event of Kraken, got {shown(event)}", path="$.event")
        return LeftOut(_LEFT_OUT[event])
    _, *parts, channel, pair = read(_LIST, value)
    return _data(parts, read(_TEXT, channel), _instrument(read(_TEXT, pair)))


def _data(parts: list[msgspec.Raw], channel: str, instrument_id: str) -> _Made:
    name, _, option = channel.partition("-")
    if name == "book":
        return _book([read(_BOOK, part) for part in parts], instrument_id, _depth(option))
    if name == "trade":
        trades: list[Event | BookChange] = [_trade(trade, instrument_id) for trade in read(_TRADES, parts[0])]
        return trades or LeftOut("no-trades")
    if name == "spread":
        spread = read(_SPREAD, parts[0])
        bid, ask = (spread.bid, spread.bid_volume), (spread.ask, spread.ask_volume)
        made = quote(instrument_id, _nanoseconds(spread.time), bid, ask)
        return made if isinstance(made, LeftOut) else [made]
    if name in _CHANNELS_LEFT_OUT:
        return LeftOut(_CHANNELS_LEFT_OUT[name])
    raise DecodeError(f"expected a channel of Kraken, got {shown(channel)}")


def _trade(trade: _Trade, instrument_id: str) -> Event:
    return Trade(
        instrument_id=instrument_id,
        venue=_VENUE,
        event_time_ns=_nanoseconds(trade.time),
        price=trade.price,
        size=trade.volume,
        side=1 if trade.side == "b" else -1,
    )


def _book(parts: list[_Book], instrument_id: str, depth: int) -> _Made:
    snapshot = parts[0].asks is not None or parts[0].bids is not None
    bids = [level for part in parts for level in (*(part.bids or ()), *part.b)]
    asks = [level for part in parts for level in (*(part.asks or ()), *part.a)]
    checksum = parts[-1].c
    if not (snapshot or bids or asks):
        raise DecodeError("expected levels of a book, got none")
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            # A snapshot has the times of its levels alone, and the youngest may be of an hour ago.
            event_time_ns=0 if snapshot else max(_nanoseconds(level.time) for level in (*bids, *asks)),
            bids=[(level.price, level.volume) for level in bids],
            asks=[(level.price, level.volume) for level in asks],
            snapshot=snapshot,
            check=None if checksum is None else partial(_matches, checksum),
            depth=depth,
        )
    ]


def _matches(checksum: int, bids: Sequence[TextLevel], asks: Sequence[TextLevel]) -> bool:
    best = (*asks[:_CHECKED_LEVELS], *bids[:_CHECKED_LEVELS])
    text = "".join(part.replace(".", "").lstrip("0") for level in best for part in level)
    return zlib.crc32(text.encode()) == checksum


def _depth(option: str) -> int:
    if option in {"10", "25", "100", "500", "1000"}:
        return int(option)
    raise DecodeError(f"expected a book of 10, 25, 100, 500 or 1000 levels, got {shown(option)}")


def _nanoseconds(seconds: str) -> int:
    whole, _, parts = seconds.partition(".")
    time = int(whole) * 1_000_000_000 + int(parts.ljust(9, "0"))
    if not 0 < time <= LAST_NS:
        raise DecodeError(f"expected a time between 1970 and 2100, got {shown(seconds)}")
    return time


@lru_cache(maxsize=65_536)
def _instrument(pair: str) -> str:
    base, _, quoted = pair.partition("/")
    names = [_ASSETS.get(asset, asset) for asset in (base, quoted)]
    if not all(map(_PART.fullmatch, names)):
        raise DecodeError(f"expected a pair such as XBT/USD, got {shown(pair)}")
    return f"{_VENUE}:{'-'.join(names)}"
