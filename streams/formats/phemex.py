"""Phemex's public stream: trades, candles, level-2 books of 30 levels. Prices come as scaled integers.

Perpetuals in USD have prices in 1/10,000 and sizes in contracts; spot (`sBTCUSDT`) has both in
1/100,000,000. Sequences rise and leave out numbers, so a gap cannot be told from them; a whole book
comes every minute. What a contract of unknown size says is left out.

https://phemex-docs.github.io/#websocket-api-standards
"""

from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import Bar, DecodeError, Event, LeftOut, Trade
from streams.formats.book import BookChange, NumberLevel
from streams.formats.fields import LAST_NS, Name, Number, read, shown
from streams.formats.levels import MAX_LEVELS
from streams.formats.pairs import of_word
from streams.formats.rest import rest_answer

FORMAT = "phemex-websocket"

_VENUE = "phemex"
_SECOND = 1_000_000_000
_SPOT_SCALE = 100_000_000
_CONTRACT_SCALE = 10_000
_Made = list[Event | BookChange] | LeftOut

_BY_SIZE = {
    0.0001: "YFI",
    0.001: "GOLD MKR",
    0.005: "BCH COMP ETH",
    0.01: "AAVE KSM XMR ZEC",
    0.02: "LTC",
    0.1: "FIL NEO",
    0.2: "LINK",
    0.5: "XTZ",
    1.0: "ATOM DOT EOS LUNA QTUM SNX SOL SUSHI UNI",
    5.0: "ALGO XRP",
    10.0: "BAT CHZ ENJ GRT MANA ONT XLM",
    20.0: "ADA",
    100.0: "DOGE TRX",
}
_CONTRACT_SIZES = {f"{base}USD": size for size, bases in _BY_SIZE.items() for base in bases.split()}
"""Base units of a contract (`contractSize`), from Phemex's own list of 2021-07-03; no others are known here."""
_INVERSE_USD = {"BTCUSD": 1.0}
"""Dollars that an inverse contract is worth, from the same list."""

