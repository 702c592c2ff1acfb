"""OKX's public stream: trades, best prices, books with their checksum, funding, prices, interest, options, candles.

A book's `checksum` is the CRC32 of its 25 best levels as written, bids and asks in turn; newer frames
chain by `prevSeqId` and `seqId` too.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Liquidation, Trade
from schemas.events import UNKNOWN
from streams.formats import AGGREGATE
from streams.formats.book import CHECKED_LEVELS, BookChange, TextLevel
from streams.formats.candles import closed_bar
from streams.formats.expiries import option
from streams.formats.fields import read, shown
from streams.formats.okx_contracts import Instrument, instrument
from streams.formats.okx_records import (
    BookData,
    CandleData,
    FundingData,
    InterestData,
    LiquidationsData,
    MarkPriceData,
    SummaryData,
    TradeData,
)
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "okx-websocket"

_VENUE = "okx"
_MS = 1_000_000
_MINUTE_NS = 60_000_000_000
_Made = list[Event | BookChange] | LeftOut
_DEPTHS = {"books": 400, "books-l2-tbt": 400, "books50-l2-tbt": 50, "books5": 5}
_BARS_NS = {
    f"candle{name}": minutes * _MINUTE_NS
    for name, minutes in {
        **{f"{count}m": count for count in (1, 3, 5, 15, 30)},
        **{f"{count}H": 60 * count for count in (1, 2, 4)},
        **{f"{count}Hutc": 60 * count for count in (6, 12)},
        "1Dutc": 1_440,
    }.items()
}
"""Candles by their channels; those of days that begin in Hong Kong are left out."""


class _Argument(msgspec.Struct, frozen=True, gc=False):
    channel: Annotated[str, Meta(max_length=64)]
    instId: Annotated[str, Meta(max_length=64)] = ""  # noqa: N815 - OKX's name


class _Frame(msgspec.Struct, frozen=True, gc=False):
    arg: _Argument | None = None
    event: Annotated[str, Meta(max_length=64)] = ""
    action: Literal["", "snapshot", "update"] = ""
    data: msgspec.Raw = msgspec.Raw(b"")


_FRAME = msgspec.json.Decoder(_Frame)
_EVENTS = {
    **dict.fromkeys(("subscribe", "unsubscribe"), "subscription"),
    **dict.fromkeys(("login", "notice", "channel-conn-count", "channel-conn-count-error"), "notice"),
    "error": "error",
}
"""Events, and how they are counted."""
_LEFT_OUT = {
    **{name: name for name in ("instruments", "status", "index-tickers", "price-limit", "estimated-price")},
    "adl-warning": "adl-warning",
    "tickers": "ticker-of-prices",
}
"""Channels that are not read, and how they are counted. Tickers come seldom: 28 in 30 s in which best
prices changed 204 times; `bbo-tbt` says each."""
_OF_MANY = frozenset({"liquidation-orders", "opt-summary"})
"""Channels whose records name their instruments."""


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    if value == b"pong":
        return LeftOut("heartbeat")
    frame = read(_FRAME, value)
    if frame.arg is not None and not frame.event:
        return _data(frame.arg, frame)
    if frame.event not in _EVENTS:
        raise DecodeError(f"expected arg and data, or an event of OKX, got {value[:60]!r}")
    return LeftOut(_EVENTS[frame.event])


def _data(argument: _Argument, frame: _Frame) -> _Made:
    channel = argument.channel
    if channel in _LEFT_OUT:
        return LeftOut(_LEFT_OUT[channel])
    if channel.startswith(("mark-price-candle", "index-candle")):
        return LeftOut("candle-of-no-trades")
    if channel.startswith("candle"):
        return _candles(read(_CANDLES, frame.data), argument)
    reader = _READERS.get(channel)
    if reader is None:
        raise DecodeError(f"expected a channel of OKX, got {shown(channel)}", path="$.arg.channel")
    decoder, build = reader
    records = read(decoder, frame.data)
    if channel in _OF_MANY:
        return _all(build(record) for record in records)
    named = instrument(argument.instId)
    if named is None:
        return LeftOut("contract-of-unknown-size")
    return _all(build(record, frame, named) for record in records)


def _all(made: Any) -> _Made:
    events: list[Event | BookChange] = []
    left_out = LeftOut("no-records")
    for each in made:
        if isinstance(each, LeftOut):
            left_out = each
        elif isinstance(each, list):
            events += each
        else:
            events.append(each)
    return events or left_out


def _trade(trade: TradeData, _frame: _Frame, named: Instrument) -> Event:
    return Trade(
        instrument_id=named.instrument_id,
        venue=_VENUE,
        event_time_ns=trade.ts * _MS,
        sequence=trade.tradeId,
        id="" if trade.count is None else AGGREGATE,
        price=trade.px,
        size=named.size(trade.sz, trade.px),
        side=1 if trade.side == "buy" else -1,
    )


def _best(book: BookData, _frame: _Frame, named: Instrument) -> Event | LeftOut:
    best = [(float(side[0].price), float(side[0].size)) if side else (0.0, 0.0) for side in (book.bids, book.asks)]
    bid, ask = ((price, named.size(size, price)) for price, size in best)
    return quote(named.instrument_id, book.ts * _MS, bid, ask, book.seqId)


def _book(book: BookData, frame: _Frame, named: Instrument) -> BookChange:
    channel = frame.arg.channel if frame.arg else ""
    checksum = book.checksum
    snapshot = frame.action != "update"
    return BookChange(
        instrument_id=named.instrument_id,
        venue=_VENUE,
        event_time_ns=book.ts * _MS,
        bids=[(level.price, level.size) for level in book.bids],
        asks=[(level.price, level.size) for level in book.asks],
        snapshot=snapshot,
        last=book.seqId,
        previous=-1 if snapshot else book.prevSeqId,
        # Newer frames of some channels carry a checksum of 0: it is not made any more.
        check=partial(_matches, checksum) if checksum else None,
        depth=_DEPTHS[channel],
        size_unit=named.unit,
        contract_usd=named.usd,
    )


def _matches(checksum: int, bids: Sequence[TextLevel], asks: Sequence[TextLevel]) -> bool:
    turns = zip_longest(bids[:CHECKED_LEVELS], asks[:CHECKED_LEVELS], fillvalue=())
    text = ":".join(part for turn in turns for level in turn for part in level)
    return zlib.crc32(text.encode()) == checksum % (1 << 32)


def _funding(funding: FundingData, _frame: _Frame, named: Instrument) -> Event | LeftOut:
    if funding.fundingRate == "":
        return LeftOut("no-funding-rate")
    return Derivative(
        instrument_id=named.instrument_id,
        venue=_VENUE,
        event_time_ns=(funding.ts or 0) * _MS,
        funding_rate=funding.fundingRate,
        next_funding_time_ns=(funding.fundingTime or 0) * _MS,
    )


def _mark(mark: MarkPriceData, _frame: _Frame, named: Instrument) -> Event:
    time = mark.ts * _MS
    return Derivative(instrument_id=named.instrument_id, venue=_VENUE, event_time_ns=time, mark_price=mark.markPx)


def _interest(interest: InterestData, _frame: _Frame, named: Instrument) -> Event | LeftOut:
    if interest.oiCcy == "":
        return LeftOut("open-interest-in-contracts")
    return Derivative(
        instrument_id=named.instrument_id,
        venue=_VENUE,
        event_time_ns=interest.ts * _MS,
        open_interest=interest.oiCcy,
    )


def _liquidations(record: LiquidationsData) -> _Made:
    named = instrument(record.instId)
    if named is None:
        return LeftOut("contract-of-unknown-size")
    return [
        Liquidation(
            instrument_id=named.instrument_id,
            venue=_VENUE,
            event_time_ns=detail.ts * _MS,
            price=detail.bkPx,
            size=named.size(detail.sz, detail.bkPx),
            side=1 if detail.side == "buy" else -1,
        )
        for detail in record.details
    ]


def _summary(summary: SummaryData) -> Event | LeftOut:
    named = instrument(summary.instId)
    if named is None or not named.instrument_id.endswith(("-C", "-P")):
        return LeftOut("contract-of-unknown-size")
    numbers = (summary.markVol, summary.bidVol, summary.askVol, summary.deltaBS, summary.fwdPx)
    # An empty or zero volatility is one that cannot be told.
    mark, bid, ask, delta, forward = (UNKNOWN if number == "" else number for number in numbers)
    return option(
        named.instrument_id, summary.ts * _MS, mark or UNKNOWN, bid or UNKNOWN, ask or UNKNOWN, delta, forward, UNKNOWN
    )


def _candles(candles: list[CandleData], argument: _Argument) -> _Made:
    interval_ns = _BARS_NS.get(argument.channel)
    named = instrument(argument.instId)
    if interval_ns is None or named is None:
        return LeftOut("candle-of-local-days" if interval_ns is None else "contract-of-unknown-size")
    return _all(
        closed_bar(
            named.instrument_id,
            candle.ts * _MS,
            interval_ns,
            (candle.o, candle.h, candle.l, candle.c),
            candle.base_volume if named.instrument_id.count("-") > 1 else candle.vol,
            "$.data",
        )
        if candle.confirm == "1"
        else LeftOut("open-candle")
        for candle in candles
    )


def _reader(kind: Any, build: Callable[..., Any]) -> tuple[msgspec.json.Decoder[Any], Callable[..., Any]]:
    return msgspec.json.Decoder(list[kind], strict=False), build


_CANDLES = msgspec.json.Decoder(list[CandleData], strict=False)
_READERS = {
    "trades": _reader(TradeData, _trade),
    "trades-all": _reader(TradeData, _trade),
    "bbo-tbt": _reader(BookData, _best),
    **dict.fromkeys(_DEPTHS, _reader(BookData, _book)),
    "funding-rate": _reader(FundingData, _funding),
    "mark-price": _reader(MarkPriceData, _mark),
    "open-interest": _reader(InterestData, _interest),
    "liquidation-orders": _reader(LiquidationsData, _liquidations),
    "opt-summary": _reader(SummaryData, _summary),
}
