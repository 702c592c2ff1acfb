"""tardis-machine's normalised JSON, replayed or live: one message a frame.

`timestamp` is the exchange's time; where it sends none, Tardis repeats `localTimestamp`, and the record
then carries no event time here. A side that it does not know is left out: no number is made up.

https://docs.tardis.dev/tardis-machine/data-types
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Liquidation, Trade
from schemas.events import UNKNOWN
from streams.formats.book import BookChange, NumberLevel
from streams.formats.candles import closed_bar
from streams.formats.expiries import option
from streams.formats.fields import Identifier, Name, NonNegative, Positive, read, shown, time_ns
from streams.formats.levels import MAX_LEVELS
from streams.formats.quotes import quote
from streams.formats.tardis_symbols import EXCHANGES, VOLATILITY_UNITS, Instrument, exchange_of, instrument

FORMAT = "tardis"

_MS = 1_000_000
_LAST_SEQUENCE = 2**63 - 1
_Made = list[Event | BookChange] | LeftOut
_Time = Annotated[str, Meta(min_length=20, max_length=40)]
_Side = Literal["buy", "sell", "unknown"]
_Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
_Amount = Annotated[float, Meta(ge=1e-18, le=1e18)]
"""An amount that stays above 0 in base units."""


class _Message(msgspec.Struct, frozen=True, gc=False):
    """What all messages share; `disconnect` and `error` name no symbol."""

    type: str
    exchange: str = ""
    symbol: Name = ""


class _Timed(msgspec.Struct, frozen=True, gc=False):
    timestamp: _Time
    localTimestamp: _Time = ""  # noqa: N815 - Tardis's names

    @property
    def event_time_ns(self) -> int:
        """The exchange's time, 0 where it sent none."""
        return 0 if self.timestamp == self.localTimestamp else time_ns(self.timestamp, "$.timestamp")


class _Trade(_Timed, frozen=True, gc=False, kw_only=True):
    """A trade, or a forced one; `side` is the taker's."""

    id: Identifier | None = None
    price: Positive
    amount: _Amount
    side: _Side


class _Level(msgspec.Struct, frozen=True, gc=False):
    """A level; in snapshots of a number of levels both are missing where the book ends first."""

    price: Positive | None = None
    amount: NonNegative | None = None


_Levels = Annotated[list[_Level], Meta(max_length=MAX_LEVELS)]


class _Book(_Timed, frozen=True, gc=False, kw_only=True):
    isSnapshot: bool = False  # noqa: N815 - Tardis's name
    bids: _Levels
    asks: _Levels
    depth: Annotated[int, Meta(ge=0, le=MAX_LEVELS)] = 0
    grouping: _Number | None = None


class _Best(_Timed, frozen=True, gc=False, kw_only=True):
    bidPrice: NonNegative | None = None  # noqa: N815 - Tardis's names
    bidAmount: NonNegative | None = None  # noqa: N815
    askPrice: NonNegative | None = None  # noqa: N815
    askAmount: NonNegative | None = None  # noqa: N815


class _State(_Timed, frozen=True, gc=False, kw_only=True):
    markPrice: Positive | None = None  # noqa: N815 - Tardis's names
    indexPrice: Positive | None = None  # noqa: N815
    fundingRate: Annotated[float, Meta(ge=-10, le=10)] | None = None  # noqa: N815
    fundingTimestamp: _Time | None = None  # noqa: N815
    openInterest: NonNegative | None = None  # noqa: N815
    lastPrice: Positive | None = None  # noqa: N815


class _TradeBar(_Timed, frozen=True, gc=False, kw_only=True):
    """Trades summed up; `interval` is in ms where `kind` is time."""

    kind: Literal["time", "volume", "tick"]
    interval: Annotated[float, Meta(gt=0, le=31_536_000_000)]
    openTimestamp: _Time  # noqa: N815 - Tardis's name
    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: NonNegative
    trades: NonNegative


