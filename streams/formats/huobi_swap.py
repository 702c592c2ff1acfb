"""Huobi's (HTX's) perpetuals, coin- and USDT-margined, in gzip: trades, best prices, whole books, funding.

Sizes are in contracts. Those of trades and of open interest count both sides: a trade of one contract
says 2 (its documentation: "Sum of both buy and sell sides"; all trades of the recordings are even).

https://huobiapi.github.io/docs/usdt_swap/v1/en/#websocket-market-data
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Liquidation, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Milliseconds, Name, NonNegative, Number, Positive, read, shown
from streams.formats.gzipped import unpacked
from streams.formats.huobi_contracts import CONTRACT_SIZES, contract_usd
from streams.formats.levels import NumberLevels
from streams.formats.pairs import of_parts
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer
from streams.formats.sizes import of_contracts

FORMAT = "huobi-swap-websocket"

_VENUE = "huobi-swap"
_MS = 1_000_000
_SIDES = 2
_DEPTHS = {"depth.step0": 150, "depth.step6": 20}
"""Depth that is not merged over prices, to its levels."""
_Made = list[Event | BookChange] | LeftOut
_UNREAD = {"kline": "candle", "detail": "ticker", "basis": "basis", "premium_index": "basis", "estimated_rate": "basis"}
_UNKNOWN_SIZE = LeftOut("contract-of-unknown-size")


class _Frame(msgspec.Struct, frozen=True, gc=False):
    """`ch`: the channel of market data; `op` and `topic`: a notice."""

    ch: Annotated[str, Meta(max_length=128)] = ""
    tick: msgspec.Raw = msgspec.Raw(b"null")
    op: Annotated[str, Meta(max_length=16)] = ""
    topic: Annotated[str, Meta(max_length=128)] = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    ts: Milliseconds | None = None
    ping: int | None = None
    status: str = ""
    subbed: str = ""
    unsubbed: str = ""


_Level = tuple[Positive, NonNegative]


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """`quantity` is in base units, of both sides; `direction` is the taker's side."""

    ts: Milliseconds
    id: Number
    quantity: Positive
    price: Positive
    direction: Literal["buy", "sell"]


class _Trades(msgspec.Struct, frozen=True, gc=False):
    data: list[_Trade]


class _Depth(msgspec.Struct, frozen=True, gc=False):
    """A book; `mrid` is the id of the last order in it."""

    ts: Milliseconds
    mrid: Number
    bids: NumberLevels | None = None
    asks: NumberLevels | None = None


class _Best(msgspec.Struct, frozen=True, gc=False):
    ts: Milliseconds
    mrid: Number
    bid: _Level | None = None
    ask: _Level | None = None


class _Funding(msgspec.Struct, frozen=True, gc=False):
    """`funding_rate` is paid at `settlement_time`."""

    contract_code: Name
    funding_rate: Annotated[float, Meta(ge=-10, le=10)]
    settlement_time: Milliseconds


class _Interest(msgspec.Struct, frozen=True, gc=False):
    """`amount`: open interest in base units, of both sides."""

    contract_code: Name
    amount: NonNegative


class _Liquidation(msgspec.Struct, frozen=True, gc=False):
    """`direction` is of the order that closes the position, `volume` in contracts, of one side."""

    contract_code: Name
    direction: Literal["buy", "sell"]
    volume: Positive
    price: Positive
    created_at: Milliseconds


_FRAME = msgspec.json.Decoder(_Frame)
_FUNDING = msgspec.json.Decoder(list[_Funding], strict=False)
_INTERESTS = msgspec.json.Decoder(list[_Interest], strict=False)
_LIQUIDATIONS = msgspec.json.Decoder(list[_Liquidation], strict=False)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return LeftOut("instrument-list" if answer.path.endswith("/swap_contract_info") else "rest-answer")
    frame = read(_FRAME, unpacked(value))
    if frame.ping is not None or frame.op == "ping":
        return LeftOut("ping")
    if frame.status == "error":
        return LeftOut("error")
    if frame.subbed or frame.unsubbed or frame.op in {"sub", "unsub"}:
        return LeftOut("subscription")
    if frame.op == "notify":
        return _notice(frame)
    market, _, rest = frame.ch.partition(".")
    code, _, channel = rest.partition(".")
    if market != "market" or not channel:
        raise DecodeError(f"expected a channel such as market.BTC-USD.depth.step0, got {shown(frame.ch)}", path="$.ch")
    return _market(frame, code, channel)


