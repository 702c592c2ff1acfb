"""Deribit's stream: trades, liquidations, tickers, option summaries and level-2 books.

A change of a book names the change before it (`prev_change_id`). Frames are JSON-RPC notifications;
answers to requests are left out.

https://docs.deribit.com/#subscriptions
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Liquidation, Trade
from schemas.events import UNKNOWN
from streams.formats.book import BookChange, NumberLevel
from streams.formats.deribit_names import Instrument, instrument
from streams.formats.expiries import option
from streams.formats.fields import Identifier, Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.levels import MAX_LEVELS
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "deribit-websocket"

_VENUE = "deribit"
_MS = 1_000_000
_PERCENT = 100.0
_Made = list[Event | BookChange] | LeftOut


class _Params(msgspec.Struct, frozen=True, gc=False):
    channel: Annotated[str, Meta(max_length=128)] = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    type: Annotated[str, Meta(max_length=64)] = ""


class _Frame(msgspec.Struct, frozen=True, gc=False):
    method: Annotated[str, Meta(max_length=64)] = ""
    params: _Params | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    action: Literal["new", "change", "delete"]
    price: Positive
    amount: NonNegative


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Book(msgspec.Struct, frozen=True, gc=False):
    """A book (`snapshot`) or its changes; channels in groups carry no type, and the book each time."""

    timestamp: Milliseconds
    instrument_name: Name
    change_id: Number
    bids: _Levels
    asks: _Levels
    type: Literal["snapshot", "change"] = "change"
    prev_change_id: Number | None = None


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `direction` is the taker's, `liquidation` who was liquidated: maker, taker or both."""

    trade_seq: Number
    trade_id: Identifier
    timestamp: Milliseconds
    price: Positive
    instrument_name: Name
    direction: Literal["buy", "sell"]
    amount: Positive
    liquidation: Literal["", "M", "T", "MT", "none"] = ""
    block_trade_id: Identifier | None = None


class _Greeks(msgspec.Struct, frozen=True, gc=False):
    delta: Annotated[float, Meta(ge=-1.5, le=1.5)] | None = None


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """A ticker; volatilities in percent, 0 where there is none, amounts 0 where a side is empty."""

    timestamp: Milliseconds
    instrument_name: Name
    best_bid_price: NonNegative | None = None
    best_bid_amount: NonNegative | None = None
    best_ask_price: NonNegative | None = None
    best_ask_amount: NonNegative | None = None
    mark_price: NonNegative | None = None
    index_price: Positive | None = None
    open_interest: NonNegative | None = None
    current_funding: Annotated[float, Meta(ge=-10, le=10)] | None = None
    underlying_price: Positive | None = None
    mark_iv: NonNegative | None = None
    bid_iv: NonNegative | None = None
    ask_iv: NonNegative | None = None
    greeks: _Greeks | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_LEFT_OUT = frozenset(
    {
        *("deribit_price_index", "deribit_price_ranking", "deribit_price_statistics", "deribit_volatility_index"),
        *("estimated_expiration_price", "markprice", "perpetual", "chart", "instrument", "platform_state"),
        *("incremental_ticker", "rfq", "block_rfq", "block_trade_confirmations"),
    }
)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    frame = read(_FRAME, value)
    if frame.method == "heartbeat":
        return LeftOut("heartbeat")
    if not frame.method and (bytes(frame.result) or bytes(frame.error)):
        return LeftOut("answer")
    if frame.method != "subscription" or frame.params is None:
        raise DecodeError(f"expected a subscription, a heartbeat or an answer, got {value[:60]!r}")
    channel = frame.params.channel.partition(".")[0]
    if channel in _LEFT_OUT:
        return LeftOut(channel)
    reader = _READERS.get(channel)
    if reader is None:
        raise DecodeError(f"expected a channel of Deribit, got {shown(channel)}", path="$.params.channel")
    decoder, build = reader
    return build(read(decoder, frame.params.data))


def _book(book: _Book) -> _Made:
    named = instrument(book.instrument_name)
    snapshot = book.type == "snapshot" or book.prev_change_id is None
    return [
        BookChange(
            instrument_id=named.instrument_id,
            venue=_VENUE,
            event_time_ns=book.timestamp * _MS,
            bids=_levels(book.bids),
            asks=_levels(book.asks),
            snapshot=snapshot,
            last=book.change_id,
            previous=-1 if snapshot or book.prev_change_id is None else book.prev_change_id,
            contract_usd=named.contract_usd,
        )
    ]


