"""Random raw logs: late and border events, skewed clocks, silence, repeats, posts and blocks.

Times are scaled down (tiles of 100 ms), so that a few seconds of a log cross many borders and a
few minutes reach the minute tiles.
"""

import math
import random
from typing import NamedTuple

import msgspec

from schemas import EVENTS, Event, Rules
from schemas.rules import SECOND_NS

MS = SECOND_NS // 1000
START_NS = 1_700_000_000 * SECOND_NS

RULES = Rules(
    allowed_lateness_ns=50 * MS,
    idle_timeout_ns=150 * MS,
    max_venue_lag_ns=300 * MS,
    future_ns=2000 * MS,
    tile_interval_ns=100 * MS,
    row_interval_ns=100 * MS,
    listing_ns=500 * MS,
    never_ns=3000 * MS,
    raw_partitions={"raw.exchange.v1": 2, "raw.onchain.v1": 1, "raw.sentiment.v1": 1},
    partitions=2,
)

FORMAT = "test"
"""The format of these frames: a JSON list of [record type, fields]."""

INSTRUMENTS = ("alpha:BTC-USD", "alpha:ETH-USD", "beta:BTC-USD", "beta:SOL-USD")


class Raw(NamedTuple):
    """One raw record: its receive time and the events in it; no events is a heartbeat."""

    receive_time_ns: int
    events: tuple[Event, ...]

    @property
    def headers(self) -> dict[str, bytes]:
        """Headers as a feed handler writes them."""
        kind = FORMAT if self.events else "heartbeat"
        return {
            "source": b"alpha",
            "format": kind.encode(),
            "receive_time_ns": str(self.receive_time_ns).encode(),
        }

    @property
    def value(self) -> bytes:
        """The frame."""
        if not self.events:
            return b""
        return msgspec.json.encode([[e.record, msgspec.structs.asdict(e)] for e in self.events])


RawLog = dict[tuple[str, int], list[Raw]]


def decode(value: bytes, source: str) -> list[Event]:
    """Read a frame of the test format."""
    return [
        EVENTS[record](**{name: math.nan if found is None else found for name, found in fields.items()})
        for record, fields in msgspec.json.decode(value)
    ]


def random_log(
    seed: int, *, seconds: float = 3.0, bursts: int = 2, gap_seconds: float = 40.0, books: bool = False
) -> RawLog:
    """Return the raw log of `seed`: bursts of traffic, gaps between them; `books` adds depth events."""
    draw = random.Random(seed)
    log: RawLog = {
        (topic, partition): [] for topic, count in RULES.raw_partitions.items() for partition in range(count)
    }
    start = START_NS + draw.randrange(5_000) * MS
    for _ in range(bursts):
        _burst(draw, log, start, int(seconds * SECOND_NS))
        start += int((seconds + draw.choice((0.2, 1.0, draw.uniform(0.3, 1) * gap_seconds))) * SECOND_NS)
    if books:
        _add_books(random.Random(f"books {seed}"), log)
    for records in log.values():  # all that is left closes: every partition is heard once more
        records.append(Raw(start + 5 * SECOND_NS, ()))
    return log


def _add_books(draw: random.Random, log: RawLog) -> None:
    """Put books beside other events: some one-sided, some that say that they are not known any more."""
    for (topic, _), records in log.items():
        for place, record in enumerate(records):
            if topic == "raw.exchange.v1" and record.events and draw.random() < 0.4:
                books = tuple(_book(draw, record.events[0]) for _ in range(draw.choice((1, 1, 2))))
                records[place] = record._replace(events=(*record.events, *books))


def _book(draw: random.Random, beside: Event) -> Event:
    known = draw.random() < 0.7
    levels = {
        side: sorted(
            (round(100 + draw.gauss(0, 1), 3) for _ in range(draw.randrange(13) if known else 0)), reverse=back
        )
        for side, back in (("bid", True), ("ask", False))
    }
    return EVENTS["depth"](
        instrument_id=beside.instrument_id,
        venue=beside.venue,
        event_time_ns=0 if beside.known_time else beside.event_time_ns,
        sequence=draw.choice((-1, draw.randrange(100))),
        **{f"{side}_prices": prices for side, prices in levels.items()},
        **{f"{side}_sizes": [round(draw.expovariate(1), 4) for _ in prices] for side, prices in levels.items()},
    )


