"""Raw frames of a benchmark: 50 instruments of three Binance venues, the same bytes in every run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from featurestore.backfill import CanonicalMessage
from schemas import Rules
from schemas.rules import SECOND_NS
from schemas.topics import EVENT_TOPICS, RAW_EXCHANGE
from streams.ingest.fast import FastNormaliser, RawRun
from streams.sources import RawMessage
from streams.sources.replay import with_heartbeats

START_NS = 1_767_225_600 * SECOND_NS
"""Event time of the first frame: 2026 begins."""
DELAY_NS = 5_000_000
"""From the event to its receipt."""
_VENUES = (("binance", "{}USDT", 0.5), ("binance-usdm", "{}USDT", 0.3), ("binance-coinm", "{}USD_PERP", 0.2))
_CONNECTIONS = 4
"""Of one venue; together they fill all raw partitions."""
_SEED = 11
_READ_AT_ONCE = 32_000
"""Frames between two flushes: what ingest takes in 0.4 s when it is behind."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What is sent: `seconds` of event time with `per_second` events each, over `instruments`.

    `quotes`: every second event is a best bid and ask; without, all are trades.
    """

    instruments: int = 50
    per_second: int = 2_000
    seconds: int = 500
    quotes: bool = False

    @property
    def events(self) -> int:
        """Return how many events there are."""
        return self.per_second * self.seconds

    def frames(self, start_ns: int = START_NS) -> Iterator[RawMessage]:
        """Yield the frames in the order of their receive times."""
        draw = np.random.default_rng(_SEED)
        writers = _writers(self.instruments)
        log_prices = np.log(draw.uniform(0.1, 50_000.0, self.instruments))
        offsets_ns = (np.arange(self.per_second) * SECOND_NS // self.per_second).tolist()
        first = 0
        for second in range(self.seconds):
            which = draw.integers(0, self.instruments, self.per_second)
            log_prices += draw.normal(0.0, 1e-4, self.instruments)
            prices = np.exp(log_prices[which] + draw.normal(0.0, 2e-5, self.per_second)).tolist()
            sizes = draw.lognormal(0.0, 1.0, self.per_second).tolist()
            makers = (draw.random(self.per_second) < 0.5).tolist()  # noqa: PLR2004 - buyers and sellers alike
            base_ns = start_ns + second * SECOND_NS
            for index, writer in enumerate(which.tolist()):
                time_ns = base_ns + offsets_ns[index]
                numbers = (time_ns // 1_000_000, first + index, prices[index], sizes[index], makers[index])
                yield writers[writer].message(time_ns + DELAY_NS, *numbers, quote=self.quotes and index % 2 == 1)
            first += self.per_second


class FrameWriter:
    """Writes the frames of one instrument."""

    def __init__(self, venue: str, symbol: str, connection: int) -> None:
        stream = symbol.lower()
        spot = venue == "binance"
        self._venue = venue
        self._key = f"{venue}/{connection}".encode()
        self._symbol = symbol
        self._trade = f'{{"stream":"{stream}@trade","data":{{"e":"trade","E":'
        self._quote = f'{{"stream":"{stream}@bookTicker","data":{{"e":"bookTicker","u":'
        self._market = "" if spot else '"X":"MARKET",'
        self._end = ',"M":true}}' if spot else "}}"

    def message(
        self, received_ns: int, time_ms: int, number: int, price: float, size: float, maker: bool, *, quote: bool
    ) -> RawMessage:
        """Return one frame: a quote with a spread of a step above `price`, or a trade."""
        if quote:
            value = (
                f'{self._quote}{number},"s":"{self._symbol}","b":"{price:.8f}","B":"{size:.3f}",'
                f'"a":"{price * 1.0001:.8f}","A":"{size:.3f}","T":{time_ms},"E":{time_ms + 1}}}}}'
            )
        else:
            value = (
                f'{self._trade}{time_ms + 1},"T":{time_ms},"s":"{self._symbol}","t":{number},"p":"{price:.8f}",'
                f'"q":"{size:.3f}",{self._market}"m":{"true" if maker else "false"}{self._end}'
            )
        return RawMessage(RAW_EXCHANGE, self._key, value.encode(), self._venue, "binance-combined", received_ns)


def _writers(instruments: int) -> list[FrameWriter]:
    writers = []
    for number in range(instruments):
        share, place = (number + 0.5) / instruments, 0
        while share > _VENUES[place][2]:
            share -= _VENUES[place][2]
            place += 1
        venue, symbol, _ = _VENUES[place]
        writers.append(FrameWriter(venue, symbol.format(f"C{_letters(number)}"), number % _CONNECTIONS))
    return writers


def _letters(number: int) -> str:
    """Return a base asset's name of capitals; digits could be taken for a multiplier."""
    return chr(65 + number // 676) + chr(65 + number // 26 % 26) + chr(65 + number % 26)


def canonical(traffic: Traffic, rules: Rules, batch_events: int) -> Iterator[CanonicalMessage]:
    """Yield the canonical log that ingest makes of the traffic and its heartbeats, offsets included."""
    offsets = dict.fromkeys(((topic, p) for topic in EVENT_TOPICS for p in range(rules.partitions)), 0)
    for topic, partition, value, headers in _normalised(with_heartbeats(traffic.frames(), rules), rules, batch_events):
        offset = offsets[topic, partition]
        offsets[topic, partition] = offset + 1
        yield CanonicalMessage(topic, partition, offset, headers, value)


def _normalised(
    placed: Iterable[tuple[str, int, RawMessage]], rules: Rules, batch_events: int
) -> Iterator[tuple[str, int, bytes | None, dict[str, bytes]]]:
    normalisers = {
        (topic, p): FastNormaliser(topic, p, rules, batch_events)
        for topic, count in rules.raw_partitions.items()
        for p in range(count)
    }
    messages = iter(placed)
    while found := list(islice(messages, _READ_AT_ONCE)):
        runs: dict[tuple[str, int], list[RawMessage]] = {}
        for topic, partition, message in found:
            runs.setdefault((topic, partition), []).append(message)
        for place, run in runs.items():
            normaliser = normalisers[place]
            normaliser.feed_run(_run(normaliser.next_offset, run))
            for output in normaliser.flush():
                if output.topic in EVENT_TOPICS and output.partition is not None:
                    yield output.topic, output.partition, output.value, dict(output.headers)


def _run(first: int, messages: list[RawMessage]) -> RawRun:
    offsets = range(first, first + len(messages))
    headers = [list(message.headers().items()) for message in messages]
    return RawRun(offsets, [message.value for message in messages], headers, lambda index: messages[index].key)
