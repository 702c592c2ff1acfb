"""Canonical events: what a raw frame says, in one shape for all venues.

Evolution: a new field has a default, a field never changes its type or meaning, none is renamed.
"""

import math
from typing import ClassVar

import msgspec

UNKNOWN = math.nan
"""The value of a number that the venue did not send."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every event says.

    `event_time_ns` is the venue's transaction time, 0 where the record carries none. `sequence`
    (-1: none) and `id` ("": none) are the venue's: two events of one venue, instrument and record
    type with the same pair are one event sent twice, unless both are missing.
    """

    record: ClassVar[str]
    topic: ClassVar[str] = "exchange.event.v1"
    known_time: ClassVar[bool] = False
    """Whether the tile time is the time it could be known, not the time it happened."""
    of_asset: ClassVar[bool] = False
    """Whether `instrument_id` holds an asset ("BTC", or "*" for all), not an instrument."""
    of_underlying: ClassVar[bool] = False
    """Whether it says something of the instrument's asset alone, so that it lists no instrument."""

    instrument_id: str
    venue: str
    event_time_ns: int
    sequence: int = -1
    id: str = ""


class Trade(Event, frozen=True, kw_only=True, gc=False):
    """A trade. `price` in quote units, `size` in base units, `side` of the aggressor (+1 buys)."""

    record: ClassVar[str] = "trade"
    price: float
    size: float
    side: int


class Quote(Event, frozen=True, kw_only=True, gc=False):
    """Best bid and ask, sizes in base units."""

    record: ClassVar[str] = "quote"
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float


class Depth(Event, frozen=True, kw_only=True, gc=False):
    """The best levels of a book on an event-time grid, best first."""

    record: ClassVar[str] = "depth"
    bid_prices: list[float]
    bid_sizes: list[float]
    ask_prices: list[float]
    ask_sizes: list[float]


class Derivative(Event, frozen=True, kw_only=True, gc=False):
    """State of a perpetual or future; NaN (0 for the time) is what the record did not carry.

    `funding_rate` is per funding interval as a ratio, `open_interest` in base units.
    """

    record: ClassVar[str] = "derivative"
    known_time: ClassVar[bool] = True
    mark_price: float = UNKNOWN
    index_price: float = UNKNOWN
    funding_rate: float = UNKNOWN
    next_funding_time_ns: int = 0
    open_interest: float = UNKNOWN


class Liquidation(Event, frozen=True, kw_only=True, gc=False):
    """A forced order. `side` of the order: -1 closes a long position."""

    record: ClassVar[str] = "liquidation"
    price: float
    size: float
    side: int


class Option(Event, frozen=True, kw_only=True, gc=False):
    """Summary of one option. Volatilities as ratios a year, `kind` "call" or "put"."""

    record: ClassVar[str] = "option"
    known_time: ClassVar[bool] = True
    of_underlying: ClassVar[bool] = True
    strike: float
    expiry_ns: int
    kind: str
    mark_volatility: float = UNKNOWN
    bid_volatility: float = UNKNOWN
    ask_volatility: float = UNKNOWN
    delta: float = UNKNOWN
    underlying_price: float = UNKNOWN
    open_interest: float = UNKNOWN


class Bar(Event, frozen=True, kw_only=True, gc=False):
    """A closed bar over [event_time_ns + 1 - interval_ns, event_time_ns + 1).

    `event_time_ns` is the last nanosecond that it covers, so that a bar falls into the tile that
    it fills. `volume` in base units.
    """

    record: ClassVar[str] = "bar"
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: float = UNKNOWN
    interval_ns: int


class Flow(Event, frozen=True, kw_only=True, gc=False):
    """Value moved on a chain: `kind` "mint", "burn" or "transfer". `instrument_id` is an asset."""

    record: ClassVar[str] = "flow"
    topic: ClassVar[str] = "onchain.event.v1"
    known_time: ClassVar[bool] = True
    of_asset: ClassVar[bool] = True
    kind: str
    token: str
    amount: float
    amount_usd: float = UNKNOWN
    from_address: str = ""
    to_address: str = ""
    block: int = -1


class Score(Event, frozen=True, kw_only=True, gc=False):
    """Sentiment of one post in [-1, 1]. `instrument_id` is an asset, or "*" for all."""

    record: ClassVar[str] = "score"
    topic: ClassVar[str] = "sentiment.event.v1"
    known_time: ClassVar[bool] = True
    of_asset: ClassVar[bool] = True
    score: float
    words: int = 0


class LeftOut(msgspec.Struct, frozen=True):
    """A frame that was recognised and is not read, by its `kind` ("depthUpdate")."""

    kind: str


EVENTS: dict[str, type[Event]] = {
    event.record: event for event in (Trade, Quote, Depth, Derivative, Liquidation, Option, Bar, Flow, Score)
}
