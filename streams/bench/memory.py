"""How much memory an instrument takes, and whether a long run takes ever more."""

import gc
import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import psutil

from featurestore.backfill import Backfill
from featurestore.catalogue import Catalogue
from schemas import Rules
from schemas.rules import DAY_NS, SECOND_NS
from schemas.topics import EVENT_TOPICS
from streams.bench.featurize import described
from streams.bench.ground import Running, Say, ground, stages
from streams.bench.live import sending
from streams.bench.report import Figure, Outcome, after, machine
from streams.bench.traffic import Traffic, canonical
from streams.settings import Settings

_MB = 1 << 20
_LOOK_SECONDS = 2.0
_SPARSE_PER_SECOND = 5
_BATCH_EVENTS = 2_000
_SAY_EVERY = 1_000
_WARM_SHARE = 1 / 3
"""The share of a live run that is left out of its slope: windows fill up in it."""

Sizes = tuple[float, dict[str, float]]
"""When, and the resident MB of each process."""


def run(settings: Settings, traffic: Traffic, say: Say, window_seconds: int = DAY_NS // SECOND_NS) -> Outcome:
    """Fill the windows of one engine, then watch the processes under live traffic for `traffic.seconds`."""
    before = machine()
    figures = [per_instrument(settings.rules, traffic.instruments, window_seconds, say)]
    live = replace(settings, heartbeat_writer="ingest")
    with ground(live) as place, stages(place, ("ingest", "featurize")) as running:
        say("starting the stages")
        running.wait_until_reading(dict.fromkeys(EVENT_TOPICS, settings.partitions))
        with sending(place, traffic) as sender:
            sizes = list(_watch(running, sender.start_ns / 1e9 + traffic.seconds, say))
    figures += course(sizes)
    return Outcome(bench="memory", machine=after(before), run=described(traffic, settings, 1), figures=figures)


def per_instrument(rules: Rules, instruments: int, seconds: int, say: Say) -> Figure:
    """Return what an instrument adds to an engine that has seen so many seconds of events."""
    one = msgspec.structs.replace(rules, partitions=1, raw_partitions=dict.fromkeys(rules.raw_partitions, 1))
    few = max(1, instruments // 5)
    sparse = Traffic(instruments=few, per_second=_SPARSE_PER_SECOND, seconds=seconds, quotes=True)
    less = _engine_bytes(sparse, one, say)
    more = _engine_bytes(replace(sparse, instruments=instruments), one, say)
    return Figure(
        what=f"an instrument in an engine after {seconds / 3_600:g} h",
        value=(more - less) / (instruments - few) / _MB,
        unit="MB",
        wanted="<= 1",
    )


def _engine_bytes(traffic: Traffic, rules: Rules, say: Say) -> int:
    """Return by how much the process grows with an engine that has read the traffic."""
    gc.collect()
    before = _resident()
    engines = Backfill(rules, Catalogue.discover(rules))
    for count, _ in enumerate(engines.rows(canonical(traffic, rules, _BATCH_EVENTS)), start=1):
        if not count % _SAY_EVERY:
            say(f"{traffic.instruments} instruments, {count:,} row messages")
    gc.collect()
    return _resident() - before


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _watch(running: Running, end: float, say: Say) -> Iterator[Sizes]:
    begin = time.time()
    while time.time() < end:
        time.sleep(_LOOK_SECONDS)
        sizes = {name: process.memory_info().rss / _MB for name, process in running.processes().items()}
        said = ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items())
        say(f"{(time.time() - begin) / 60:.1f} min: {said}")
        yield time.time(), sizes


def course(sizes: list[Sizes]) -> list[Figure]:
    """Return the last size and the growth of each process but the broker's."""
    figures = []
    later = sizes[int(len(sizes) * _WARM_SHARE) :]
    minutes = np.array([at for at, _ in later]) / 60
    for name in later[0][1] if later else ():
        if name == "broker":  # its heap is set, and its size says nothing about us
            continue
        course = np.array([each[name] for _, each in later])
        slope = np.polyfit(minutes - minutes[0], course, 1)[0] if len(course) > 1 else 0.0
        figures.append(Figure(what=f"{name} at the end", value=float(course[-1]), unit="MB"))
        figures.append(
            Figure(what=f"{name}, growth behind the first third", value=float(slope), unit="MB/min", wanted="0: flat")
        )
    return figures
