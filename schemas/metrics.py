"""Every Prometheus metric of our processes, declared once.

Those of others that rules and dashboards name are in `schemas.foreign_metrics`.
"""

from schemas.metric import Metric, counter, gauge, histogram

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WHOLE_WAY = (0.5, 1.0, 2.0, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0, 3.25, 3.5, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0)
"""Fine behind 2.5 s, the lateness bound, which no row is faster than."""
_RESTORE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

FAUST_STAGES = ("featurize", "infer", "score")
READERS = ("ingest", *FAUST_STAGES, "store", "parity")
"""Processes that read topics. `run` is `foreshock run`, which looks after the others."""

# Ingest: what comes in, and what is wrong with it.
FRAMES = counter("frames", "Raw frames read, by what became of them.", "topic", "outcome", by=("ingest",))
EVENTS_RECEIVED = counter("events_received", "Events that ingest accepted.", "topic", by=("ingest",))
LATE_EVENTS = counter("late_events", "Events outside the lateness bound.", "venue", "reason", by=("ingest",))
BOOK_CHANGES = counter(
    "book_changes",
    "Changes and snapshots of order books by what became of them; waiting: for a snapshot that has not come.",
    "venue",
    "outcome",
    by=("ingest",),
)
BOOK_GAPS = counter(
    "book_gaps",
    "Order books found wrong, and left out of events until their next good snapshot.",
    "venue",
    "reason",
    by=("ingest",),
)
BOOKS = gauge(
    "books",
    "Order books by what is known: known, lost since a gap, unknown (no snapshot came yet).",
    "venue",
    "standing",
    "partition",
    by=("ingest",),
)
EVENT_TIME_LAG = gauge(
    "event_time_lag_seconds", "Receive time minus event time of the last event.", "topic", by=("ingest",)
)
SOURCE_LAST_EVENT = gauge(
    "source_last_event_timestamp_seconds", "Event time of a venue's last event.", "venue", "stream", by=("ingest",)
)
VENUE_CLOCK_AHEAD = gauge(
    "venue_clock_ahead_seconds",
    "Event time minus receive time of the event of a venue looked at last; below 0 is what its way takes.",
    "venue",
    by=("ingest",),
)
INGEST_DELAY = histogram(
    "ingest_delay_seconds",
    _LATENCY,
    "From raw frames read to their events acknowledged by Kafka; a sample of the batches.",
    by=("ingest",),
)

# How far the readers of topics are.
DEAD_LETTERS = counter(
    "dead_letter", "Records that could not be read.", "stage", "reason", by=("ingest", *FAUST_STAGES, "store")
)
WATERMARK = gauge(
    "watermark_timestamp_seconds",
    "Event time up to which a stage is done.",
    "stage",
    "partition",
    by=("ingest", "featurize"),
)
OFFSET_LAG = gauge("offset_lag", "Messages not read yet.", "topic", "partition", by=READERS)
OFFSET_LAG_SECONDS = gauge(
    "offset_lag_seconds",
    "For how long the oldest message not read yet is known to lie there; 0: all is read.",
    "topic",
    "partition",
    by=READERS,
)
READ_OFFSET = gauge(
    "read_offset",
    "Offset of the next message to read: where it stands while there is lag, a reader is stuck.",
    "topic",
    "partition",
    by=READERS,
)
REBALANCES = counter(
    "rebalances", "Times that partitions were given to this process.", "stage", by=("ingest", *FAUST_STAGES, "store")
)
JOINING = gauge(
    "joining_seconds",
    "For how long this process has waited for partitions or restored their state; 0: it reads.",
    "stage",
    by=("ingest", *FAUST_STAGES, "store"),
)
STATE_RESTORE_DURATION = histogram(
    "state_restore_duration_seconds",
    _RESTORE,
    "From asking for partitions to reading on with their state restored.",
    "stage",
    by=("ingest", *FAUST_STAGES),
)
CHECKPOINT_BYTES = gauge(
    "checkpoint_bytes", "Size of the last checkpoint.", "stage", "partition", by=("ingest", *FAUST_STAGES)
)
CHECKPOINT_DURATION = histogram(
    "checkpoint_duration_seconds",
    _LATENCY,
    "From taking a checkpoint to its acknowledgement.",
    "stage",
    by=("ingest", *FAUST_STAGES),
)
LOOP_LAG = gauge("event_loop_lag_seconds", "Delay of the event loop at the last look.", "stage", by=FAUST_STAGES)

