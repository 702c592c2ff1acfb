"""How fast raw frames become canonical events."""

import time
from dataclasses import replace

from schemas import Rules
from schemas.topics import EXCHANGE_EVENT, RAW_EXCHANGE
from streams.bench.featurize import described, raw_records, with_floor
from streams.bench.floor import read_frames
from streams.bench.ground import Pace, RawRecord, Say, ground, stages
from streams.bench.report import Figure, Outcome, after, machine
from streams.bench.traffic import Traffic
from streams.ingest.fast import FastNormaliser, RawRun
from streams.settings import Settings

_AT_ONCE = 1_000


def run(settings: Settings, traffic: Traffic, say: Say, workers: int = 1) -> Outcome:
    """Measure from memory on one core, and through Kafka."""
    before = machine()
    figures = [from_memory(traffic, settings.rules, say)]
    with ground(replace(settings, heartbeat_writer="replay")) as place:
        records = raw_records(traffic, settings.rules)
        with stages(place, ("ingest",), workers) as running:
            pace = running.pace(records, traffic.events, EXCHANGE_EVENT, say)
        say("reading and decoding the same topic")
        floor = read_frames(place.settings, RAW_EXCHANGE)
    figures.append(
        Figure(
            what="raw topic -> canonical topic",
            value=pace.rate,
            unit="events/s",
            cpu_seconds_per_million=round(sum(pace.cpu.values()), 3),
            floor_ratio=round(pace.rate / floor.rate, 3) if floor.rate else None,
        )
    )
    return Outcome(
        bench="ingest",
        machine=after(before),
        run=described(traffic, settings, workers),
        figures=figures,
        shares={name: round(seconds, 3) for name, seconds in with_floor(pace, floor).cpu.items()},
    )


def from_memory(traffic: Traffic, rules: Rules, say: Say) -> Figure:
    """Measure the normalisers alone, on one core."""
    say("raw frames for the run from memory")
    records: dict[tuple[str, int], list[RawRecord]] = {}
    for record, _ in raw_records(traffic, rules):
        records.setdefault(record[:2], []).append(record)
    say("from memory")
    started, cpu = time.perf_counter(), time.process_time()
    for place, found in records.items():
        _normalise(FastNormaliser(*place, rules), found)
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    pace = Pace(traffic.events / seconds, {"normaliser": used / (traffic.events / 1e6)})
    return Figure(
        what="memory -> canonical messages, one core",
        value=pace.rate,
        unit="events/s",
        cpu_seconds_per_million=round(pace.cpu["normaliser"], 3),
    )


def _normalise(normaliser: FastNormaliser, records: list[RawRecord]) -> None:
    for start in range(0, len(records), _AT_ONCE):
        part = records[start : start + _AT_ONCE]
        offsets = range(start, start + len(part))
        normaliser.feed_run(
            RawRun(offsets, [r[3] for r in part], [r[4] for r in part], lambda index: records[index][2])
        )
        normaliser.ready()
    normaliser.flush()
