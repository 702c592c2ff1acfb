"""Records that OKX sends, with what a field may hold."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.formats.fields import Milliseconds, Name, NonNegative, Number, Positive
from streams.formats.levels import MAX_LEVELS, Digits

_Blank = Literal[""]
_Rate = Annotated[float, Meta(ge=-10, le=10)]


class TradeData(msgspec.Struct, frozen=True, gc=False):
    """A trade; `side` is the taker's, `count` of the trades of one taker order at one price."""

    tradeId: Number  # noqa: N815 - OKX's name
    px: Positive
    sz: Positive
    side: Literal["buy", "sell"]
    ts: Milliseconds
    count: Number | None = None


class BookLevel(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A level: price and size, then what nobody reads."""

    price: Digits
    size: Digits


_Levels = Annotated[list[BookLevel], Meta(max_length=MAX_LEVELS)]


class BookData(msgspec.Struct, frozen=True, gc=False):
    """A book or its changes; `prevSeqId` and `seqId` are of newer frames."""

    asks: _Levels
    bids: _Levels
    ts: Milliseconds
    checksum: Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)] | None = None
    seqId: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1  # noqa: N815 - OKX's names
    prevSeqId: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1  # noqa: N815


class FundingData(msgspec.Struct, frozen=True, gc=False):
    """`fundingTime` is when this rate is paid."""

    fundingRate: _Rate | _Blank  # noqa: N815 - OKX's names
    fundingTime: Milliseconds | _Blank = ""  # noqa: N815
    ts: Milliseconds | _Blank = ""


class MarkPriceData(msgspec.Struct, frozen=True, gc=False):
    """The price that margins follow."""

    markPx: Positive  # noqa: N815 - OKX's name
    ts: Milliseconds


class InterestData(msgspec.Struct, frozen=True, gc=False):
    """Open interest in contracts and in units of the base asset."""

    ts: Milliseconds
    oiCcy: NonNegative | _Blank = ""  # noqa: N815 - OKX's name


class LiquidationDetail(msgspec.Struct, frozen=True, gc=False):
    """`side` of the forced order, at its bankruptcy price."""

    side: Literal["buy", "sell"]
    bkPx: Positive  # noqa: N815 - OKX's name
    sz: Positive
    ts: Milliseconds


class LiquidationsData(msgspec.Struct, frozen=True, gc=False):
    """The liquidations of an instrument."""

    instId: Name  # noqa: N815 - OKX's name
    details: list[LiquidationDetail]


class SummaryData(msgspec.Struct, frozen=True, gc=False):
    """An option: volatilities as ratios; the deltas are of Black-Scholes and in units of the base asset."""

    instId: Name  # noqa: N815 - OKX's names
    ts: Milliseconds
    markVol: NonNegative | _Blank = ""  # noqa: N815
    bidVol: NonNegative | _Blank = ""  # noqa: N815
    askVol: NonNegative | _Blank = ""  # noqa: N815
    deltaBS: Annotated[float, Meta(ge=-1.5, le=1.5)] | _Blank = ""  # noqa: N815
    fwdPx: NonNegative | _Blank = ""  # noqa: N815


class CandleData(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Start (ms), open, high, low, close, volume in contracts, in base units, in quote units, closed."""

    ts: Milliseconds
    o: Positive
    h: Positive
    l: Positive  # noqa: E741 - OKX's name
    c: Positive
    vol: NonNegative
    base_volume: NonNegative
    quote_volume: NonNegative
    confirm: Literal["0", "1"]
