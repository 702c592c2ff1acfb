"""Kraken's futures stream: trades, liquidations, the state of contracts and level-2 books.

`seq` of a book rises by one with each change of it; that of trades counts them alone. Tickers come
once a second: best prices come from the books.

https://docs.kraken.com/api/docs/futures-api/websocket/book
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Liquidation, Trade
from schemas.events import UNKNOWN
from streams.formats.book import BookChange
from streams.formats.fields import Identifier, Milliseconds, NonNegative, Number, Positive, read, shown
from streams.formats.levels import MAX_LEVELS
from streams.formats.rest import rest_answer
from streams.formats.sizes import of_contracts

FORMAT = "kraken-futures-websocket"

_VENUE = "kraken-futures"
_MS = 1_000_000
_HOUR_MS = 3_600_000
_Made = list[Event | BookChange] | LeftOut
_INVERSE = re.compile(r"(PI|FI)_([A-Z0-9]{2,10}?)USD(?:_([0-9]{6}))?")
_OTHER = re.compile(r"[A-Z]{2}_[A-Z0-9]{2,20}(_[0-9]{6})?")
_CONTRACT_USD = 1.0
"""What a contract of inverse futures is worth: `contractSize` of all of them, 2021-07-22."""
_ASSETS = {"XBT": "BTC"}


class _Frame(msgspec.Struct, frozen=True, gc=False):
    feed: Annotated[str, Meta(max_length=64)] = ""
    event: Annotated[str, Meta(max_length=64)] = ""
    product_id: Annotated[str, Meta(max_length=64)] = ""


class _Level(msgspec.Struct, frozen=True, gc=False):
    price: Positive
    qty: NonNegative


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Snapshot(msgspec.Struct, frozen=True, gc=False):
    seq: Number
    bids: _Levels
    asks: _Levels


class _Change(msgspec.Struct, frozen=True, gc=False):
    timestamp: Milliseconds
    seq: Number
    side: Literal["buy", "sell"]
    price: Positive
    qty: NonNegative


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `side` is the taker's. Assignments and terminations move positions, at no market price."""

    uid: Identifier
    side: Literal["buy", "sell"]
    type: Literal["fill", "liquidation", "assignment", "termination", "block"]
    seq: Number
    time: Milliseconds
    qty: Positive
    price: Positive


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """The whole ticker; a rate that is absent is zero, for perpetuals alone."""

    time: Milliseconds
    index: Positive | None = None
    markPrice: Positive | None = None  # noqa: N815 - Kraken's names
    openInterest: NonNegative | None = None  # noqa: N815
    relative_funding_rate: Annotated[float, Meta(ge=-10, le=10)] = 0.0
    next_funding_rate_time: Milliseconds | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_LEFT_OUT = {
    **dict.fromkeys(("subscribed", "subscribed_failed", "unsubscribed", "unsubscribed_failed"), "subscription"),
    **dict.fromkeys(("info", "alert", "challenge"), "notice"),
    "pong": "heartbeat",
    "error": "error",
}
"""Events, and how they are counted."""
_FEEDS_LEFT_OUT = {"heartbeat": "heartbeat", "trade_snapshot": "trade-history", "ticker_lite": "ticker-of-prices"}
_NO_MARKET = {"assignment": "trade-assignment", "termination": "trade-termination", "block": "block-trade"}
"""Types of trades that no order on the book made, and how they are counted."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    frame = read(_FRAME, value)
    if frame.event:
        if frame.event not in _LEFT_OUT:
            raise DecodeError(f"expected an event of Kraken, got {shown(frame.event)}", path="$.event")
        return LeftOut(_LEFT_OUT[frame.event])
    if frame.feed in _FEEDS_LEFT_OUT:
        return LeftOut(_FEEDS_LEFT_OUT[frame.feed])
    reader = _READERS.get(frame.feed)
    if reader is None:
        raise DecodeError(f"expected a feed of Kraken, got {shown(frame.feed)}", path="$.feed")
    instrument_id = _instrument(frame.product_id)
    decoder, build = reader
    record = read(decoder, value)
    return build(record, instrument_id) if instrument_id else LeftOut("contract-of-unknown-size")


def _snapshot(snapshot: _Snapshot, instrument_id: str) -> _Made:
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            # The time is of the last change, which may be minutes ago: the book is of now.
            event_time_ns=0,
            bids=[(level.price, level.qty) for level in snapshot.bids],
            asks=[(level.price, level.qty) for level in snapshot.asks],
            snapshot=True,
            last=snapshot.seq,
            contract_usd=_CONTRACT_USD,
        )
    ]


def _change(change: _Change, instrument_id: str) -> _Made:
    levels = [(change.price, change.qty)]
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=change.timestamp * _MS,
            bids=levels if change.side == "buy" else [],
            asks=levels if change.side == "sell" else [],
            first=change.seq,
            last=change.seq,
            contract_usd=_CONTRACT_USD,
        )
    ]


def _trade(trade: _Trade, instrument_id: str) -> _Made:
    if trade.type in _NO_MARKET:
        return LeftOut(_NO_MARKET[trade.type])
    size = of_contracts(trade.qty, _CONTRACT_USD, trade.price)
    side = 1 if trade.side == "buy" else -1
    made: list[Event | BookChange] = [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=trade.time * _MS,
            sequence=trade.seq,
            id=trade.uid,
            price=trade.price,
            size=size,
            side=side,
        )
    ]
    if trade.type == "liquidation":
        made.append(
            Liquidation(
                instrument_id=instrument_id,
                venue=_VENUE,
                event_time_ns=trade.time * _MS,
                sequence=trade.seq,
                id=trade.uid,
                price=trade.price,
                size=size,
                side=side,
            )
        )
    return made


def _ticker(ticker: _Ticker, instrument_id: str) -> _Made:
    perpetual = instrument_id.endswith("-PERP")
    mark, contracts = ticker.markPrice, ticker.openInterest
    interest = UNKNOWN if mark is None or contracts is None else of_contracts(contracts, _CONTRACT_USD, mark)
    return [
        Derivative(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=ticker.time * _MS,
            mark_price=UNKNOWN if mark is None else mark,
            index_price=UNKNOWN if ticker.index is None else ticker.index,
            funding_rate=ticker.relative_funding_rate if perpetual else UNKNOWN,
            next_funding_time_ns=_next_funding_ms(ticker) * _MS if perpetual else 0,
            open_interest=interest,
        )
    ]


def _next_funding_ms(ticker: _Ticker) -> int:
    """Return when funding is next paid; the field says how long until then, or in newer frames when."""
    told = ticker.next_funding_rate_time
    if told is None:
        return 0
    return ticker.time + told if told < 24 * _HOUR_MS else told


@lru_cache(maxsize=65_536)
def _instrument(product: str) -> str:
    """Return the instrument of a product, "" for those whose contract size is not known here."""
    match = _INVERSE.fullmatch(product)
    if match is not None and (match[1] == "FI") == (match[3] is not None):
        return f"{_VENUE}:{_ASSETS.get(match[2], match[2])}-USD-{match[3] or 'PERP'}"
    if match is None and _OTHER.fullmatch(product):
        return ""
    raise DecodeError(f"expected a product such as PI_XBTUSD, got {shown(product)}", path="$.product_id")


def _reader(
    kind: Any, build: Callable[[Any, str], _Made]
) -> tuple[msgspec.json.Decoder[Any], Callable[[Any, str], _Made]]:
    return msgspec.json.Decoder(kind), build


_READERS = {
    "book_snapshot": _reader(_Snapshot, _snapshot),
    "book": _reader(_Change, _change),
    "trade": _reader(_Trade, _trade),
    "ticker": _reader(_Ticker, _ticker),
}
