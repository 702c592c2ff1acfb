"""The order flow of one instrument of the built-in market: quotes, clustered trades, marks.

Quotes stand around the latent price of the asset, some steps behind it and with a slow basis; the
spread widens with volatility. Trades excite one another (a Hawkes process on whole seconds), come in
bursts, and lean to the side that the price moves to.
"""

import math
import zlib

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.rules import SECOND_NS
from streams.sources.market.latent import BLOCK_SECONDS, STEPS, Asset, Block, seeded

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

_STEP_NS = SECOND_NS // STEPS
_EXCITATION = 0.5
"""Share of the orders that earlier ones set off."""
_EXCITATION_DECAY = 0.7
"""Per second."""
_ACTIVITY = 0.5
"""Order rates go with variance to this power."""
_BASIS_DECAY = 0.9999
_BASIS_DEVIATION = 3e-4
"""Stationary, relative to the price: what a perpetual stands above its index."""
_SPREAD = 0.04
"""Spread over the deviation of a second's price change."""
_STALL = 3e-4
"""Chance that a message is held up, and all behind it in its stream."""
_MARK_PREMIUM_DECAY = 0.999


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument of the built-in market.

    `wire`: the format of its messages. Rates are per second at intensity 1. `skew_ns` is what its
    venue's clock is ahead; `latency_ns` how long a message travels at least and, on top, on average.
    """

    instrument_id: str
    wire: str
    tick: float
    size: float
    size_step: float
    quotes: float
    trades: float
    behind_steps: int = 0
    latency_ns: int = 10_000_000
    skew_ns: int = 0
    perpetual: bool = False

    @property
    def venue(self) -> str:
        """Return the venue, which is also the source of its messages."""
        return self.instrument_id.partition(":")[0]

    @property
    def symbol(self) -> str:
        """Return the name without the venue."""
        return self.instrument_id.partition(":")[2]

    @property
    def asset(self) -> str:
        """Return the base asset."""
        return self.symbol.partition("-")[0]


class Quotes(msgspec.Struct, frozen=True):
    """Best bids and asks, N of them in time order. Times: true ones, and those of receipt."""

    time_ns: Times
    receive_ns: Times
    bid: Floats
    bid_size: Floats
    ask: Floats
    ask_size: Floats


class Trades(msgspec.Struct, frozen=True):
    """Trades, N of them in time order; `side` of the aggressor."""

    time_ns: Times
    receive_ns: Times
    price: Floats
    size: Floats
    side: NDArray[np.int64]


class Marks(msgspec.Struct, frozen=True):
    """States of a perpetual; `rate` is per 8 hours."""

    time_ns: Times
    receive_ns: Times
    mark: Floats
    index: Floats
    rate: Floats


class OrderFlow:
    """Draws what one instrument sends, minute by minute."""

    def __init__(self, seed: int, instrument: Instrument, assets: tuple[Asset, ...], intensity: float) -> None:
        self._instrument = instrument
        self._random = seeded(seed, instrument.instrument_id)
        self._column = [asset.name for asset in assets].index(instrument.asset)
        self._asset = assets[self._column]
        self._intensity = intensity
        self._recent = np.full(STEPS, math.log(self._asset.price))
        self._basis = 0.0
        self._excited = 0.0
        self._premium = 0.0
        self._received = {"quotes": 0, "trades": 0, "marks": 0}

    def block(self, block: Block) -> tuple[Quotes, Trades, Marks | None]:
        """Return the instrument's minute."""
        variance = block.variance[:, self._column]
        activity = self._activity(variance)
        index, bid, ask = self._book(block, variance)
        surprise = block.surprise[:, self._column]
        quotes = self._quotes(block, activity, surprise, bid, ask)
        trades = self._trades(block, activity, surprise, bid, ask)
        marks = self._marks(block, index, (bid + ask) / 2) if self._instrument.perpetual else None
        return quotes, trades, marks

    def _activity(self, variance: Floats) -> Floats:
        activity: Floats = self._intensity * (variance / self._asset.variance) ** _ACTIVITY
        return activity

    def _book(self, block: Block, variance: Floats) -> tuple[Floats, Floats, Floats]:
        """Return index, bid and ask in force at each step, (600,)."""
        path = np.concatenate([self._recent, block.log_price[:, self._column]])
        self._recent = path[-STEPS:]
        behind = STEPS - self._instrument.behind_steps
        index = np.exp(path[behind : behind + BLOCK_SECONDS * STEPS])
        middle = index * (1 + np.repeat(self._next_basis(), STEPS))
        tick = self._instrument.tick
        change = middle * np.repeat(np.sqrt(variance), STEPS)
        spread = np.maximum(1, np.round(_SPREAD * change / tick))
        bid = np.round(middle / tick - spread / 2)
        return index, bid * tick, (bid + spread) * tick

    def _next_basis(self) -> Floats:
        draws = self._random.standard_normal(BLOCK_SECONDS) * _BASIS_DEVIATION * math.sqrt(1 - _BASIS_DECAY**2)
        basis = []
        for draw in draws.tolist():
            self._basis = self._basis * _BASIS_DECAY + draw
            basis.append(self._basis)
        return np.array(basis)

    def _quotes(self, block: Block, activity: Floats, surprise: Floats, bid: Floats, ask: Floats) -> Quotes:
        counts = self._random.poisson(self._instrument.quotes * activity)
        since = self._times(counts)
        step = since // _STEP_NS
        # The side about to be pushed is thin: sizes lean to where the next step goes.
        lean = 0.5 * np.tanh(np.append(surprise[1:], 0.0))[step]
        return Quotes(
            time_ns=block.start_ns + since,
            receive_ns=self._receipts("quotes", block.start_ns + since),
            bid=bid[step],
            bid_size=self._sizes(since.size, 4.0, lean),
            ask=ask[step],
            ask_size=self._sizes(since.size, 4.0, -lean),
        )

    def _trades(self, block: Block, activity: Floats, surprise: Floats, bid: Floats, ask: Floats) -> Trades:
        orders = self._times(self._orders(self._instrument.trades * activity))
        pushed = surprise[orders // _STEP_NS]
        buys = self._random.random(orders.size) < 1 / (1 + np.exp(-1.2 * pushed))
        fills = np.minimum(self._random.geometric(0.7, orders.size), 8)
        since = np.repeat(orders, fills)
        side = np.repeat(np.where(buys, 1, -1), fills)
        # The fills of one order walk the book, two to a level.
        level = (np.arange(since.size) - np.repeat(np.cumsum(fills) - fills, fills)) // 2
        step = since // _STEP_NS
        price = np.where(side > 0, ask[step], bid[step]) + side * level * self._instrument.tick
        return Trades(
            time_ns=block.start_ns + since,
            receive_ns=self._receipts("trades", block.start_ns + since),
            price=price,
            size=self._sizes(since.size, 1.0, np.zeros(since.size)),
            side=side,
        )

    def _orders(self, rate: Floats) -> NDArray[np.int64]:
        """Return the number of orders in each second."""
        counts = []
        for own in ((1 - _EXCITATION) * rate).tolist():
            count = int(self._random.poisson(own + self._excited))
            self._excited = _EXCITATION_DECAY * self._excited + (1 - _EXCITATION_DECAY) * _EXCITATION * count
            counts.append(count)
        return np.array(counts)

    def _marks(self, block: Block, index: Floats, middle: Floats) -> Marks:
        every = 1 if self._intensity >= 1 else 3
        seconds = np.arange(0, BLOCK_SECONDS, every)
        step = seconds * STEPS
        rates = []
        for premium in (middle / index - 1)[step].tolist():
            self._premium = self._premium * _MARK_PREMIUM_DECAY + (1 - _MARK_PREMIUM_DECAY) * premium
            rates.append(0.0001 + 0.5 * self._premium)
        times = block.start_ns + seconds * SECOND_NS
        return Marks(
            time_ns=times,
            receive_ns=self._receipts("marks", times),
            mark=middle[step],
            index=index[step],
            rate=np.array(rates),
        )

    def _times(self, counts: NDArray[np.int64]) -> Times:
        """Return sorted times since the block's start, `counts` of them in each second."""
        second = np.repeat(np.arange(counts.size), counts)
        within = self._random.integers(0, SECOND_NS, second.size)
        return np.sort(second * SECOND_NS + within)

    def _sizes(self, count: int, times: float, lean: Floats) -> Floats:
        step = self._instrument.size_step
        draws = self._random.lognormal(math.log(self._instrument.size * times), 1.0, count) * np.exp(lean)
        return np.maximum(1, np.round(draws / step)) * step

    def _receipts(self, stream: str, times: Times) -> Times:
        """Return when messages arrive: a stream keeps its order, so a stall holds up all behind it."""
        jitter = self._random.exponential(self._instrument.latency_ns, times.size)
        stalled = self._random.random(times.size) < _STALL
        # One stall in ten is longer than the allowed lateness.
        length = np.where(self._random.random(times.size) < 0.1, 5.0, 1.2) * SECOND_NS  # noqa: PLR2004
        travel = self._instrument.latency_ns + jitter + stalled * self._random.random(times.size) * length
        arrivals = np.maximum.accumulate(np.maximum(times + travel.astype(np.int64), self._received[stream]))
        if arrivals.size:
            self._received[stream] = int(arrivals[-1])
        return arrivals


def checksum(text: str) -> int:
    """Return a small stable number of a name, to start its ids from."""
    return zlib.crc32(text.encode())
