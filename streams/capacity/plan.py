"""What a load needs: partitions, workers, Triton instances, and whether the plan keeps up; pure.

Rows of all partitions come due at once, each second; a worker makes those of its partitions one after another. The
plan is the least that keeps every busy thing under `MOST_BUSY`, and is then played through border by border.
"""

import math
import random
from itertools import count

import msgspec

from schemas.errors import SettingsError
from streams.capacity.costs import cost

MOST_BUSY = 0.6
HORIZONS = 4
BLOCK_ROWS = 16
MOST_WORKERS = 64
MOST_INSTALLATIONS = 64
STAGES = ("ingest", "featurize", "infer", "score")
_RECORDS_PER_FORECAST = 3 + HORIZONS
_PLAYED_BORDERS = 300
_DAY_SECONDS = 86_400


class Need(msgspec.Struct, frozen=True):
    """What one kind of process needs: how many, their processor time (cores, all together), memory of one in bytes."""

    count: int
    cores: float
    busy: float
    memory_bytes: float


class Plan(msgspec.Struct, frozen=True):
    """A plan for a load, in `installations` equal parts; all else is of one part.

    Rates are bytes a second; `p99_seconds`: how long after its lateness bound a border's forecast is there.
    """

    installations: int
    instruments: int
    events_per_second: float
    partitions: int
    needs: dict[str, Need]
    written_bytes_per_second: float
    disk_bytes_per_day: float
    p50_seconds: float
    p99_seconds: float


def plan(instruments: int, events_per_second: float) -> Plan:
    """Return the least plan for a load; raises SettingsError where it is none, or beyond 64 installations.

    >>> plan(10, 100).partitions
    4
    """
    if instruments < 1 or events_per_second < 0:
        raise SettingsError(f"expected 1 instrument or more, got {instruments}, and no less than 0 events a second")
    for installations in range(1, MOST_INSTALLATIONS + 1):
        share = math.ceil(instruments / installations), events_per_second / installations
        for partitions in (4 * 2**power for power in range(9)):
            work = stage_work(*share, partitions)
            workers = {stage: _workers(stage, cores, partitions) for stage, cores in work.items()}
            if all(workers.values()):
                return _planned(installations, *share, partitions, workers)
    raise SettingsError(f"{instruments} instruments at {events_per_second:g} events/s are more than was thought of")


def stage_work(instruments: int, events: float, partitions: int) -> dict[str, float]:
    """Return the cores that each stage's work takes, without its processes' own."""
    return {
        "ingest": (partitions + 2) * cost("ingest_border") + events * cost("ingest_event"),
        "featurize": partitions * cost("featurize_border")
        + events * cost("featurize_event")
        + instruments * cost("featurize_row"),
        "infer": instruments * cost("infer_forecast"),
        "score": instruments * cost("score_forecast"),
    }


def _workers(stage: str, cores: float, partitions: int) -> int:
    """Return how many workers carry the work, each with whole partitions; 0 where that many cannot be."""
    each = cores / partitions
    for workers in count(max(1, math.floor(cores / MOST_BUSY))):
        if workers > min(partitions, MOST_WORKERS):
            return 0
        if math.ceil(partitions / workers) * each + cost(f"{stage}_idle") <= MOST_BUSY:
            return workers
    raise AssertionError


def _planned(installations: int, instruments: int, events: float, partitions: int, workers: dict[str, int]) -> Plan:
    work = stage_work(instruments, events, partitions)
    needs = {}
    for stage in STAGES:
        busy = math.ceil(partitions / workers[stage]) * work[stage] / partitions + cost(f"{stage}_idle")
        share = instruments / workers[stage] * cost("instrument_memory") if stage == "featurize" else 0.0
        cores = work[stage] + workers[stage] * cost(f"{stage}_idle")
        needs[stage] = Need(workers[stage], cores, busy, cost("worker_memory") + share)
    needs["triton"] = _triton(instruments, partitions)
    needs["broker"] = _broker(instruments, events, partitions)
    latencies = play(instruments, partitions, needs)
    written = written_bytes(instruments, events, partitions)
    return Plan(
        installations,
        instruments,
        events,
        partitions,
        needs,
        written,
        written * _DAY_SECONDS,
        latencies[len(latencies) // 2],
        latencies[int(0.99 * len(latencies))],
    )


def _triton(instruments: int, partitions: int) -> Need:
    """Return the pairs of network instances: a thread each, rows in blocks of 16."""
    blocks = min(partitions, instruments) * math.ceil(instruments / partitions / BLOCK_ROWS)
    cores = blocks * cost("triton_block")
    needed = max(1, math.ceil(cores / MOST_BUSY))
    return Need(needed, cores, cores / needed, 2 * cost("model_memory"))


def _broker(instruments: int, events: float, partitions: int) -> Need:
    """Return the brokers, a core each at most; each record is written once, by its leader."""
    inner = partitions * (3 + 1 + partitions / 4) + 6
    records = instruments * _RECORDS_PER_FORECAST + inner + events / 10
    cores = records * cost("kafka_record")
    needed = max(1, math.ceil(cores / 4 / MOST_BUSY))
    return Need(needed, cores + needed * cost("kafka_idle"), cores / needed / 4, 4e9)


def written_bytes(instruments: int, events: float, partitions: int) -> float:
    """Return the bytes a second that are written to Kafka once; replicas come on top."""
    forecast = 2 * cost("forecast_bytes") + cost("attention_bytes") + HORIZONS * cost("score_bytes")
    rows = min(partitions, instruments) * cost("row_message_bytes") + instruments * cost("row_bytes")
    return events * (cost("raw_bytes") + cost("event_bytes")) + rows + instruments * forecast


def play(instruments: int, partitions: int, needs: dict[str, Need], seed: int = 1) -> list[float]:
    """Play 300 borders, and return how late each partition's forecasts were, sorted, in seconds.

    Partitions have as many instruments as a seeded hash gives them; service times vary as a busy machine's do
    (log-normal, 30 %); work that is not done at the next border is before it.
    """
    draw = random.Random(seed)
    sizes = [0] * partitions
    for _ in range(instruments):
        sizes[draw.randrange(partitions)] += 1
    free = {stage: [0.0] * needs[stage].count for stage in ("featurize", "infer", "triton")}
    late = []
    for border in range(_PLAYED_BORDERS):
        for partition, size in enumerate(sizes):
            if size:
                at = float(border)
                for stage, workers in free.items():
                    at = _serve(workers, partition, at, _service(stage, size) * draw.lognormvariate(0.0, 0.3))
                late.append(at - border)
    return sorted(late)


def _service(stage: str, size: int) -> float:
    if stage == "featurize":
        return cost("featurize_border") + size * cost("featurize_row")
    if stage == "infer":
        return size * cost("infer_forecast")
    return math.ceil(size / BLOCK_ROWS) * cost("triton_block")


def _serve(free: list[float], partition: int, at: float, seconds: float) -> float:
    """Let the worker of a partition do its work when it is free; return when it is done."""
    worker = partition % len(free)
    free[worker] = max(at, free[worker]) + seconds
    return free[worker]
