"""Binance combined streams: spot, USD-M and COIN-M frames `{"stream": ..., "data": {...}}`.

Also the same records without their envelope, answers to subscriptions, and REST answers as
`streams/formats/rest.py` has them. Times: `T` is the transaction time, except in markPriceUpdate, where
it is the next funding time and `E` is the time of the prices. Depth of spot carries `E` alone.

https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from schemas import Bar, DecodeError, Derivative, Event, LeftOut, Liquidation, Quote, Trade
from schemas.events import UNKNOWN
from streams.formats import AGGREGATE
from streams.formats.binance_depth import book_change, book_snapshot, is_partial, symbol_of
from streams.formats.binance_records import (
    ON_MARKET,
    AggregateData,
    CandleData,
    DepthData,
    EmptyTradeData,
    LiquidationData,
    MarkPriceData,
    OneSidedData,
    QuoteData,
    Snapshot,
    TradeData,
)
from streams.formats.binance_symbols import MARKETS, contract_usd, instrument
from streams.formats.book import BookChange
from streams.formats.fields import MAX_FRAME_BYTES, read, shown
from streams.formats.rest import RestAnswer, rest_answer

FORMAT = "binance-combined"

_MS = 1_000_000
_MAX_STREAM_NAME = 64
_Data = TypeVar("_Data")


class _Frame(msgspec.Struct, Generic[_Data], frozen=True, gc=False):
    """A record in the envelope of combined streams."""

    data: _Data


_ABSENT = msgspec.Raw(b"")


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    """As much of any frame as says what it is."""

    stream: str = ""
    data: msgspec.Raw = _ABSENT
    e: str = ""
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    code: int | None = None
    symbols: list[msgspec.Raw] | None = None
    lastUpdateId: int | None = None  # noqa: N815 - Binance's name


class _Record(msgspec.Struct, frozen=True, gc=False):
    """As much of any record as says what it is."""

    e: str = ""
    lastUpdateId: int | None = None  # noqa: N815 - Binance's name
    B: msgspec.Raw = _ABSENT


_Build = Callable[[Any, str, str], Event | BookChange | LeftOut]
_Decoded = list[Event | BookChange] | LeftOut


class _Reader:
    """How one kind of record is read, in its envelope, in a list in an envelope, and bare."""

    def __init__(self, kind: type[msgspec.Struct], build: _Build) -> None:
        self.framed: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Frame[kind], strict=False)  # type: ignore[valid-type]
        self.listed: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Frame[list[kind]], strict=False)  # type: ignore[valid-type]
        self.bare: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind, strict=False)
        self.build = build


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_RECORD = msgspec.json.Decoder(_Record)
_RECORDS = msgspec.json.Decoder(list[_Record])


def decode(value: bytes, source: str) -> _Decoded:
    """Return the events of one frame of the Binance venue `source`; raises DecodeError."""
    if source not in MARKETS:
        raise DecodeError(f"expected one of {', '.join(MARKETS)}, got {shown(source)}", path="headers.source")
    start = value.find(b"@", 0, _MAX_STREAM_NAME)
    reader = _BY_STREAM.get(value[start + 1 : value.find(b'"', start, start + _MAX_STREAM_NAME)])
    if reader is not None and len(value) <= MAX_FRAME_BYTES:
        try:
            data = reader.framed.decode(value).data
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # read again, slowly: it is another shape, or damaged
        else:
            made = reader.build(data, source, "$.data")
            return made if isinstance(made, LeftOut) else [made]
    return _decode_any(value, source)


def _decode_any(value: bytes, source: str) -> _Decoded:
    answer = rest_answer(value)
    if answer is not None:
        return _decode_answer(answer, value, source)
    frame = read(_ENVELOPE, value)
    if bytes(frame.data):
        return _decode_framed(frame, value, source)
    if frame.e:
        return _decode_record(frame.e, value, source)
    if frame.lastUpdateId is not None:
        return _snapshot(read(_SNAPSHOT, value), "", source, "$")
    for kind, found in (
        ("subscription", bytes(frame.result)),
        ("error", bytes(frame.error) or frame.code is not None),
        ("exchangeInfo", frame.symbols is not None),
    ):
        if found:
            return LeftOut(kind)
    raise DecodeError(f"expected a frame with stream and data, a record with e or an answer, got {value[:40]!r}")


def _decode_framed(frame: _Envelope, value: bytes, source: str) -> _Decoded:
    data = bytes(frame.data)
    if data.startswith(b"["):
        return _decode_list(data, value, source)
    record = read(_RECORD, data)
    if record.lastUpdateId is not None:
        return _snapshot(read(_FRAMED_SNAPSHOT, value).data, symbol_of(frame.stream), source, "$.data")
    kind = record.e or ("bookTicker" if frame.stream.endswith("bookTicker") or bytes(record.B) else "")
    reader = _reader(kind, "$.data.e")
    if reader is None:
        return LeftOut(kind)
    try:
        made = reader.build(read(reader.framed, value).data, source, "$.data")
    except DecodeError:
        empty = _without_value(kind, data, source)
        if empty is None:
            raise
        return empty
    if isinstance(made, BookChange) and is_partial(frame.stream):
        made = msgspec.structs.replace(made, snapshot=True, previous=-1, limit=max(len(made.bids), len(made.asks)))
    return made if isinstance(made, LeftOut) else [made]


def _decode_answer(answer: RestAnswer, value: bytes, source: str) -> _Decoded:
    """Read the answer to a request: a snapshot of a book, or what nobody here reads."""
    if answer.path.endswith("/depth"):
        return _snapshot(read(_FRAMED_SNAPSHOT, value).data, answer.argument("symbol"), source, "$.data")
    return LeftOut("exchangeInfo" if answer.path.endswith("/exchangeInfo") else "other-answer")


def _snapshot(data: Snapshot, symbol: str, source: str, path: str) -> _Decoded:
    name = symbol or data.symbol
    return [book_snapshot(data, name, source, path)] if name else LeftOut("depthSnapshot-of-no-symbol")


def _decode_list(data: bytes, value: bytes, source: str) -> _Decoded:
    """Read a stream of all symbols, such as `!markPrice@arr`: one list of one kind of record."""
    kinds = {record.e for record in read(_RECORDS, data)}
    if len(kinds) != 1:
        raise DecodeError(f"expected records of one kind, got {shown(sorted(kinds))}", path="$.data")
    kind = kinds.pop()
    reader = _reader(kind, "$.data[0].e")
    if reader is None:
        return LeftOut(kind)
    records = read(reader.listed, value).data
    made = [reader.build(record, source, f"$.data[{index}]") for index, record in enumerate(records)]
    events = [event for event in made if not isinstance(event, LeftOut)]
    return events or LeftOut(kind)


def _decode_record(kind: str, value: bytes, source: str) -> _Decoded:
    reader = _reader(kind, "$.e")
    if reader is None:
        return LeftOut(kind)
    made = reader.build(read(reader.bare, value), source, "$")
    return made if isinstance(made, LeftOut) else [made]


def _reader(kind: str, path: str) -> _Reader | None:
    """Return how to read `kind`, None where it is known and not read; raises DecodeError."""
    if kind in _OTHER_RECORDS:
        return None
    reader = _BY_RECORD.get(kind)
    if reader is None:
        raise DecodeError(f"expected a kind of record that Binance sends, got {shown(kind)}", path=path)
    return reader


def _without_value(kind: str, data: bytes, source: str) -> LeftOut | None:
    """Return what a record without a price is, None where it is none of those that Binance sends."""
    try:
        if kind == "trade":
            trade = read(_EMPTY_TRADE, data)
            instrument(source, trade.s)
            return LeftOut("empty-trade") if trade.p == trade.q == 0 else None
        if kind == "bookTicker":
            quote = read(_ONE_SIDED, data)
            instrument(source, quote.s)
            empty = (quote.b == quote.B == 0) or (quote.a == quote.A == 0)
            return LeftOut("one-sided-bookTicker") if empty else None
    except DecodeError:
        return None
    return None


def _base_size(size: float, price: float, source: str, symbol: str) -> float:
    usd = contract_usd(source, symbol)
    return size * usd / price if usd else size


def _trade(data: TradeData, source: str, path: str) -> Event | LeftOut:
    if data.X != ON_MARKET:
        return LeftOut("off-market-trade")
    return Trade(
        instrument_id=instrument(source, data.s, path),
        venue=source,
        event_time_ns=data.T * _MS,
        sequence=data.t,
        price=data.p,
        size=_base_size(data.q, data.p, source, data.s),
        side=-1 if data.m else 1,
    )


def _aggregate(data: AggregateData, source: str, path: str) -> Event:
    return Trade(
        instrument_id=instrument(source, data.s, path),
        venue=source,
        event_time_ns=data.T * _MS,
        sequence=data.a,
        id=AGGREGATE,
        price=data.p,
        size=_base_size(data.q, data.p, source, data.s),
        side=-1 if data.m else 1,
    )


def _quote(data: QuoteData, source: str, path: str) -> Event:
    if data.b > data.a:
        raise DecodeError(f"expected a bid of at most the ask {data.a}, got {data.b}", path=f"{path}.b")
    return Quote(
        instrument_id=instrument(source, data.s, path),
        venue=source,
        event_time_ns=(data.T or data.E or 0) * _MS,
        sequence=data.u,
        bid_price=data.b,
        bid_size=_base_size(data.B, data.b, source, data.s),
        ask_price=data.a,
        ask_size=_base_size(data.A, data.a, source, data.s),
    )


def _mark_price(data: MarkPriceData, source: str, path: str) -> Event:
    return Derivative(
        instrument_id=instrument(source, data.s, path),
        venue=source,
        event_time_ns=data.E * _MS,
        mark_price=data.p,
        index_price=UNKNOWN if data.i is None else data.i,
        funding_rate=data.r if isinstance(data.r, float) else UNKNOWN,
        next_funding_time_ns=data.T * _MS,
    )


def _liquidation(data: LiquidationData, source: str, path: str) -> Event:
    order = data.o
    price = order.ap or order.p
    return Liquidation(
        instrument_id=instrument(source, order.s, f"{path}.o"),
        venue=source,
        event_time_ns=order.T * _MS,
        price=price,
        size=_base_size(order.q, price, source, order.s),
        side=1 if order.S == "BUY" else -1,
    )


def _bar(data: CandleData, source: str, path: str) -> Event | LeftOut:
    candle = data.k
    if not candle.l <= min(candle.o, candle.c) <= max(candle.o, candle.c) <= candle.h:
        raise DecodeError(f"expected low <= open, close <= high, got {shown(candle)}", path=f"{path}.k")
    if candle.t > candle.T:
        raise DecodeError(f"expected an end after the start {candle.t}, got {candle.T}", path=f"{path}.k.T")
    name = instrument(source, data.s, path)
    if not candle.x:
        return LeftOut("open-kline")
    inverse = contract_usd(source, data.s) > 0
    return Bar(
        instrument_id=name,
        venue=source,
        event_time_ns=(candle.T + 1) * _MS - 1,
        open=candle.o,
        high=candle.h,
        low=candle.l,
        close=candle.c,
        volume=candle.q if inverse else candle.v,
        trade_count=float(candle.n),
        interval_ns=(candle.T + 1 - candle.t) * _MS,
    )


_BY_RECORD = {
    "trade": _Reader(TradeData, _trade),
    "aggTrade": _Reader(AggregateData, _aggregate),
    "bookTicker": _Reader(QuoteData, _quote),
    "markPriceUpdate": _Reader(MarkPriceData, _mark_price),
    "forceOrder": _Reader(LiquidationData, _liquidation),
    "kline": _Reader(CandleData, _bar),
    "depthUpdate": _Reader(DepthData, book_change),
}
_SNAPSHOT = msgspec.json.Decoder(Snapshot, strict=False)
_FRAMED_SNAPSHOT = msgspec.json.Decoder(_Frame[Snapshot], strict=False)
_EMPTY_TRADE = msgspec.json.Decoder(EmptyTradeData, strict=False)
_ONE_SIDED = msgspec.json.Decoder(OneSidedData, strict=False)
_BY_STREAM = {
    name.encode(): _BY_RECORD[kind]
    for name, kind in {
        "trade": "trade",
        "aggTrade": "aggTrade",
        "bookTicker": "bookTicker",
        "markPrice": "markPriceUpdate",
        "markPrice@1s": "markPriceUpdate",
        "forceOrder": "forceOrder",
        "depth": "depthUpdate",
        "depth@0ms": "depthUpdate",
        "depth@100ms": "depthUpdate",
        "depth@250ms": "depthUpdate",
        "depth@500ms": "depthUpdate",
    }.items()
}
"""The usual streams of one symbol, by what follows their `@`: told apart without reading the frame."""
_OTHER_RECORDS = frozenset(
    {
        *("24hrTicker", "24hrMiniTicker", "1hTicker", "4hTicker", "1dTicker", "avgPrice", "compositeIndex"),
        *("contractInfo", "continuous_kline", "indexPriceUpdate", "indexPrice_kline", "markPrice_kline"),
        *("assetIndexUpdate", "tradingSession", "serverShutdown"),
    }
)
"""Records that Binance sends and nobody here reads."""
