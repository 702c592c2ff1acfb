"""Every Prometheus metric, once: name, kind, labels, unit and meaning."""

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric; a counter's name ends in `_total`, a unit is part of the name."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=f"foreshock_{name}_total", kind="counter", meaning=meaning, labels=labels)


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=f"foreshock_{name}", kind="gauge", meaning=meaning, labels=labels)


def _histogram(name: str, buckets: tuple[float, ...], meaning: str, *labels: str) -> Metric:
    return Metric(name=f"foreshock_{name}", kind="histogram", meaning=meaning, labels=labels, buckets=buckets)


FRAMES = _counter("frames", "Raw frames read, by what became of them.", "topic", "outcome")
EVENTS_RECEIVED = _counter("events_received", "Events that ingest accepted.", "topic")
REPEATED_EVENTS = _counter("repeated_events", "Events that ingest wrote again, skipped by their stamps.", "topic")
LATE_EVENTS = _counter("late_events", "Events outside the lateness bound.", "venue", "reason")
DEAD_LETTERS = _counter("dead_letter", "Records that could not be read.", "stage", "reason")
BOOK_CHANGES = _counter(
    "book_changes",
    "Changes and snapshots of order books by what became of them; waiting: for a snapshot that has not come.",
    "venue",
    "outcome",
)
BOOK_GAPS = _counter(
    "book_gaps", "Order books found wrong, and left out of events until their next good snapshot.", "venue", "reason"
)
BOOKS = _gauge(
    "books",
    "Order books by what is known: known, lost since a gap, unknown (no snapshot came yet).",
    "venue",
    "standing",
    "partition",
)
EVENT_TIME_LAG = _gauge("event_time_lag_seconds", "Receive time minus event time of the last event.", "topic")
WATERMARK = _gauge("watermark_timestamp_seconds", "Event time up to which a stage is done.", "stage", "partition")
OFFSET_LAG = _gauge("offset_lag", "Messages not read yet.", "topic", "partition")
WINDOW_CLOSE_DELAY = _histogram(
    "window_close_delay_seconds",
    _LATENCY,
    "From the arrival of the message that completed rows, or the first one gathered with it, to the rows handed over.",
)
FEATURE_FRESHNESS = _gauge("feature_freshness_seconds", "Age of the last row written.", "partition")
FEATURE_NULL = _gauge("feature_null_ratio", "Share of masked values in the last row.", "feature")
SOURCE_LAST_EVENT = _gauge(
    "source_last_event_timestamp_seconds", "Event time of a venue's last event.", "venue", "stream"
)
PENDING_EVENTS = _gauge("pending_events", "Events held in tiles that are still open.", "partition")
CLOSING_HELD = _gauge(
    "closing_held_seconds",
    "Age of the oldest proposed feature set that is neither confirmed nor withdrawn: rows stop at its border; 0: none.",
)
ROWS = _counter("rows", "Feature rows written, one per instrument and border.", "partition")
INFERENCE_REQUESTS = _counter("inference_requests", "Requests to Triton.", "model", "outcome")
INFERENCE_DURATION = _histogram("inference_duration_seconds", _LATENCY, "One request to Triton.", "model")
INFERENCE_BATCH_SIZE = _histogram("inference_batch_size", _BATCH, "Instruments in a request, before padding.", "model")
INFERENCE_INFLIGHT = _gauge("inference_inflight", "Requests waiting for Triton.")
BREAKER_STATE = _gauge("breaker_state", "0 closed, 1 half open, 2 open.")
FORECASTS_PUBLISHED = _counter("forecasts_published", "Forecasts written.", "horizon", "status")
FORECAST_AGE = _gauge("forecast_age_seconds", "Now minus the last forecast's origin.", "partition")
END_TO_END = _histogram(
    "end_to_end_seconds",
    _LATENCY,
    "From a row's border in event time to its forecasts handed over; says something live only.",
)
FORECASTS_NOT_SCORED = _counter(
    "forecasts_not_scored", "Horizons of forecasts without a score; an unavailable forecast counts once.", "reason"
)
COVERAGE = _gauge("coverage_ratio", "Share of outcomes inside the central band, so far.", "horizon", "level")
REGIME_COVERAGE = _gauge(
    "regime_coverage_ratio",
    "Share of outcomes inside the central 90 % band, so far, by the regime of the forecast; -1: none known.",
    "horizon",
    "regime",
)
EXPERT_WEIGHT = _gauge(
    "expert_weight", "Weight of an expert, mean over instruments; of: mean or quantiles.", "horizon", "expert", "of"
)
ATTENTION_FAITHFULNESS = _gauge(
    "attention_faithfulness",
    "Rank correlation of attention by modality with leave-one-out effects, mean over the last explained forecasts.",
)
SCORE = _gauge("score", "Mean loss so far.", "horizon", "expert", "metric")
DRIFT_ALARMS = _counter("drift_alarms", "Alarms of drift, over all partitions.", "kind", "horizon")
CHECKPOINT_BYTES = _gauge("checkpoint_bytes", "Size of the last checkpoint.", "stage", "partition")
CHECKPOINT_DURATION = _histogram(
    "checkpoint_duration_seconds",
    _LATENCY,
    "From taking a checkpoint to its acknowledgement.",
    "stage",
)
STORE_ROWS = _counter("store_rows", "Records written to the offline store.", "table")
STORE_REPEATS = _counter("store_repeats", "Records read again and left out of the offline store.", "table")
STORE_COMMIT_DURATION = _histogram("store_commit_duration_seconds", _LATENCY, "One commit of a table.", "table")
LOOP_LAG = _gauge("event_loop_lag_seconds", "Delay of the event loop at the last look.", "stage")
PARITY_CHECKED = _counter("parity_checked", "Row messages recomputed from the canonical log.", "partition")
PARITY_MISMATCH = _counter(
    "parity_mismatch", "Row messages that are not as recomputed; expected 0.", "partition", "reason"
)
PARITY_BEHIND = _gauge(
    "parity_behind_seconds", "Event time between what parity has recomputed and the last row message.", "partition"
)
BUILD_INFO = _gauge("build_info", "Always 1: what this process is.", "version", "rules_id", "feature_set_id")

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
