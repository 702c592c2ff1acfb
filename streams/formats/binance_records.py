"""Records that Binance sends, with what a field may hold."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.formats.fields import Milliseconds, Name, NonNegative, Number, Positive

Rate = Annotated[float, Meta(ge=-10, le=10)]
"""A funding rate: a ratio."""


Level = tuple[Positive, NonNegative]
"""Price and size of a book level; size 0 removes it."""


ON_MARKET = "MARKET"
"""Other trades (INSURANCE_FUND, ADL) are settled off the book, at prices that may be far from it."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record, its fields under Binance's names; those that nobody reads are not named."""


class TradeData(Record, frozen=True, gc=False):
    """One trade; `m`: the buyer was the maker. `X`: where it was made; spot does not say."""

    e: Literal["trade"]
    s: Name
    t: Number
    p: Positive
    q: Positive
    T: Milliseconds
    m: bool
    X: Name = ON_MARKET


class AggregateData(Record, frozen=True, gc=False):
    """Trades of one taker order at one price."""

    e: Literal["aggTrade"]
    s: Name
    a: Number
    p: Positive
    q: Positive
    T: Milliseconds
    m: bool


class QuoteData(Record, frozen=True, gc=False):
    """Best bid and ask; spot sends neither `T` nor `E`."""

    s: Name
    u: Number
    b: Positive
    B: Positive
    a: Positive
    A: Positive
    e: Literal["bookTicker"] = "bookTicker"
    T: Milliseconds | None = None
    E: Milliseconds | None = None


class MarkPriceData(Record, frozen=True, gc=False):
    """Mark price, index and funding; dated contracts send an empty rate and next time 0."""

    e: Literal["markPriceUpdate"]
    s: Name
    E: Milliseconds
    p: Positive
    i: Positive | None = None
    r: Rate | Literal[""] | None = None
    T: Annotated[int, Meta(ge=0, le=4_102_444_800_000)] = 0


class ForcedOrder(Record, frozen=True, gc=False):
    """The order of a liquidation; `ap` the average price, 0 until something is filled."""

    s: Name
    S: Literal["BUY", "SELL"]
    q: Positive
    p: Positive
    T: Milliseconds
    ap: NonNegative = 0.0


class LiquidationData(Record, frozen=True, gc=False):
    """A liquidation."""

    e: Literal["forceOrder"]
    o: ForcedOrder


class Candle(Record, frozen=True, gc=False):
    """A candle from `t` to `T`, both included, in ms; `x`: closed. `q` is the quote volume."""

    t: Milliseconds
    T: Milliseconds
    o: Positive
    h: Positive
    l: Positive  # noqa: E741 - Binance's name
    c: Positive
    v: NonNegative
    q: NonNegative
    n: Number
    x: bool


class CandleData(Record, frozen=True, gc=False):
    """A candle of an instrument."""

    e: Literal["kline"]
    s: Name
    k: Candle


class DepthData(Record, frozen=True, gc=False):
    """Changes of a book from update `U` to `u`; spot sends neither `T` nor `pu`, the update before `U`."""

    e: Literal["depthUpdate"]
    s: Name
    U: Number
    u: Number
    b: list[Level]
    a: list[Level]
    E: Milliseconds | None = None
    T: Milliseconds | None = None
    pu: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1


class Snapshot(Record, frozen=True, gc=False):
    """A book as REST and the partial depth streams of spot give it; COIN-M alone says of which symbol."""

    lastUpdateId: Number  # noqa: N815 - Binance's name
    bids: list[Level]
    asks: list[Level]
    E: Milliseconds | None = None
    T: Milliseconds | None = None
    symbol: Name | None = None


class EmptyTradeData(Record, frozen=True, gc=False):
    """What USD-M sends on the trade stream for a fill that is no trade on the market: price and size 0."""

    e: Literal["trade"]
    s: Name
    X: Literal["NA"]
    p: NonNegative
    q: NonNegative


class OneSidedData(Record, frozen=True, gc=False):
    """A best bid and ask of which one side is empty: price and size 0."""

    s: Name
    u: Number
    b: NonNegative
    B: NonNegative
    a: NonNegative
    A: NonNegative