class _Option(_Timed, frozen=True, gc=False, kw_only=True):
    markIV: NonNegative | None = None  # noqa: N815 - Tardis's names
    bestBidIV: NonNegative | None = None  # noqa: N815
    bestAskIV: NonNegative | None = None  # noqa: N815
    delta: _Number | None = None
    underlyingPrice: Positive | None = None  # noqa: N815
    openInterest: NonNegative | None = None  # noqa: N815


_MESSAGE = msgspec.json.Decoder(_Message)
_SPANS = re.compile(r"(?:(?<=^book_snapshot)|(?<=^trade_bar)|(?<=^quote))_.*")
"""What a request adds to a type of data: `book_snapshot_5_100ms`."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the message names its exchange
    """Return the event of one message; raises DecodeError."""
    message = read(_MESSAGE, value)
    if message.type in {"disconnect", "error"}:
        return LeftOut(message.type)
    reader = _READERS.get(_SPANS.sub("", message.type))
    if reader is None:
        raise DecodeError(f"expected a type of Tardis's normalised data, got {shown(message.type)}", path="$.type")
    decoder, build = reader
    record = read(decoder, value)
    if exchange_of(message.exchange) not in EXCHANGES:
        return LeftOut("exchange-not-known")
    named = instrument(message.exchange, message.symbol)
    if named is None:
        return LeftOut("contract-of-unknown-size")
    return build(record, named, message)


def _trade(trade: _Trade, named: Instrument, _message: _Message) -> _Made:
    if trade.side == "unknown":
        return LeftOut("trade-of-unknown-side")
    sequence = _sequence(trade.id)
    return [
        Trade(
            instrument_id=named.instrument_id,
            venue=_venue(named),
            event_time_ns=trade.event_time_ns,
            sequence=sequence,
            id="" if sequence >= 0 else trade.id or "",
            price=trade.price,
            size=named.size(trade.amount, trade.price),
            side=1 if trade.side == "buy" else -1,
        )
    ]


def _liquidation(order: _Trade, named: Instrument, _message: _Message) -> _Made:
    if order.side == "unknown":
        return LeftOut("liquidation-of-unknown-side")
    return [
        Liquidation(
            instrument_id=named.instrument_id,
            venue=_venue(named),
            event_time_ns=order.event_time_ns,
            id=order.id or "",
            price=order.price,
            size=named.size(order.amount, order.price),
            side=1 if order.side == "buy" else -1,
        )
    ]


def _book_change(book: _Book, named: Instrument, _message: _Message) -> _Made:
    return [_book(book, named, snapshot=book.isSnapshot, limit=0)]


def _book_snapshot(book: _Book, named: Instrument, _message: _Message) -> _Made:
    """Return a book of so many levels, or the quote that a book of one level is."""
    if book.grouping:
        return LeftOut("merged-depth")
    if book.depth == 1 or max(len(book.bids), len(book.asks)) == 1:
        bid, ask = (_best_level(levels, named) for levels in (book.bids, book.asks))
        made = quote(named.instrument_id, book.event_time_ns, bid, ask)
        return made if isinstance(made, LeftOut) else [made]
    return [_book(book, named, snapshot=True, limit=book.depth or max(len(book.bids), len(book.asks)))]


def _book(book: _Book, named: Instrument, *, snapshot: bool, limit: int) -> BookChange:
    return BookChange(
        instrument_id=named.instrument_id,
        venue=_venue(named),
        event_time_ns=book.event_time_ns,
        bids=_levels(book.bids),
        asks=_levels(book.asks),
        snapshot=snapshot,
        limit=limit,
        size_unit=named.unit,
        contract_usd=named.usd,
    )


def _best(best: _Best, named: Instrument, _message: _Message) -> _Made:
    bid = _sized(best.bidPrice, best.bidAmount, named)
    ask = _sized(best.askPrice, best.askAmount, named)
    made = quote(named.instrument_id, best.event_time_ns, bid, ask)
    return made if isinstance(made, LeftOut) else [made]


def _state(state: _State, named: Instrument, _message: _Message) -> _Made:
    price = state.markPrice or state.lastPrice
    interest = state.openInterest
    told = interest is not None and (price is not None or not named.usd)
    return [
        Derivative(
            instrument_id=named.instrument_id,
            venue=_venue(named),
            event_time_ns=state.event_time_ns,
            mark_price=_or_unknown(state.markPrice),
            index_price=_or_unknown(state.indexPrice),
            funding_rate=_or_unknown(state.fundingRate),
            next_funding_time_ns=time_ns(state.fundingTimestamp, "$.fundingTimestamp") if state.fundingTimestamp else 0,
            open_interest=named.size(interest or 0.0, price or 1.0) if told else UNKNOWN,
        )
    ]


def _bar(bar: _TradeBar, named: Instrument, _message: _Message) -> _Made:
    if bar.kind != "time":
        return LeftOut("bar-of-no-time")
    if named.usd:
        return LeftOut("bar-in-dollars")
    interval_ns = round(bar.interval) * _MS
    if not interval_ns:
        raise DecodeError(f"expected an interval of 1 ms or more, got {bar.interval}", path="$.interval")
    opened_ns = time_ns(bar.openTimestamp, "$.openTimestamp")
    prices = (bar.open, bar.high, bar.low, bar.close)
    start_ns = opened_ns // interval_ns * interval_ns
    made = closed_bar(named.instrument_id, start_ns, interval_ns, prices, bar.volume * named.unit, "$")
    return [msgspec.structs.replace(made, trade_count=bar.trades)]


def _summary(summary: _Option, named: Instrument, message: _Message) -> _Made:
    unit = VOLATILITY_UNITS.get(message.exchange)
    if unit is None or not named.instrument_id.endswith(("-C", "-P")):
        return LeftOut("option-of-unknown-units")
    return [
        option(
            named.instrument_id,
            summary.event_time_ns,
            mark_volatility=_or_unknown(summary.markIV) * unit,
            bid_volatility=_or_unknown(summary.bestBidIV) * unit,
            ask_volatility=_or_unknown(summary.bestAskIV) * unit,
            delta=_or_unknown(summary.delta),
            underlying_price=_or_unknown(summary.underlyingPrice),
            open_interest=_or_unknown(summary.openInterest) * named.unit,
        )
    ]


def _venue(named: Instrument) -> str:
    return named.instrument_id.partition(":")[0]


def _sequence(identity: str | None) -> int:
    """Return an id that is a number, -1 for others."""
    if identity is None or not (identity.isascii() and identity.isdigit() and len(identity) <= 19):  # noqa: PLR2004
        return -1
    return int(identity) if int(identity) <= _LAST_SEQUENCE else -1


def _levels(levels: list[_Level]) -> list[NumberLevel]:
    return [(level.price, level.amount) for level in levels if level.price is not None and level.amount is not None]


def _best_level(levels: list[_Level], named: Instrument) -> tuple[float, float]:
    return _sized(levels[0].price, levels[0].amount, named) if levels else (0.0, 0.0)


def _sized(price: float | None, amount: float | None, named: Instrument) -> tuple[float, float]:
    return (price, named.size(amount, price)) if price and amount else (0.0, 0.0)


def _or_unknown(number: float | None) -> float:
    return UNKNOWN if number is None else number


_Build = Callable[[Any, Instrument, _Message], _Made]


def _reader(kind: Any, build: _Build) -> tuple[msgspec.json.Decoder[Any], _Build]:
    return msgspec.json.Decoder(kind), build


_READERS = {
    "trade": _reader(_Trade, _trade),
    "liquidation": _reader(_Trade, _liquidation),
    "book_change": _reader(_Book, _book_change),
    "book_snapshot": _reader(_Book, _book_snapshot),
    "quote": _reader(_Book, _book_snapshot),
    "book_ticker": _reader(_Best, _best),
    "derivative_ticker": _reader(_State, _state),
    "trade_bar": _reader(_TradeBar, _bar),
    "option_summary": _reader(_Option, _summary),
}
