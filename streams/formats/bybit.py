"""Bybit's public streams (version 5): trades, books, funding and interest, liquidations, candles.

Frames of the spot and of the derivatives stream look alike and use the same symbols: the source says
which it is, `bybit-spot` or `bybit`. Changes of tickers tell one side alone as often as both, so best
prices come from the books.

https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
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
from streams.formats.candles import closed_bar
from streams.formats.expiries import day_of_text
from streams.formats.fields import Identifier, Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.levels import NumberLevels
from streams.formats.pairs import of_word
from streams.formats.rest import rest_answer
from streams.formats.sizes import of_contracts

FORMAT = "bybit-websocket"
SOURCES = {"bybit": "derivatives", "bybit-spot": "spot"}
"""The streams by their sources; both are of the venue bybit."""

_VENUE = "bybit"
_MS = 1_000_000
_MINUTE_NS = 60_000_000_000
_Made = list[Event | BookChange] | LeftOut
_Side = Literal["Buy", "Sell"]
_SPOT_QUOTES = (
    *("RLUSD", "USDT", "USDC", "USD1", "USDE", "XUSD", "USD", "EUR", "BTC", "BRL", "GBP", "AED", "PLN", "TRY", "ETH"),
    "SOL",
)
"""What the spot market is quoted in, as listed on 2026-08-09; the longest ending counts."""
_STABLE = ("USDT", "USDC")
_USDC_PERPETUAL = re.compile(r"([A-Z0-9]{1,20})PERP")
_INVERSE_PERPETUAL = re.compile(r"([A-Z0-9]{1,20})USD")
_DATED = re.compile(r"([A-Z0-9]{1,20}?)(USDT)?-([0-9]{1,2}[A-Z]{3}[0-9]{2})")
_INVERSE_DATED = re.compile(r"[A-Z0-9]{1,20}USD[FGHJKMNQUVXZ][0-9]{2}")
_OPTION = re.compile(r"[A-Z0-9]{1,20}-[0-9]{1,2}[A-Z]{3}[0-9]{2}-[0-9]{1,9}-[CP](-USDT)?")
_CONTRACT_USD = 1.0
"""What a contract of inverse perpetuals is worth."""


class _Frame(msgspec.Struct, frozen=True, gc=False):
    topic: Annotated[str, Meta(max_length=64)] = ""
    op: Annotated[str, Meta(max_length=64)] = ""
    type: Annotated[str, Meta(max_length=64)] = ""
    ts: Milliseconds = 1
    cts: Milliseconds | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `S` is the taker's side, `BT` a block trade, agreed off the book."""

    T: Milliseconds
    s: Name
    S: _Side
    v: Positive
    p: Positive
    i: Identifier
    BT: bool = False
    seq: Number | None = None


class _Book(msgspec.Struct, frozen=True, gc=False):
    """`u` rises by one with each change; it is 1 where the service began anew, with a whole book."""

    s: Name
    b: NumberLevels
    a: NumberLevels
    u: Number


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    """What changed of a ticker."""

    symbol: Name
    markPrice: Positive | Literal[""] = ""  # noqa: N815 - Bybit's names
    indexPrice: Positive | Literal[""] = ""  # noqa: N815
    openInterest: NonNegative | Literal[""] = ""  # noqa: N815
    fundingRate: Annotated[float, Meta(ge=-10, le=10)] | Literal[""] = ""  # noqa: N815
    nextFundingTime: Annotated[int, Meta(ge=0, le=4_102_444_800_000)] | Literal[""] = ""  # noqa: N815


class _Liquidation(msgspec.Struct, frozen=True, gc=False):
    """A liquidation; `S` is the side of the position that was closed."""

    T: Milliseconds
    s: Name
    S: _Side
    v: Positive
    p: Positive


class _Candle(msgspec.Struct, frozen=True, gc=False):
    start: Milliseconds
    end: Milliseconds
    open: Positive
    close: Positive
    high: Positive
    low: Positive
    volume: NonNegative
    turnover: NonNegative
    confirm: bool


_FRAME = msgspec.json.Decoder(_Frame)
_OPERATIONS = {
    **dict.fromkeys(("subscribe", "unsubscribe"), "subscription"),
    **dict.fromkeys(("ping", "pong"), "heartbeat"),
    "auth": "notice",
}
"""Answers, and how they are counted."""
_LEFT_OUT = frozenset({"tickers_lt", "kline_lt", "lt", "liquidation", "insurance", "adlAlert", "priceLimit"})
"""Leveraged tokens, notices, and the stream of one liquidation a second that `allLiquidation` replaced."""