def _market(frame: _Frame, code: str, channel: str) -> _Made:
    name = channel.partition(".")[0]
    if channel == "trade.detail":
        return _trades(read(_TRADES, frame.tick), code)
    if channel == "open_interest":
        return _interests(read(_INTERESTS, frame.data), frame)
    if name in _UNREAD:
        return LeftOut(_UNREAD[name])
    if name == "depth" and channel not in _DEPTHS:
        return LeftOut("merged-depth" if ".step" in channel else "depth-changes")
    reader = _READERS.get(channel)
    if reader is None:
        raise DecodeError(f"expected a channel of Huobi's swaps, got {shown(frame.ch)}", path="$.ch")
    decoder, build = reader
    tick, instrument_id = read(decoder, frame.tick), _instrument(code)
    if not _is_known(code):
        return _UNKNOWN_SIZE
    return build(tick, instrument_id, channel)


def _notice(frame: _Frame) -> _Made:
    if frame.topic.endswith(".funding_rate"):
        return _funding(read(_FUNDING, frame.data), frame)
    if frame.topic.endswith(".liquidation_orders"):
        return _liquidations(read(_LIQUIDATIONS, frame.data))
    return LeftOut("notice")


def _trades(trades: _Trades, code: str) -> _Made:
    instrument_id = _instrument(code)
    return [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=trade.ts * _MS,
            sequence=trade.id,
            price=trade.price,
            size=trade.quantity / _SIDES,
            side=1 if trade.direction == "buy" else -1,
        )
        for trade in trades.data
    ] or LeftOut("nothing-in-it")


def _depth(depth: _Depth, instrument_id: str, channel: str) -> _Made:
    code = _code(instrument_id)
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=depth.ts * _MS,
            bids=depth.bids or [],
            asks=depth.asks or [],
            snapshot=True,
            limit=_DEPTHS[channel],
            size_unit=CONTRACT_SIZES.get(code, 1.0),
            contract_usd=contract_usd(code),
        )
    ]


def _best(best: _Best, instrument_id: str, _channel: str) -> _Made:
    code = _code(instrument_id)
    bid, ask = _base_units(best.bid, code), _base_units(best.ask, code)
    made = quote(instrument_id, best.ts * _MS, bid, ask, best.mrid)
    return made if isinstance(made, LeftOut) else [made]


def _base_units(level: _Level | None, code: str) -> tuple[float, float]:
    if level is None:
        return 0.0, 0.0
    price, contracts = level
    return price, _base_size(contracts, price, code)


def _base_size(contracts: float, price: float, code: str) -> float:
    usd = contract_usd(code)
    return of_contracts(contracts, usd, price) if usd else contracts * CONTRACT_SIZES[code]


def _is_known(code: str) -> bool:
    return contract_usd(code) > 0 or code in CONTRACT_SIZES


def _interests(interests: list[_Interest], frame: _Frame) -> _Made:
    return [
        Derivative(
            instrument_id=_instrument(interest.contract_code),
            venue=_VENUE,
            event_time_ns=(frame.ts or 0) * _MS,
            open_interest=interest.amount / _SIDES,
        )
        for interest in interests
    ] or LeftOut("nothing-in-it")


def _funding(rates: list[_Funding], frame: _Frame) -> _Made:
    return [
        Derivative(
            instrument_id=_instrument(rate.contract_code),
            venue=_VENUE,
            event_time_ns=(frame.ts or 0) * _MS,
            funding_rate=rate.funding_rate,
            next_funding_time_ns=rate.settlement_time * _MS,
        )
        for rate in rates
    ] or LeftOut("nothing-in-it")


def _liquidations(orders: list[_Liquidation]) -> _Made:
    return [
        Liquidation(
            instrument_id=_instrument(order.contract_code),
            venue=_VENUE,
            event_time_ns=order.created_at * _MS,
            price=order.price,
            size=_base_size(order.volume, order.price, order.contract_code),
            side=1 if order.direction == "buy" else -1,
        )
        for order in orders
        if _is_known(order.contract_code)
    ] or _UNKNOWN_SIZE


def _instrument(code: str) -> str:
    """Return the perpetual `BTC-USD` or the dated contract `BTC-USDT-250627`."""
    pair, dash, day = code.rpartition("-")
    if dash and len(day) == 6 and day.isascii() and day.isdigit():  # noqa: PLR2004 - YYMMDD
        return of_parts(_VENUE, pair, "-", day)
    return of_parts(_VENUE, code, "-", "PERP")


def _code(instrument_id: str) -> str:
    return instrument_id.partition(":")[2].removesuffix("-PERP")


_Build = Callable[[Any, str, str], _Made]


def _reader(kind: Any, build: _Build) -> tuple[msgspec.json.Decoder[Any], _Build]:
    return msgspec.json.Decoder(kind), build


_TRADES = msgspec.json.Decoder(_Trades, strict=False)
_READERS = {**dict.fromkeys(_DEPTHS, _reader(_Depth, _depth)), "bbo": _reader(_Best, _best)}