def _levels(levels: list[_Level]) -> list[NumberLevel]:
    return [(level.price, 0.0 if level.action == "delete" else level.amount) for level in levels]


def _trades(trades: list[_Trade]) -> _Made:
    # Block trades are agreed off the book, at prices that may be far from it.
    made = [event for trade in trades if trade.block_trade_id is None for event in _trade(trade)]
    return made or LeftOut("block-trade" if trades else "no-trades")


def _trade(trade: _Trade) -> list[Event | BookChange]:
    named = instrument(trade.instrument_name)
    side = 1 if trade.direction == "buy" else -1
    size = named.size(trade.amount, trade.price)
    time = trade.timestamp * _MS
    forced = {"T": (side,), "M": (-side,), "MT": (side, -side)}.get(trade.liquidation, ())
    return [
        Trade(
            instrument_id=named.instrument_id,
            venue=_VENUE,
            event_time_ns=time,
            sequence=trade.trade_seq,
            id=trade.trade_id,
            price=trade.price,
            size=size,
            side=side,
        ),
        *(
            Liquidation(
                instrument_id=named.instrument_id,
                venue=_VENUE,
                event_time_ns=time,
                sequence=trade.trade_seq,
                id=f"{trade.trade_id}{'' if forced_side == side else '-maker'}",
                price=trade.price,
                size=size,
                side=forced_side,
            )
            for forced_side in forced
        ),
    ]


def _ticker(ticker: _Ticker) -> _Made:
    named = instrument(ticker.instrument_name)
    if named.option:
        return [_summary(ticker, named)]
    best = _best(ticker, named)
    mark = ticker.mark_price or UNKNOWN
    interest = UNKNOWN if ticker.open_interest is None else named.size(ticker.open_interest, mark)
    state = Derivative(
        instrument_id=named.instrument_id,
        venue=_VENUE,
        event_time_ns=ticker.timestamp * _MS,
        mark_price=mark,
        index_price=UNKNOWN if ticker.index_price is None else ticker.index_price,
        funding_rate=UNKNOWN if ticker.current_funding is None else ticker.current_funding,
        open_interest=interest,
    )
    return [state] if isinstance(best, LeftOut) else [best, state]


def _summary(ticker: _Ticker, named: Instrument) -> Event:
    delta = None if ticker.greeks is None else ticker.greeks.delta
    return option(
        named.instrument_id,
        ticker.timestamp * _MS,
        mark_volatility=(ticker.mark_iv or UNKNOWN) / _PERCENT,
        bid_volatility=(ticker.bid_iv or UNKNOWN) / _PERCENT,
        ask_volatility=(ticker.ask_iv or UNKNOWN) / _PERCENT,
        delta=UNKNOWN if delta is None else delta,
        underlying_price=UNKNOWN if ticker.underlying_price is None else ticker.underlying_price,
        open_interest=UNKNOWN if ticker.open_interest is None else ticker.open_interest,
    )


def _best(ticker: _Ticker, named: Instrument) -> Event | LeftOut:
    bid, ask = ticker.best_bid_price or 0.0, ticker.best_ask_price or 0.0
    bid_size = named.size(ticker.best_bid_amount or 0.0, bid)
    ask_size = named.size(ticker.best_ask_amount or 0.0, ask)
    return quote(named.instrument_id, ticker.timestamp * _MS, (bid, bid_size), (ask, ask_size))


def _quote(ticker: _Ticker) -> _Made:
    best = _best(ticker, instrument(ticker.instrument_name))
    return best if isinstance(best, LeftOut) else [best]


def _reader(kind: Any, build: Callable[..., _Made]) -> tuple[msgspec.json.Decoder[Any], Callable[..., _Made]]:
    return msgspec.json.Decoder(kind), build


_READERS = {
    "book": _reader(_Book, _book),
    "trades": _reader(list[_Trade], _trades),
    "ticker": _reader(_Ticker, _ticker),
    "quote": _reader(_Ticker, _quote),
}
