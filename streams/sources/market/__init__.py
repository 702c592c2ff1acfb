"""The built-in market: seeded raw messages in the formats of real feeds, whose causes are known.

Volatility is rough, has a common factor and a season, and is really moved by posts and token
transfers that are sent too; `truth` says by how much. The same seed gives the same bytes.
"""

from collections.abc import Iterator
from operator import attrgetter

import numpy as np

from schemas import ForeshockError
from schemas.rules import SECOND_NS
from schemas.topics import RAW_EXCHANGE
from streams.sources import RawMessage
from streams.sources.market.frames import FORMATS, WIRES, NewsWire, Wire
from streams.sources.market.latent import ASSETS, BLOCK_SECONDS, Asset, Block, Latent, Truth, truth, whole_second
from streams.sources.market.orders import Instrument, OrderFlow, Times

__all__ = ["ASSETS", "INSTRUMENTS", "Asset", "Instrument", "Truth", "market", "truth"]

INSTRUMENTS = (
    Instrument(
        instrument_id="binance:BTC-USDT",
        wire="binance",
        tick=0.01,
        size=0.01,
        size_step=1e-5,
        quotes=5.0,
        trades=2.0,
        behind_steps=1,
        latency_ns=8_000_000,
        skew_ns=3_000_000,
    ),
    Instrument(
        instrument_id="binance-usdm:BTC-USDT-PERP",
        wire="binance",
        tick=0.1,
        size=0.05,
        size_step=1e-3,
        quotes=7.0,
        trades=3.0,
        latency_ns=6_000_000,
        skew_ns=-2_000_000,
        perpetual=True,
    ),
    Instrument(
        instrument_id="binance-usdm:ETH-USDT-PERP",
        wire="binance",
        tick=0.01,
        size=0.8,
        size_step=1e-3,
        quotes=6.0,
        trades=2.5,
        latency_ns=6_000_000,
        skew_ns=-2_000_000,
        perpetual=True,
    ),
    Instrument(
        instrument_id="coinbase:BTC-USD",
        wire="cryptofeed",
        tick=0.01,
        size=0.01,
        size_step=1e-8,
        quotes=3.0,
        trades=1.0,
        behind_steps=2,
        latency_ns=45_000_000,
        skew_ns=-40_000_000,
    ),
    Instrument(
        instrument_id="kraken:ETH-USD",
        wire="ticker",
        tick=0.01,
        size=0.3,
        size_step=1e-8,
        quotes=2.0,
        trades=0.75,
        behind_steps=3,
        latency_ns=60_000_000,
        skew_ns=120_000_000,
    ),
    Instrument(
        instrument_id="bybit:SOL-USDT-PERP",
        wire="cryptofeed",
        tick=0.01,
        size=8.0,
        size_step=0.1,
        quotes=4.0,
        trades=1.5,
        behind_steps=1,
        latency_ns=25_000_000,
        skew_ns=-8_000_000,
        perpetual=True,
    ),
)


def market(
    seed: int,
    start_ns: int,
    seconds: int,
    *,
    instruments: tuple[Instrument, ...] = INSTRUMENTS,
    assets: tuple[Asset, ...] = ASSETS,
    intensity: float = 1.0,
) -> Iterator[RawMessage]:
    """Yield the raw messages of `seconds` from the second of `start_ns`, by receive time.

    `intensity` scales the rates of quotes and trades: at 1 about 15 messages an instrument and
    second, at 0.3 about 5. It changes no price; nor does the choice of instruments.

    Raises:
        ForeshockError: an instrument of an asset that is not there, or nonsense for a number.
    """
    _check(seconds, instruments, assets, intensity)
    start_ns = whole_second(start_ns)
    end_ns = start_ns + seconds * SECOND_NS
    latent = Latent(seed, start_ns, assets)
    flows = [(OrderFlow(seed, each, assets, intensity), WIRES[each.wire](each)) for each in instruments]
    news = NewsWire()
    waiting: list[RawMessage] = []
    for _ in range(start_ns, end_ns, BLOCK_SECONDS * SECOND_NS):
        block = latent.block()
        waiting += [news.message(each) for each in block.happenings if each.time_ns < end_ns]
        for flow, wire in flows:
            waiting += _messages(flow, wire, block, end_ns)
        waiting.sort(key=attrgetter("receive_time_ns"))
        # Nothing that comes later can be received before the next minute begins.
        ready = _before(waiting, block.start_ns + BLOCK_SECONDS * SECOND_NS)
        yield from waiting[:ready]
        del waiting[:ready]
    yield from waiting


def _check(seconds: int, instruments: tuple[Instrument, ...], assets: tuple[Asset, ...], intensity: float) -> None:
    if seconds <= 0 or not intensity > 0:
        raise ForeshockError(f"expected seconds and intensity above 0, got {seconds} and {intensity}")
    known = [asset.name for asset in assets]
    for instrument in instruments:
        if instrument.asset not in known:
            raise ForeshockError(f"{instrument.instrument_id}: its asset is none of {', '.join(known)}")


def _messages(flow: OrderFlow, wire: Wire, block: Block, end_ns: int) -> list[RawMessage]:
    quotes, trades, marks = flow.block(block)
    messages = _wrap(wire.instrument, quotes.time_ns, quotes.receive_ns, wire.quotes(quotes), end_ns)
    messages += _wrap(wire.instrument, trades.time_ns, trades.receive_ns, wire.trades(trades), end_ns)
    if marks is not None:
        messages += _wrap(wire.instrument, marks.time_ns, marks.receive_ns, wire.marks(marks), end_ns)
    return messages


def _wrap(instrument: Instrument, times: Times, receipts: Times, frames: list[bytes], end_ns: int) -> list[RawMessage]:
    source, name = instrument.venue, FORMATS[instrument.wire]
    key = f"{source}/{instrument.symbol}".encode()
    count = int(np.searchsorted(times, end_ns))
    return [
        RawMessage(RAW_EXCHANGE, key, frame, source, name, receipt)
        for frame, receipt in zip(frames[:count], receipts[:count].tolist(), strict=True)
    ]


def _before(messages: list[RawMessage], time_ns: int) -> int:
    """Return how many of the sorted `messages` were received before `time_ns`."""
    late = (place for place, message in enumerate(messages) if message.receive_time_ns >= time_ns)
    return next(late, len(messages))