_Scaled = Annotated[int, Meta(ge=0, le=10**18)]
_Price = Annotated[int, Meta(ge=1, le=10**18)]
_Nanoseconds = Annotated[int, Meta(ge=1, le=LAST_NS)]
_Seconds = Annotated[int, Meta(ge=1, le=LAST_NS // _SECOND)]


class Market(msgspec.Struct, frozen=True):
    """How one symbol's integers are read."""

    instrument_id: str
    price_scale: int
    size_scale: int = 1
    size_unit: float = 1.0
    contract_usd: float = 0.0

    def size(self, scaled: int, price: float) -> float:
        """Return a size in base units."""
        if self.contract_usd:
            return scaled * self.contract_usd / price
        return scaled / self.size_scale * self.size_unit


_Row = tuple[_Nanoseconds, Literal["Buy", "Sell"], _Price, _Price]
"""A trade: time, side of the taker, price, size."""
_Candle = tuple[
    _Seconds, Annotated[int, Meta(ge=1, le=31_536_000)], _Scaled, _Price, _Price, _Price, _Price, _Scaled, _Scaled
]
"""Start (s), length (s), close of the one before, open, high, low, close, volume, turnover."""
_Levels = Annotated[list[tuple[_Price, _Scaled]], Meta(max_length=MAX_LEVELS)]


class _Book(msgspec.Struct, frozen=True, gc=False):
    asks: _Levels
    bids: _Levels


class _Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame of any kind; `type` is snapshot or incremental."""

    symbol: Name = ""
    sequence: Number = 0
    type: str = ""
    timestamp: _Nanoseconds | None = None
    depth: Annotated[int, Meta(ge=0, le=MAX_LEVELS)] = 0
    book: _Book | None = None
    trades: list[_Row] | None = None
    kline: list[_Candle] | None = None
    market24h: msgspec.Raw = msgspec.Raw(b"")
    tick: msgspec.Raw = msgspec.Raw(b"")
    id: int | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_FRAME = msgspec.json.Decoder(_Frame)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the format is of one venue
    """Return the events of one frame; raises DecodeError."""
    answer = rest_answer(value)
    if answer is not None:
        return LeftOut("instrument-list" if answer.path.endswith("/products") else "rest-answer")
    frame = read(_FRAME, value)
    if bytes(frame.error):
        return LeftOut("subscription" if bytes(frame.error) == b"null" else "error")
    if bytes(frame.market24h) or bytes(frame.tick):
        return LeftOut("ticker")
    return _data(frame)


def _data(frame: _Frame) -> _Made:
    if frame.type not in {"snapshot", "incremental"}:
        raise DecodeError(f"expected snapshot or incremental, got {shown(frame.type)}", path="$.type")
    market = _market(frame.symbol)
    if market is None:
        return LeftOut("contract-of-unknown-size")
    if frame.book is not None:
        return [_book(frame, frame.book, market)]
    if frame.trades is not None:
        return _trades(frame, frame.trades, market)
    if frame.kline is not None:
        return _candles(frame, frame.kline, market)
    raise DecodeError("expected a book, trades or a kline, got none of them")


@lru_cache(maxsize=4_096)
def _market(symbol: str) -> Market | None:
    if symbol.startswith("s"):
        return Market(of_word(_VENUE, symbol[1:], ("USDT",)), _SPOT_SCALE, _SPOT_SCALE)
    instrument_id = of_word(_VENUE, symbol, ("USD",), "PERP")
    if symbol in _INVERSE_USD:
        return Market(instrument_id, _CONTRACT_SCALE, contract_usd=_INVERSE_USD[symbol])
    size = _CONTRACT_SIZES.get(symbol)
    return None if size is None else Market(instrument_id, _CONTRACT_SCALE, size_unit=size)


def _book(frame: _Frame, book: _Book, market: Market) -> BookChange:
    snapshot = frame.type == "snapshot"
    return BookChange(
        instrument_id=market.instrument_id,
        venue=_VENUE,
        # A snapshot has the time of its last change, which may be long ago: it counts from when it came.
        event_time_ns=0 if snapshot else frame.timestamp or 0,
        bids=_levels(book.bids, market),
        asks=_levels(book.asks, market),
        snapshot=snapshot,
        last=frame.sequence,
        depth=frame.depth,
        size_unit=market.size_unit,
        contract_usd=market.contract_usd,
    )


def _levels(levels: list[tuple[int, int]], market: Market) -> list[NumberLevel]:
    return [(price / market.price_scale, size / market.size_scale) for price, size in levels]


def _trades(frame: _Frame, rows: list[_Row], market: Market) -> _Made:
    # The first frame repeats up to 200 trades of the last hours.
    if frame.type == "snapshot":
        return LeftOut("trade-history")
    made: list[Event | BookChange] = []
    for index, (time_ns, side, scaled, size) in enumerate(rows):
        price = scaled / market.price_scale
        made.append(
            Trade(
                instrument_id=market.instrument_id,
                venue=_VENUE,
                event_time_ns=time_ns,
                sequence=frame.sequence,
                id=str(index),
                price=price,
                size=market.size(size, price),
                side=1 if side == "Buy" else -1,
            )
        )
    return made or LeftOut("nothing-in-it")


def _candles(frame: _Frame, rows: list[_Candle], market: Market) -> _Made:
    """Return the candles that are closed: those before the newest of the frame."""
    if frame.type == "snapshot":
        return LeftOut("candle-history")
    newest = max((row[0] for row in rows), default=0)
    made: list[Event | BookChange] = [_bar(row, market) for row in rows if row[0] + row[1] <= newest]
    return made or LeftOut("open-candle")


def _bar(row: _Candle, market: Market) -> Bar:
    start, length, _, opened, high, low, closed, volume, _ = row
    if not low <= min(opened, closed) <= max(opened, closed) <= high:
        raise DecodeError(f"expected low <= open, close <= high, got {shown(row)}", path="$.kline")
    scale = market.price_scale
    return Bar(
        instrument_id=market.instrument_id,
        venue=_VENUE,
        event_time_ns=(start + length) * _SECOND - 1,
        # It may be sent again with the next frames.
        sequence=start,
        id=f"{length}s",
        open=opened / scale,
        high=high / scale,
        low=low / scale,
        close=closed / scale,
        volume=market.size(volume, closed / scale),
        interval_ns=length * _SECOND,
    )
