"""Records of cryptofeed, with what a field may hold.

https://github.com/bmoscon/cryptofeed/blob/master/cryptofeed/types.pyx
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.formats.fields import Identifier, Name, NonNegative, Number, Positive
from streams.formats.levels import MAX_LEVELS, NumberLevels

Seconds = Annotated[float, Meta(ge=0, le=4_102_444_800)]


class Record(msgspec.Struct, frozen=True, gc=False):
    """What all records share."""

    exchange: Name
    symbol: Name
    timestamp: Seconds | None = None
    receipt_timestamp: Seconds | None = None


class TradeRecord(Record, frozen=True, gc=False, kw_only=True):
    """A trade; `side` is the aggressor's."""

    side: Literal["buy", "sell"]
    amount: Positive
    price: Positive
    id: Identifier | int | None = None


class TickerRecord(Record, frozen=True, gc=False, kw_only=True):
    """Best prices without sizes."""

    bid: Positive
    ask: Positive


class L1Record(Record, frozen=True, gc=False, kw_only=True):
    """Best prices and sizes."""

    bid_price: Positive
    bid_size: NonNegative
    ask_price: Positive
    ask_size: NonNegative


class FundingRecord(Record, frozen=True, gc=False, kw_only=True):
    """Funding of a perpetual."""

    rate: Annotated[float, Meta(ge=-10, le=10)]
    mark_price: Positive | None = None
    next_funding_time: Seconds | None = None


class LiquidationRecord(Record, frozen=True, gc=False, kw_only=True):
    """A forced order; `side` is the order's. The size is `quantity`, `leaves_qty` before 2.0."""

    side: Literal["buy", "sell"]
    price: Positive
    quantity: Positive | None = None
    leaves_qty: Positive | None = None
    id: Identifier | int | None = None


class OpenInterestRecord(Record, frozen=True, gc=False, kw_only=True):
    """Open interest, as the venue counts it."""

    open_interest: NonNegative


class IndexRecord(Record, frozen=True, gc=False, kw_only=True):
    """The price of an index."""

    price: Positive


class CandleRecord(Record, frozen=True, gc=False, kw_only=True):
    """A candle from `start`."""

    start: Annotated[float, Meta(ge=1, le=4_102_444_800)]
    interval: Annotated[str, Meta(max_length=8)]
    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: NonNegative
    trades: NonNegative | None = None
    closed: bool | None = None


class Sides(msgspec.Struct, frozen=True, gc=False):
    """All levels of a book: price, as JSON names it a text, to size."""

    bid: Annotated[dict[Positive, NonNegative], Meta(max_length=MAX_LEVELS)]
    ask: Annotated[dict[Positive, NonNegative], Meta(max_length=MAX_LEVELS)]


class Delta(msgspec.Struct, frozen=True, gc=False):
    """Changed levels of a book; size 0 removes one."""

    bid: NumberLevels
    ask: NumberLevels


class BookRecord(Record, frozen=True, gc=False, kw_only=True):
    """A level-2 book: all of it, or what changed. cryptofeed has checked sequence and checksum."""

    book: Sides | None = None
    delta: Delta | None = None
    sequence_number: Number | None = None


class Shape(msgspec.Struct, frozen=True, gc=False):
    """The fields that tell records apart."""

    side: msgspec.Raw = msgspec.Raw(b"")
    bid: msgspec.Raw = msgspec.Raw(b"")
    bid_price: msgspec.Raw = msgspec.Raw(b"")
    rate: msgspec.Raw = msgspec.Raw(b"")
    book: msgspec.Raw = msgspec.Raw(b"")
    delta: msgspec.Raw = msgspec.Raw(b"")
    open: msgspec.Raw = msgspec.Raw(b"")
    open_interest: msgspec.Raw = msgspec.Raw(b"")
    leaves_qty: msgspec.Raw = msgspec.Raw(b"")
    quantity: msgspec.Raw = msgspec.Raw(b"")
    price: msgspec.Raw = msgspec.Raw(b"")

    @property
    def kind(self) -> str:
        """What the record is, "" where it is none of cryptofeed's."""
        for kind, found in (
            ("book", self.book or self.delta),
            ("liquidation", self.leaves_qty or self.quantity),
            ("candle", self.open),
            ("open_interest", self.open_interest),
            ("trade", self.side),
            ("l1_book", self.bid_price),
            ("ticker", self.bid),
            ("funding", self.rate),
            ("index", self.price),
        ):
            if found:
                return kind
        return ""