# Featurize: rows.
REPEATED_EVENTS = counter(
    "repeated_events", "Events that ingest wrote again, skipped by their stamps.", "topic", by=("featurize",)
)
WINDOW_CLOSE_DELAY = histogram(
    "window_close_delay_seconds",
    _LATENCY,
    "From the arrival of the message that completed rows, or the first one gathered with it, to the rows handed over.",
    by=("featurize",),
)
FEATURE_FRESHNESS = gauge(
    "feature_freshness_seconds",
    "Now minus the border of the last row written; in a replay the age of the recording.",
    "partition",
    by=("featurize",),
)
FEATURE_NULL = gauge("feature_null_ratio", "Share of masked values in the last row.", "feature", by=("featurize",))
PENDING_EVENTS = gauge("pending_events", "Events held in tiles that are still open.", "partition", by=("featurize",))
CLOSING_HELD = gauge(
    "closing_held_seconds",
    "Age of the oldest proposed feature set that is neither confirmed nor withdrawn: rows stop at its border; 0: none.",
    by=("featurize",),
)
ROWS = counter("rows", "Feature rows written, one per instrument and border.", "partition", by=("featurize",))

# Infer: Triton and forecasts.
INFERENCE_REQUESTS = counter("inference_requests", "Requests to Triton.", "model", "outcome", by=("infer",))
INFERENCE_DURATION = histogram("inference_duration_seconds", _LATENCY, "One request to Triton.", "model", by=("infer",))
INFERENCE_BATCH_SIZE = histogram(
    "inference_batch_size", _BATCH, "Instruments in a request, before padding.", "model", by=("infer",)
)
INFERENCE_INFLIGHT = gauge("inference_inflight", "Requests waiting for Triton.", by=("infer",))
BREAKER_STATE = gauge("breaker_state", "0 closed, 1 half open, 2 open.", by=("infer",))
CANARIES = counter(
    "canaries",
    "Canary inferences: sent while the breaker is open, and to models that nobody asked for a while.",
    "model",
    "outcome",
    by=("infer",),
)
CANARY_ANSWERED = gauge(
    "canary_answered",
    "1: the model answered its last canary as it should; 0: it did not.",
    "model",
    by=("infer",),
)
SERVING_MODEL = gauge(
    "serving_model_info", "Always 1: the version that makes the forecasts.", "model", "version", by=("infer",)
)
FORECASTS_PUBLISHED = counter("forecasts_published", "Forecasts written.", "horizon", "status", by=("infer",))
FORECAST_SLOTS = counter(
    "forecast_slots",
    "Forecasts that were due: one per row interval and instrument that rows list, all horizons together.",
    by=("infer",),
)
FORECAST_SLOT_MISSED = counter(
    "forecast_slot_missed",
    "Of those due, what consumers had no use of; late: not on the topic in time (counted in live runs only), "
    "unavailable: it says that nothing is known.",
    "reason",
    by=("infer",),
)
FORECASTS_WAITING = gauge(
    "forecasts_waiting", "Forecasts of rows read that are not made yet.", "partition", by=("infer",)
)
FORECAST_AGE = gauge(
    "forecast_age_seconds",
    "Now minus the origin of the last forecast; in a replay the age of the recording.",
    "partition",
    by=("infer",),
)
FORECAST_DELAY = histogram(
    "forecast_delay_seconds", _LATENCY, "From a row message read to its forecasts acknowledged by Kafka.", by=("infer",)
)
END_TO_END = histogram(
    "end_to_end_seconds",
    _WHOLE_WAY,
    "The whole way: from a row's border in exchanges' event time to its forecasts acknowledged; says something live "
    "only.",
    by=("infer",),
)
ATTENTION_FAITHFULNESS = gauge(
    "attention_faithfulness",
    "Rank correlation of attention by modality with leave-one-out effects, mean over the last explained forecasts.",
    by=("infer",),
)
INSTRUMENT_VOLATILITY = gauge(
    "instrument_volatility_annualised_ratio",
    "Volatility of the last forecast, a year's, as a share of the price; of the instruments in "
    "FORESHOCK_METRICS_INSTRUMENTS.",
    "instrument",
    "horizon",
    by=("infer",),
)

