"""What work costs, as it was measured; each figure with where it is from.

Two live runs of the built-in market (6 instruments of 4 partitions, 63 events a second of event time, all features,
both networks) on the same two cores, one at four times the speed of the other, give two equations for each process:
processor seconds = idle x seconds + border x borders. `foreshock chaos run --scenario F19` is the faster of them; the
slower is `foreshock replay --market 1220 --speed 1` into `foreshock run`. Seconds are those of /proc/PID/stat.
"""

from typing import NamedTuple


class Cost(NamedTuple):
    """One figure: seconds of one core, or bytes."""

    value: float
    unit: str
    what: str
    source: str


_SOAK = "the two runs"
_README = "README, How fast"
COSTS = {
    "ingest_idle": Cost(0.023, "core", "an ingest worker without work", _SOAK),
    "ingest_border": Cost(2.4e-3, "s", "ingest: a row border of one raw partition", f"{_SOAK}: 14.4 ms for 6"),
    "ingest_event": Cost(3.6e-6, "s", "ingest: an event", f"{_README}: 1 / 169,000 - 1 / 441,000"),
    "featurize_idle": Cost(0.051, "core", "a featurize worker without work", _SOAK),
    "featurize_border": Cost(
        9.7e-3, "s", "featurize: a row border of one partition", f"{_SOAK}: 40.6 ms for 4, less rows"
    ),
    "featurize_event": Cost(2.3e-6, "s", "featurize: an event", f"{_README}: 1 / 441,000"),
    "featurize_row": Cost(2.6e-4, "s", "featurize: a row", "README, Decisions: 13 ms for 50 instruments"),
    "infer_idle": Cost(0.054, "core", "an infer worker without work", _SOAK),
    "infer_forecast": Cost(3.2e-3, "s", "infer: a forecast", f"{_SOAK}: 19.5 ms for 6; an upper bound"),
    "score_idle": Cost(0.050, "core", "a score worker without work", _SOAK),
    "score_forecast": Cost(3.7e-3, "s", "score: a forecast", f"{_SOAK}: 22.3 ms for 6; an upper bound"),
    "triton_block": Cost(19.5e-3, "s", "both networks: a block of 16 rows", "F19: 261 s for 13,374 requests"),
    "kafka_idle": Cost(0.11, "core", "a broker without work", _SOAK),
    "kafka_record": Cost(2.7e-4, "s", "the broker: a record, written and read", f"{_SOAK}: 20.2 ms for about 75"),
    "raw_bytes": Cost(284, "B", "a raw frame of one event, heartbeats included", "topic sizes of the slower run"),
    "event_bytes": Cost(87, "B", "a canonical event, progress included", "topic sizes of the slower run"),
    "row_message_bytes": Cost(23_600, "B", "a row message without its rows", "slower run, by partition"),
    "row_bytes": Cost(1_800, "B", "a row", "slower run, by partition"),
    "forecast_bytes": Cost(6_900, "B", "a forecast; the latest is as large", "topic sizes of the slower run"),
    "attention_bytes": Cost(2_100, "B", "its attention", "topic sizes of the slower run"),
    "score_bytes": Cost(1_300, "B", "the score of one horizon", "topic sizes of the slower run"),
    "worker_memory": Cost(240e6, "B", "a worker of any stage, without instruments", f"{_SOAK}: 176 to 235 MB"),
    "instrument_memory": Cost(
        0.8e6, "B", "featurize: an instrument and its asset", "README, Decisions: 0.54 + 0.25 MB"
    ),
    "model_memory": Cost(620e6, "B", "a network in Triton", "F19: 590 and 594 MB, and the server's 50"),
}
"""By name. Upper bounds are what a row of a small batch costs: larger batches were not measured and cost less."""


def cost(name: str) -> float:
    """Return the value of a figure."""
    return COSTS[name].value
