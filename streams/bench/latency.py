"""How long after the lateness bound a second's row is on its topic, live."""

import time
from dataclasses import replace

import numpy as np
from confluent_kafka import TopicPartition

from schemas.errors import StackError
from schemas.rules import SECOND_NS
from schemas.topics import EVENT_TOPICS, FEATURE_ROW
from streams.bench.featurize import described
from streams.bench.ground import Ground, Running, Say, ground, stages
from streams.bench.live import all_partitions_active, sending
from streams.bench.report import Figure, Outcome, after, machine
from streams.bench.traffic import Traffic
from streams.kafka import consumer, partition_counts
from streams.settings import Settings

_SETTLE_SECONDS = 3.0
_PATIENCE_SECONDS = 30.0


def run(settings: Settings, traffic: Traffic, say: Say) -> Outcome:
    """Send `traffic.seconds` of traffic by the clock and time each row message.

    A row at border t is complete once records of border + allowed lateness are there, and what is
    told is the time from then until a reader has it. Rows of the first seconds are left out.
    """
    before = machine()
    settings = replace(settings, heartbeat_writer="ingest")
    if not all_partitions_active(traffic, settings.raw_exchange_partitions):
        raise StackError("the traffic leaves a raw partition out: more instruments are needed")
    with ground(settings, by_default=True) as place, stages(place, ("ingest", "featurize")) as running:
        say("starting the stages")
        running.wait_until_reading(dict.fromkeys(EVENT_TOPICS, settings.partitions))
        delays, cpu, late_ns = _delays(running, place, traffic, say)
    if not delays:
        raise StackError("no row came: the run was too short")
    p50, p99, worst = np.quantile(delays, [0.5, 0.99, 1.0])
    figures = [
        Figure(what="row on its topic after the lateness bound, p50", value=float(p50), unit="ms", wanted="<= 30"),
        Figure(what="row on its topic after the lateness bound, p99", value=float(p99), unit="ms", wanted="<= 100"),
        Figure(what="the slowest", value=float(worst), unit="ms"),
        Figure(what="row messages timed", value=len(delays), unit=""),
        Figure(what="the sender's own delay, greatest", value=late_ns / 1e6, unit="ms"),
    ]
    return Outcome(
        bench="latency",
        machine=after(before),
        run=described(traffic, settings, 1),
        figures=figures,
        shares={name: round(seconds, 2) for name, seconds in cpu.items()},
    )


def _delays(running: Running, place: Ground, traffic: Traffic, say: Say) -> tuple[list[float], dict[str, float], int]:
    rules = place.settings.rules
    reader = consumer(place.settings, "foreshock-bench", overrides={"fetch.wait.max.ms": 5})
    count = partition_counts(place.settings, [FEATURE_ROW])[FEATURE_ROW]
    delays: list[float] = []
    cpu: dict[str, float] = {}
    try:
        reader.assign([TopicPartition(FEATURE_ROW, partition, 0) for partition in range(count)])
        with sending(place, traffic) as sender:
            end_ns = sender.start_ns + traffic.seconds * SECOND_NS
            begin_ns = sender.start_ns + rules.row_interval_ns + int(_SETTLE_SECONDS * 1e9)
            borders = (end_ns - rules.allowed_lateness_ns - begin_ns) // rules.row_interval_ns
            give_up = end_ns / 1e9 + _PATIENCE_SECONDS
            while time.time() * 1e9 < end_ns or (len(delays) < borders * count and time.time() < give_up):
                message = reader.poll(0.1)
                now_ns = time.time_ns()
                if not cpu:
                    cpu = running.cpu_seconds()
                if message is None or message.error() is not None:
                    continue
                headers = dict(message.headers() or [])
                border_ns = int(headers["row_time_ns"] or b"0")
                if begin_ns < border_ns <= end_ns - rules.allowed_lateness_ns:
                    delays.append((now_ns - border_ns - rules.allowed_lateness_ns) / 1e6)
                    say(f"{len(delays)} row messages, the last after {delays[-1]:.0f} ms")
            used = running.cpu_seconds()
        millions = sender.sent / 1e6
        return delays, {name: (used[name] - cpu.get(name, 0.0)) / millions for name in used}, sender.latest_ns
    finally:
        reader.close()
