"""Bithumb's public stream (v1): trades. Times are of Seoul, trades carry no ids.

https://apidocs.bithumb.com/v1.2.0/reference/%EB%B9%97%EC%8D%B8-%EA%B1%B0%EB%9E%98%EC%86%8C-%EC%A0%95%EB%B3%B4-%EC%88%98%EC%8B%A0
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Name, Positive, read, shown, time_ns
from streams.formats.pairs import of_parts
from streams.formats.rest import rest_answer

FORMAT = "bithumb-websocket"

_VENUE = "bithumb"
_Made = list[Event | BookChange] | LeftOut
_UNREAD = {"ticker": "ticker", "orderbookdepth": "book", "orderbooksnapshot": "book"}


class _Frame(msgspec.Struct, frozen=True, gc=False):
    type: Annotated[str, Meta(max_length=32)] = ""
    status: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """`buySellGb`: 1 the taker sold, 2 the taker bought; `contDtm` is Korean time."""

    symbol: Name
    buySellGb: Literal["1", "2"]  # noqa: N815 - Bithumb's names
    contPrice: Positive  # noqa: N815
    contQty: Positive  # noqa: N815
    contDtm: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\Z")]  # noqa: N815


class _Trades(msgspec.Struct, frozen=True, gc=False):
    list: list[_Trade]


_FRAME = msgspec.json.Decoder(_Frame)
_TRADES = msgspec.json.Decoder(_Trades, strict=False)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the trades of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return LeftOut("instrument-list" if "/public/ticker/" in answer.path else "rest-answer")
    frame = read(_FRAME, value)
    if frame.type in _UNREAD:
        return LeftOut(_UNREAD[frame.type])
    if frame.type == "transaction":
        return [_trade(trade) for trade in read(_TRADES, frame.content).list] or LeftOut("nothing-in-it")
    if frame.status:
        return LeftOut("subscription" if frame.status == "0000" else "error")
    raise DecodeError(f"expected a transaction of Bithumb, got {shown(frame.type)}", path="$.type")


def _trade(trade: _Trade) -> Trade:
    return Trade(
        instrument_id=of_parts(_VENUE, trade.symbol, "_"),
        venue=_VENUE,
        event_time_ns=time_ns(f"{trade.contDtm}+09:00", "$.content.list[...].contDtm"),
        price=trade.contPrice,
        size=trade.contQty,
        side=1 if trade.buySellGb == "2" else -1,
    )