def _burst(draw: random.Random, log: RawLog, start: int, length: int) -> None:
    skew = {venue: draw.choice((0, 0, -40, 30, 120, -400)) * MS for venue in ("alpha", "beta")}
    moved = draw.random() < 0.5  # a venue may move to another connection
    for (topic, partition), records in log.items():
        now = start + draw.randrange(200) * MS
        rate = draw.uniform(8, 40)
        silent_from = start + draw.randrange(max(length // MS, 1)) * MS if draw.random() < 0.3 else start + 2 * length
        while now < start + length:
            now += int(draw.expovariate(rate) * SECOND_NS)
            if topic == "raw.exchange.v1":
                venue = ("alpha", "beta")[(partition + moved) % 2] if draw.random() < 0.9 else "alpha"
                if now > silent_from:
                    continue
                events = tuple(_market_event(draw, venue, now, skew[venue]) for _ in range(draw.choice((1, 1, 1, 3))))
            elif topic == "raw.onchain.v1":
                events = (_flow(draw, now),) if draw.random() < 0.3 else ()
            else:
                events = (_score(draw, now),) if draw.random() < 0.3 else ()
            if events:
                jitter = draw.choice((0, 0, 0, -3, 5)) * MS  # receive times may step back
                records.append(Raw(now + jitter, events))
        _heartbeats(draw, records, start, length)


def _heartbeats(draw: random.Random, records: list[Raw], start: int, length: int) -> None:
    if draw.random() < 0.15:
        return  # the writer of heartbeats was away
    border = start - start % RULES.row_interval_ns
    while border < start + length + 800 * MS:
        border += RULES.row_interval_ns
        records.append(Raw(border + RULES.allowed_lateness_ns, ()))
    burst = [r for r in records if r.receive_time_ns >= start - SECOND_NS]
    rest = [r for r in records if r.receive_time_ns < start - SECOND_NS]
    records[:] = rest + sorted(burst, key=lambda record: record.receive_time_ns // (8 * MS))


def _market_event(draw: random.Random, venue: str, now: int, skew: int) -> Event:
    instrument = draw.choice([name for name in INSTRUMENTS if name.startswith(venue)])
    behind = draw.choice((0, 1, 2, 5, 20, 49, 60, 90, 200)) * MS if draw.random() < 0.5 else 0
    event_time = now - behind + skew
    if draw.random() < 0.15:  # exactly on a border
        event_time -= event_time % RULES.tile_interval_ns
    if draw.random() < 0.01:
        event_time += 10 * SECOND_NS  # not believed
    sequence = draw.choice((-1, draw.randrange(1, 40), draw.randrange(10_000)))
    identity = {
        "instrument_id": instrument,
        "venue": venue,
        "sequence": sequence,
        "id": draw.choice(("", "", "x", f"{draw.randrange(30)}")),
    }
    price = round(100 * (1 + 0.01 * draw.gauss(0, 1)), 4)
    size = round(draw.expovariate(1), 6)
    kind = draw.random()
    if kind < 0.6:
        side = draw.choice((1, -1))
        return EVENTS["trade"](**identity, event_time_ns=event_time, price=price, size=size, side=side)
    if kind < 0.9:
        timeless = draw.random() < 0.4
        return EVENTS["quote"](
            **identity,
            event_time_ns=0 if timeless else event_time,
            bid_price=price,
            bid_size=size,
            ask_price=price + 0.01,
            ask_size=size,
        )
    return EVENTS["derivative"](**identity, event_time_ns=now, funding_rate=round(draw.gauss(0, 1), 6))


def _flow(draw: random.Random, now: int) -> Event:
    return EVENTS["flow"](
        instrument_id=draw.choice(("BTC", "ETH", "*", "*")),
        venue="ethereum",
        event_time_ns=now - 3 * SECOND_NS,
        id=f"0x{draw.randrange(1 << 40):x}",
        kind="mint",
        token="USDT",
        amount=1.0,
        amount_usd=round(draw.expovariate(1e-6), 2),
    )


def _score(draw: random.Random, now: int) -> Event:
    return EVENTS["score"](
        instrument_id=draw.choice(("BTC", "SOL", "*")),
        venue="news",
        event_time_ns=now - 60 * SECOND_NS,
        id=f"{draw.randrange(1 << 40)}",
        score=round(draw.uniform(-1, 1), 4),
        words=draw.randrange(50),
    )