def decode(value: bytes, source: str) -> _Made:
    """Return the events of one frame of the stream `source`; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    if source not in SOURCES:
        raise DecodeError(f"expected one of {', '.join(SOURCES)}, got {shown(source)}", path="headers.source")
    frame = read(_FRAME, value)
    if frame.op in _OPERATIONS and not frame.topic:
        return LeftOut(_OPERATIONS[frame.op])
    parts = frame.topic.split(".")
    if parts[0] in _LEFT_OUT:
        return LeftOut(parts[0])
    reader = _READERS.get(parts[0])
    if reader is None or len(parts) < 2:  # noqa: PLR2004 - name and symbol
        raise DecodeError(f"expected a topic of Bybit, got {shown(frame.topic)}", path="$.topic")
    decoder, build = reader
    record = read(decoder, frame.data)
    instrument_id, usd = _instrument(SOURCES[source] == "spot", parts[-1])
    return build(record, frame, instrument_id, usd) if instrument_id else LeftOut("other-contract")


def _trades(trades: list[_Trade], _frame: _Frame, instrument_id: str, usd: float) -> _Made:
    made: list[Event | BookChange] = [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=trade.T * _MS,
            sequence=-1 if trade.seq is None else trade.seq,
            id=trade.i,
            price=trade.p,
            size=of_contracts(trade.v, usd, trade.p) if usd else trade.v,
            side=1 if trade.S == "Buy" else -1,
        )
        for trade in trades
        if not trade.BT
    ]
    return made or LeftOut("block-trade" if trades else "no-trades")


def _book(book: _Book, frame: _Frame, instrument_id: str, usd: float) -> _Made:
    snapshot = frame.type == "snapshot"
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            # `cts` is the time of the matching engine, which trades carry too.
            event_time_ns=(frame.cts or frame.ts) * _MS,
            bids=book.b,
            asks=book.a,
            snapshot=snapshot,
            first=-1 if snapshot else book.u,
            last=book.u,
            depth=_depth(frame.topic),
            contract_usd=usd,
        )
    ]


def _depth(topic: str) -> int:
    depth = topic.split(".")[1]
    if depth in {"1", "25", "50", "100", "200", "500", "1000"}:
        return int(depth)
    raise DecodeError(f"expected a topic such as orderbook.50.BTCUSDT, got {shown(topic)}", path="$.topic")


def _ticker(ticker: _Ticker, frame: _Frame, instrument_id: str, usd: float) -> _Made:
    told = (ticker.markPrice, ticker.indexPrice, ticker.openInterest, ticker.fundingRate)
    mark, index, interest, rate = (UNKNOWN if number == "" else number for number in told)
    if all(number == "" for number in (*told, ticker.nextFundingTime)):
        return LeftOut("ticker-of-prices")
    if usd:
        interest = of_contracts(interest, usd, mark)
    return [
        Derivative(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=frame.ts * _MS,
            mark_price=mark,
            index_price=index,
            funding_rate=rate,
            next_funding_time_ns=(ticker.nextFundingTime or 0) * _MS,
            open_interest=interest,
        )
    ]


def _liquidations(records: list[_Liquidation], _frame: _Frame, instrument_id: str, usd: float) -> _Made:
    made: list[Event | BookChange] = [
        Liquidation(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=record.T * _MS,
            price=record.p,
            size=of_contracts(record.v, usd, record.p) if usd else record.v,
            side=-1 if record.S == "Buy" else 1,
        )
        for record in records
    ]
    return made or LeftOut("no-liquidations")


def _candles(candles: list[_Candle], _frame: _Frame, instrument_id: str, usd: float) -> _Made:
    made: list[Event | BookChange] = [
        closed_bar(
            instrument_id,
            candle.start * _MS,
            _interval_ns(candle),
            (candle.open, candle.high, candle.low, candle.close),
            candle.turnover if usd else candle.volume,  # of inverse contracts the turnover is in the base asset
            "$.data",
        )
        for candle in candles
        if candle.confirm
    ]
    return made or LeftOut("open-candle")


def _interval_ns(candle: _Candle) -> int:
    interval_ns = (candle.end + 1 - candle.start) * _MS
    if interval_ns < _MINUTE_NS:
        raise DecodeError(f"expected an end a minute or more after the start, got {shown(candle)}", path="$.data")
    return interval_ns


@lru_cache(maxsize=65_536)
def _instrument(spot: bool, symbol: str) -> tuple[str, float]:
    """Return the instrument of a symbol, and the dollars a contract where it is inverse; "" if it is not read."""
    if spot:
        return of_word(_VENUE, symbol, _SPOT_QUOTES), 0.0
    dated = _DATED.fullmatch(symbol)
    if symbol.endswith(_STABLE):
        return of_word(_VENUE, symbol, _STABLE, "PERP"), 0.0
    if match := _USDC_PERPETUAL.fullmatch(symbol):
        return f"{_VENUE}:{match[1]}-USDC-PERP", 0.0
    if match := _INVERSE_PERPETUAL.fullmatch(symbol):
        return f"{_VENUE}:{match[1]}-USD-PERP", _CONTRACT_USD
    if dated is not None and (day := day_of_text(dated[3])):
        return f"{_VENUE}:{dated[1]}-{dated[2] or 'USDC'}-{day}", 0.0
    if _INVERSE_DATED.fullmatch(symbol) or _OPTION.fullmatch(symbol):
        return "", 0.0
    raise DecodeError(f"expected a symbol of Bybit such as BTCUSDT, got {shown(symbol)}", path="$.topic")


def _reader(kind: Any, build: Callable[..., _Made]) -> tuple[msgspec.json.Decoder[Any], Callable[..., _Made]]:
    return msgspec.json.Decoder(kind, strict=False), build


_READERS = {
    "publicTrade": _reader(list[_Trade], _trades),
    "orderbook": _reader(_Book, _book),
    "tickers": _reader(_Ticker, _ticker),
    "allLiquidation": _reader(list[_Liquidation], _liquidations),
    "kline": _reader(list[_Candle], _candles),
}
