"""Independent Reserve's stream: trades. Its books are told order by order, and are not read.

A cancelled or changed order is named by its number alone, so what leaves the book cannot be told from
a frame without all orders before it.

https://github.com/independentreserve/websockets
"""

import re
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Identifier, Milliseconds, Name, Number, Positive, read, shown
from streams.formats.rest import RestAnswer, rest_answer

FORMAT = "independent-reserve-websocket"

_VENUE = "independent-reserve"
_MS = 1_000_000
_Made = list[Event | BookChange] | LeftOut
_CHANNEL = re.compile(r"ticker-([a-z0-9]{1,20})(?:-([a-z]{3}))?")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_ASSETS = {"XBT": "BTC"}


class _Frame(msgspec.Struct, frozen=True, gc=False):
    Event: Annotated[str, Meta(max_length=64)]
    Channel: Annotated[str, Meta(max_length=64)] = ""
    Time: Milliseconds | None = None
    Nonce: Number | None = None
    Data: msgspec.Raw = msgspec.Raw(b"")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `Side` is the taker's. One of a crypto has a price in the currencies of both orders."""

    TradeGuid: Identifier
    Volume: Positive
    Price: Positive | dict[Name, Positive]
    Side: Literal["Buy", "Sell"]


_FRAME = msgspec.json.Decoder(_Frame)
_TRADE = msgspec.json.Decoder(_Trade)
_CONTROL = {"Subscriptions": "subscription", "Heartbeat": "heartbeat", "Error": "error"}
"""Events of the connection, and how they are counted."""
_ORDERS = frozenset({"NewOrder", "OrderChanged", "OrderCanceled"})


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return _answer(answer)
    frame = read(_FRAME, value)
    if frame.Event in _CONTROL:
        return LeftOut(_CONTROL[frame.Event])
    if frame.Event in _ORDERS:
        return LeftOut("single-orders")
    if frame.Event != "Trade" or frame.Time is None:
        raise DecodeError(f"expected an event of Independent Reserve, got {shown(frame.Event)}", path="$.Event")
    return _trades(read(_TRADE, frame.Data), frame, frame.Time)


def _answer(answer: RestAnswer) -> LeftOut:
    return LeftOut("single-orders-snapshot" if answer.path.endswith("/GetAllOrders") else "instrument-list")


def _trades(trade: _Trade, frame: _Frame, milliseconds: int) -> _Made:
    match = _CHANNEL.fullmatch(frame.Channel)
    if match is None:
        raise DecodeError(f"expected a channel such as ticker-xbt-aud, got {shown(frame.Channel)}", path="$.Channel")
    prices = trade.Price if isinstance(trade.Price, dict) else {match[2] or "": trade.Price}
    # Of one trade in two currencies the first counts: its volume is traded once.
    currency, price = next(iter(prices.items()), ("", 0.0))
    return [
        Trade(
            instrument_id=_instrument(match[1], currency),
            venue=_VENUE,
            event_time_ns=milliseconds * _MS,
            sequence=-1 if frame.Nonce is None else frame.Nonce,
            id=trade.TradeGuid,
            price=price,
            size=trade.Volume,
            side=1 if trade.Side == "Buy" else -1,
        )
    ]


@lru_cache(maxsize=65_536)
def _instrument(asset: str, currency: str) -> str:
    if not _CURRENCY.fullmatch(currency):
        raise DecodeError(f"expected a price in a currency such as aud, got {shown(currency)}", path="$.Data.Price")
    base = asset.upper()
    return f"{_VENUE}:{_ASSETS.get(base, base)}-{currency.upper()}"
