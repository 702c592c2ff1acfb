"""The raw log of a seed: minutes of four instruments, posts and transfers, with all that feeds get wrong."""

import json
from random import Random
from typing import NamedTuple

from schemas import Rules
from schemas.rules import SECOND_NS
from schemas.topics import RAW_EXCHANGE, RAW_ONCHAIN, RAW_SENTIMENT
from streams.bench.traffic import START_NS, FrameWriter
from streams.ingest.normaliser import HEARTBEAT
from streams.simulation.broker import Place

LENGTHS = {50: 6, 90: 3, 150: 1}
"""Seconds of event time of a log, and how often: after a minute variances are known, after two forecasts are scored."""
_MARKETS = (
    ("binance", "BTCUSDT"),
    ("binance", "ETHUSDT"),
    ("binance-usdm", "BTCUSDT"),
    ("binance-coinm", "SOLUSD_PERP"),
)
_TOKENS = ("0xdac17f958d2ee523a2206206994597c13d831ec7", "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599")
_TEXTS = ("Bitcoin rallies to a great new high", "Ethereum hacked, awful losses", "Markets are calm", "SOL surges")


class Frame(NamedTuple):
    """One raw record, and when its feed handler had it."""

    received_ns: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes | None]]


def raw_log(seed: int, rules: Rules) -> dict[Place, list[Frame]]:
    """Return the raw records of a seed, each place in the order of its log."""
    draw = Random(f"raw {seed}")
    seconds = draw.choices(list(LENGTHS), list(LENGTHS.values()))[0]
    start_ns = START_NS + draw.randrange(3600) * SECOND_NS + draw.randrange(10) * SECOND_NS // 10
    log: dict[Place, list[Frame]] = {
        (topic, partition): [] for topic, count in rules.raw_partitions.items() for partition in range(count)
    }
    for (topic, partition), frames in log.items():
        make = {RAW_EXCHANGE: _market, RAW_ONCHAIN: _transfers, RAW_SENTIMENT: _posts}[topic]
        made = make(draw, start_ns, partition, seconds)
        _spoil(draw, made)
        frames.extend(made)
        frames.extend(_heartbeats(rules, start_ns, seconds))
        frames.sort(key=lambda frame: frame.received_ns)
        _repeat(draw, frames)
    return log


def _market(draw: Random, start_ns: int, partition: int, seconds: int) -> list[Frame]:
    frames: list[Frame] = []
    silent_from = draw.randrange(seconds) if draw.random() < 0.3 else seconds
    silent = range(silent_from, silent_from + draw.randrange(5, 60))
    for number, (venue, symbol) in enumerate(_MARKETS):
        if number % 2 != partition and draw.random() < 0.8:
            continue
        writer = FrameWriter(venue, symbol, partition)
        price, at_ns = draw.uniform(10, 1_000), start_ns
        while at_ns < start_ns + seconds * SECOND_NS:
            at_ns += int(draw.expovariate(0.35) * SECOND_NS)
            price *= 1 + draw.gauss(0, 1e-4)
            behind_ns = int(_behind(draw) * SECOND_NS)
            if (at_ns - start_ns) // SECOND_NS in silent:
                continue
            numbers = (
                (at_ns - behind_ns) // 1_000_000,
                len(frames) + 1,
                price,
                draw.uniform(0.1, 5),
                draw.random() < 0.5,
            )
            message = writer.message(at_ns, *numbers, quote=draw.random() < 0.6)
            frames.append(_frame(message.receive_time_ns, message.key or b"", message.value, venue, message.format))
    return frames


def _behind(draw: Random) -> float:
    """Return how far an event lies behind its receipt, in seconds: some too far, some ahead of their time."""
    kind = draw.random()
    if kind < 0.02:
        return draw.uniform(15, 40)
    if kind < 0.03:
        return -draw.uniform(70, 200)
    return draw.choice((0.005, 0.005, 0.2, 1.5, -0.5))


def _transfers(draw: Random, start_ns: int, _: int, seconds: int) -> list[Frame]:
    frames = []
    for number in range(draw.randrange(0, 12)):
        at_ns = start_ns + draw.randrange(seconds * SECOND_NS)
        transfer = {
            "type": "token_transfer",
            "token_address": draw.choice(_TOKENS),
            "from_address": "0x" + "0" * 40,
            "to_address": f"0x{draw.randrange(1 << 160):040x}",
            "value": draw.randrange(10**6, 10**12),
            "transaction_hash": f"0x{draw.randrange(1 << 256):064x}",
            "log_index": number,
            "block_number": 19_000_000 + number,
            "block_timestamp": at_ns // SECOND_NS - 15,
        }
        frames.append(_frame(at_ns, b"node", json.dumps(transfer).encode(), "ethereum", "ethereum-etl"))
    return frames


def _posts(draw: Random, start_ns: int, _: int, seconds: int) -> list[Frame]:
    frames = []
    for number in range(draw.randrange(0, 10)):
        at_ns = start_ns + draw.randrange(seconds * SECOND_NS)
        post = {"id": number, "title": draw.choice(_TEXTS), "published": at_ns // SECOND_NS - 30}
        frames.append(_frame(at_ns, b"news", json.dumps(post).encode(), "news", "posts"))
    return frames


def _frame(at_ns: int, key: bytes, value: bytes, source: str, name: str) -> Frame:
    headers: list[tuple[str, bytes | None]] = [
        ("source", source.encode()),
        ("format", name.encode()),
        ("receive_time_ns", b"%d" % at_ns),
    ]
    return Frame(at_ns, key, value, headers)


def _spoil(draw: Random, frames: list[Frame]) -> None:
    """Make some records unreadable."""
    for place, frame in enumerate(frames):
        if draw.random() < 0.02:
            spoiled = draw.choice((
                frame._replace(value=frame.value[: len(frame.value) // 2]),
                frame._replace(value=b"\x00\xff"),
                frame._replace(headers=[("format", b"unheard-of"), frame.headers[0], frame.headers[2]]),
                frame._replace(headers=[*frame.headers[:2], ("receive_time_ns", b"yesterday")]),
                frame._replace(headers=[]),
            ))  # fmt: skip
            frames[place] = spoiled


def _heartbeats(rules: Rules, start_ns: int, seconds: int) -> list[Frame]:
    row_ns, late_ns = rules.row_interval_ns, rules.allowed_lateness_ns
    first = start_ns // row_ns * row_ns
    last = start_ns + (seconds + 15) * SECOND_NS
    headers: list[tuple[str, bytes | None]] = [("source", b"ingest"), ("format", HEARTBEAT)]
    return [
        Frame(at_ns + late_ns, b"", b"", [*headers, ("receive_time_ns", b"%d" % (at_ns + late_ns))])
        for at_ns in range(first, last, row_ns)
    ]


def _repeat(draw: Random, frames: list[Frame]) -> None:
    """Have some records written twice, soon or long after the first time."""
    for frame in [frame for frame in frames if draw.random() < 0.03]:
        place = frames.index(frame)
        frames.insert(min(len(frames), place + draw.choice((1, 3, 60))), frame)
