"""Huobi's (HTX's) spot stream, in gzip: trades, best prices, whole books, and level-2 changes.

`depth.step0` sends the whole of 150 levels each time, `mbp` changes from `prevSeqNum` to `seqNum`,
which join the book that is asked for over the same connection (`rep`).

https://huobiapi.github.io/docs/spot/v1/en/#websocket-market-data
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange
from streams.formats.fields import Milliseconds, NonNegative, Number, Positive, read, shown
from streams.formats.gzipped import unpacked
from streams.formats.levels import NumberLevels
from streams.formats.pairs import of_word
from streams.formats.quotes import quote
from streams.formats.rest import rest_answer

FORMAT = "huobi-websocket"

_VENUE = "huobi"
_MS = 1_000_000
_DEPTH = 150
_QUOTES = ("USDT", "USDC", "USDD", "HUSD", "BTC", "ETH", "TRX", "HT")
_Made = list[Event | BookChange] | LeftOut
_UNREAD = {
    "kline": "candle",  # it does not say whether it is closed
    "detail": "ticker",
    "ticker": "ticker",
}


class _Frame(msgspec.Struct, frozen=True, gc=False):
    """`ch`: the channel of data; `rep`: what was asked for."""

    ch: Annotated[str, Meta(max_length=128)] = ""
    rep: Annotated[str, Meta(max_length=128)] = ""
    tick: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")
    ts: Milliseconds | None = None
    ping: int | None = None
    status: str = ""
    subbed: str = ""
    unsubbed: str = ""


class _Trade(msgspec.Struct, frozen=True, gc=False):
    """`direction` is the taker's side."""

    ts: Milliseconds
    tradeId: Number  # noqa: N815 - Huobi's name
    amount: Positive
    price: Positive
    direction: Literal["buy", "sell"]


class _Trades(msgspec.Struct, frozen=True, gc=False):
    data: list[_Trade]


class _Depth(msgspec.Struct, frozen=True, gc=False):
    bids: NumberLevels
    asks: NumberLevels
    ts: Milliseconds
    version: Number = -1


class _Best(msgspec.Struct, frozen=True, gc=False):
    seqId: Number  # noqa: N815 - Huobi's names
    quoteTime: Milliseconds  # noqa: N815
    bid: NonNegative
    bidSize: NonNegative  # noqa: N815
    ask: NonNegative
    askSize: NonNegative  # noqa: N815


class _Changes(msgspec.Struct, frozen=True, gc=False):
    seqNum: Number  # noqa: N815 - Huobi's names
    prevSeqNum: Number = -1  # noqa: N815
    bids: NumberLevels | None = None
    asks: NumberLevels | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_CHANGES = msgspec.json.Decoder(_Changes)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return LeftOut("instrument-list" if answer.path.endswith("/common/symbols") else "rest-answer")
    frame = read(_FRAME, unpacked(value))
    control = _control(frame)
    if control:
        return LeftOut(control)
    if frame.rep:
        return _asked(frame)
    market, _, rest = frame.ch.partition(".")
    symbol, _, channel = rest.partition(".")
    if market != "market" or not channel:
        raise DecodeError(f"expected a channel such as market.btcusdt.depth.step0, got {shown(frame.ch)}", path="$.ch")
    name = channel.partition(".")[0]
    if channel != "trade.detail" and name in _UNREAD:
        return LeftOut(_UNREAD[name])
    if name == "depth" and channel != "depth.step0":
        return LeftOut("merged-depth")
    reader = _READERS.get(channel) or (_READERS.get("mbp") if name == "mbp" else None)
    if reader is None:
        raise DecodeError(f"expected a channel of Huobi's spot market, got {shown(frame.ch)}", path="$.ch")
    decoder, build = reader
    return build(read(decoder, frame.tick), of_word(_VENUE, symbol.upper(), _QUOTES), frame)


def _control(frame: _Frame) -> str:
    """Return what a frame without data is, "" for the others."""
    if frame.ping is not None:
        return "ping"
    if frame.status == "error":
        return "error"
    return "subscription" if frame.subbed or frame.unsubbed else ""


def _asked(frame: _Frame) -> _Made:
    """Return the book that `rep` answers with; other answers are left out."""
    market, _, rest = frame.rep.partition(".")
    symbol, _, channel = rest.partition(".")
    if market != "market" or not channel.startswith("mbp."):
        return LeftOut("answer")
    return _book(read(_CHANGES, frame.data), of_word(_VENUE, symbol.upper(), _QUOTES), frame)


def _trades(trades: _Trades, instrument_id: str, _frame: _Frame) -> _Made:
    return [
        Trade(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=trade.ts * _MS,
            sequence=trade.tradeId,
            price=trade.price,
            size=trade.amount,
            side=1 if trade.direction == "buy" else -1,
        )
        for trade in trades.data
    ] or LeftOut("nothing-in-it")


def _depth(depth: _Depth, instrument_id: str, _frame: _Frame) -> _Made:
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=depth.ts * _MS,
            bids=depth.bids,
            asks=depth.asks,
            snapshot=True,
            last=depth.version,
            limit=_DEPTH,
        )
    ]


def _best(best: _Best, instrument_id: str, _frame: _Frame) -> _Made:
    made = quote(instrument_id, best.quoteTime * _MS, (best.bid, best.bidSize), (best.ask, best.askSize), best.seqId)
    return made if isinstance(made, LeftOut) else [made]


def _book(changes: _Changes, instrument_id: str, frame: _Frame) -> _Made:
    """Return changes, or all of a book: `rep` and `mbp.refresh` hold the whole."""
    levels = (frame.rep or frame.ch).rpartition(".")[2]
    whole = bool(frame.rep) or ".refresh." in frame.ch
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=_VENUE,
            event_time_ns=(frame.ts or 0) * _MS,
            bids=changes.bids or [],
            asks=changes.asks or [],
            snapshot=whole,
            last=changes.seqNum,
            previous=-1 if whole else changes.prevSeqNum,
            limit=int(levels) if whole and levels in _MBP_LEVELS else 0,
        )
    ]


_MBP_LEVELS = {"5", "10", "20", "150", "400"}
_Build = Callable[[Any, str, _Frame], _Made]


def _reader(kind: Any, build: _Build) -> tuple[msgspec.json.Decoder[Any], _Build]:
    return msgspec.json.Decoder(kind), build


_READERS = {
    "trade.detail": _reader(_Trades, _trades),
    "depth.step0": _reader(_Depth, _depth),
    "bbo": _reader(_Best, _best),
    "mbp": _reader(_Changes, _book),
}