# Score: how good they were.
FORECASTS_NOT_SCORED = counter(
    "forecasts_not_scored",
    "Horizons of forecasts without a score; an unavailable forecast counts once.",
    "reason",
    by=("score",),
)
FORECASTS_SCORED = counter(
    "forecasts_scored", "Forecasts held against what then happened.", "horizon", "expert", by=("score",)
)
LOSS = counter(
    "loss",
    "Sum of a loss over the forecasts scored: divided by them, the mean.",
    "horizon",
    "expert",
    "metric",
    by=("score",),
)
COVERED = counter(
    "covered", "Outcomes inside the central band, of the forecasts scored.", "horizon", "level", by=("score",)
)
COVERAGE = gauge(
    "coverage_ratio", "Share of outcomes inside the central band, so far.", "horizon", "level", by=("score",)
)
REGIME_COVERAGE = gauge(
    "regime_coverage_ratio",
    "Share of outcomes inside the central 90 % band, so far, by the regime of the forecast; -1: none known.",
    "horizon",
    "regime",
    by=("score",),
)
INSTRUMENT_COVERAGE = gauge(
    "instrument_coverage_ratio",
    "Share of an instrument's outcomes inside the central 90 % band, so far; of the instruments in "
    "FORESHOCK_METRICS_INSTRUMENTS.",
    "instrument",
    "horizon",
    by=("score",),
)
EXPERT_WEIGHT = gauge(
    "expert_weight",
    "Weight of an expert, mean over instruments; of: mean or quantiles.",
    "horizon",
    "expert",
    "of",
    by=("score",),
)
SCORE = gauge("score", "Mean loss so far.", "horizon", "expert", "metric", by=("score",))
DRIFT_ALARMS = counter("drift_alarms", "Alarms of drift, over all partitions.", "kind", "horizon", by=("score",))

# Store and parity.
STORE_ROWS = counter("store_rows", "Records written to the offline store.", "table", by=("store",))
STORE_REPEATS = counter(
    "store_repeats", "Records read again and left out of the offline store.", "table", by=("store",)
)
STORE_COMMIT_DURATION = histogram(
    "store_commit_duration_seconds", _LATENCY, "One commit of a table.", "table", by=("store",)
)
PARITY_CHECKED = counter(
    "parity_checked", "Row messages recomputed from the canonical log.", "partition", by=("parity",)
)
PARITY_MISMATCH = counter(
    "parity_mismatch", "Row messages that are not as recomputed; expected 0.", "partition", "reason", by=("parity",)
)
PARITY_BEHIND = gauge(
    "parity_behind_seconds",
    "Event time between what parity has recomputed and the last row message.",
    "partition",
    by=("parity",),
)

# The processes themselves.
BUILD_INFO = gauge("build_info", "Always 1: what this process is.", "version", "rules_id", "feature_set_id", by=READERS)
LIVE = gauge(
    "live",
    "1: heartbeats come by the clock of now; 0: a replay, whose times say nothing beside those of now.",
    by=(*READERS, "run"),
)
PROCESS_RESTARTS = counter(
    "process_restarts", "Times that `foreshock run` has started a process again.", "process", by=("run",)
)
PROCESS_RUNNING = gauge("process_running", "1: the process runs; 0: it has ended.", "process", by=("run",))
DISK_FREE = gauge("disk_free_bytes", "Room that is left where a folder lies.", "folder", by=("run",))
DISK_SIZE = gauge("disk_size_bytes", "Size of the disk where a folder lies.", "folder", by=("run",))

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
