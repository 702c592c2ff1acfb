"""How fast canonical events, or raw frames, become feature rows."""

import time
from collections.abc import Iterable
from dataclasses import replace

from featurestore.backfill import Backfill, CanonicalMessage
from featurestore.catalogue import Catalogue
from featurestore.defaults import MARKET_RECORDS, default_features
from schemas import Rules
from schemas.batches import decode_batch
from schemas.topics import EXCHANGE_EVENT, FEATURE_ROW, RAW_EXCHANGE
from streams.bench.floor import read_batches, read_frames
from streams.bench.ground import Ground, Pace, RawRecord, Say, ground, stages
from streams.bench.report import Figure, Outcome, after, machine
from streams.bench.traffic import Traffic, canonical
from streams.settings import Settings
from streams.sources.replay import with_heartbeats


def run(settings: Settings, traffic: Traffic, say: Say, workers: int = 1) -> Outcome:
    """Measure from memory, through Kafka, and from raw trades; `workers` processes of each stage."""
    before = machine()
    figures = from_memory(settings, traffic, say)
    shares: dict[str, float] = {}
    for figure, pace in (
        through_kafka(settings, traffic, say, workers),
        from_raw(settings, replace(traffic, quotes=False), say, workers),
    ):
        figures.append(figure)
        shares |= {f"{figure.what}: {name}": round(seconds, 3) for name, seconds in pace.cpu.items()}
    return Outcome(
        bench="featurize",
        machine=after(before),
        run=described(traffic, settings, workers),
        figures=figures,
        shares=shares,
    )


def described(traffic: Traffic, settings: Settings, workers: int) -> dict[str, str]:
    """Return what was run, for people."""
    rules = settings.rules
    whole = Catalogue.discover(settings.rules)
    return {
        "events": f"{traffic.events:,}",
        "instruments": str(traffic.instruments),
        "events per event-second": f"{traffic.per_second:,}",
        "features": f"{len(default_features(whole).features)} default of {len(whole.features)}",
        "raw.exchange partitions": str(rules.raw_partitions[RAW_EXCHANGE]),
        "partitions": str(rules.partitions),
        "workers": str(workers),
        "lateness": f"{rules.allowed_lateness_ns / 1e9:g} s",
    }


def from_memory(settings: Settings, traffic: Traffic, say: Say) -> list[Figure]:
    """Measure the engines alone, on one core: canonical messages in memory to row messages."""
    say("canonical messages for the run from memory")
    messages = list(canonical(traffic, settings.rules, settings.batch_events))
    whole = Catalogue.discover(settings.rules)
    market = default_features(whole, MARKET_RECORDS)
    cases = {
        "market columns": market,
        "default features": default_features(whole),
        "whole catalogue": whole,
    }
    figures = []
    for name, catalogue in cases.items():
        say(f"from memory, {name}")
        _engines(messages[: len(messages) // 10], traffic.events, settings.rules, catalogue)  # warms up
        pace = _engines(messages, traffic.events, settings.rules, catalogue)
        figures.append(
            Figure(
                what=f"memory -> rows, {name} ({len(catalogue.features)}), one core",
                value=pace.rate,
                unit="events/s",
                wanted=">= 1,000,000" if catalogue is market else "",
                cpu_seconds_per_million=round(pace.cpu["engine"], 3),
            )
        )
    return figures


def _engines(messages: Iterable[CanonicalMessage], events: int, rules: Rules, catalogue: Catalogue) -> Pace:
    engines = Backfill(rules, catalogue)
    started, cpu = time.perf_counter(), time.process_time()
    rows = sum(1 for _ in engines.rows(messages))
    seconds = time.perf_counter() - started
    return Pace(events / seconds if rows else 0.0, {"engine": (time.process_time() - cpu) / (events / 1e6)})


def through_kafka(settings: Settings, traffic: Traffic, say: Say, workers: int) -> tuple[Figure, Pace]:
    """Measure canonical topics to rows, with the broker on the same machine."""
    with ground(settings, by_default=True) as place:
        messages = canonical(traffic, settings.rules, settings.batch_events)
        records = ((_record(message), _events(message)) for message in messages)
        pace = _rows(place, ("featurize",), records, traffic, say, workers)
        say("reading and decoding the same topic")
        floor = read_batches(place.settings, EXCHANGE_EVENT)
    return _figure("canonical topic -> rows", pace, floor, ">= 700,000"), with_floor(pace, floor)


def from_raw(settings: Settings, traffic: Traffic, say: Say, workers: int) -> tuple[Figure, Pace]:
    """Measure raw frames to rows: ingest, featurize and the broker on the same machine."""
    with ground(replace(settings, heartbeat_writer="replay"), by_default=True) as place:
        records = raw_records(traffic, settings.rules)
        pace = _rows(place, ("ingest", "featurize"), records, traffic, say, workers)
        say("reading and decoding the same topic")
        floor = read_frames(place.settings, RAW_EXCHANGE)
    return _figure("raw JSON trades -> rows", pace, floor, ">= 300,000"), with_floor(pace, floor)


def with_floor(pace: Pace, floor: Pace) -> Pace:
    """Return a pace that tells beside its own processes what reading alone took."""
    return Pace(pace.rate, pace.cpu | {"decode-only": floor.cpu["reader"]})


def raw_records(traffic: Traffic, rules: Rules) -> Iterable[tuple[RawRecord, int]]:
    """Yield the traffic and its heartbeats as records of the raw topics, each with its number of events."""
    for topic, partition, message in with_heartbeats(traffic.frames(), rules):
        headers = list(message.headers().items())
        yield (topic, partition, message.key or None, message.value, headers), int(bool(message.value))


def _record(message: CanonicalMessage) -> RawRecord:
    return message.topic, message.partition, None, message.value, list(message.headers.items())


def _events(message: CanonicalMessage) -> int:
    return len(decode_batch(message.value)) if message.value else 0


def _rows(
    place: Ground,
    names: tuple[str, ...],
    records: Iterable[tuple[RawRecord, int]],
    traffic: Traffic,
    say: Say,
    workers: int,
) -> Pace:
    with stages(place, names, workers) as running:
        return running.pace(records, traffic.events, FEATURE_ROW, say)


def _figure(what: str, pace: Pace, floor: Pace, wanted: str) -> Figure:
    return Figure(
        what=what,
        value=pace.rate,
        unit="events/s",
        wanted=wanted,
        cpu_seconds_per_million=round(sum(pace.cpu.values()), 3),
        floor_ratio=round(pace.rate / floor.rate, 3) if floor.rate else None,
    )
