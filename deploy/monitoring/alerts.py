"""The alerts, but for those of the SLOs: what holds when each fires, and what it tells in words.

`<name>` and `[name]` are thresholds. Ages are held against the clock only where the run is live.
"""

from typing import Literal, NamedTuple

_LIVE = " and on () max(foreshock_live) == 1"

_BY_HORIZON = "sum by (horizon) (increase({}[coverage_window]))"
_SCORED = _BY_HORIZON.format('foreshock_forecasts_scored_total{expert="combined"}')
_COVERED = _BY_HORIZON.format('foreshock_covered_total{level="0.9"}') + f" / {_SCORED}"
_LOST = "sum by (horizon) (increase(foreshock_loss_total{{expert='{}',metric='qlike'}}[coverage_window]))"
_ENOUGH = f"{_SCORED} > <outcomes_least>"

Dashboard = Literal["overview", "ingest", "streams", "inference", "forecasts"]


class Alert(NamedTuple):
    """One alert. `hold`: the threshold that says for how long it must hold; `severity`: critical wakes somebody."""

    name: str
    severity: Literal["critical", "warning", "info"]
    expr: str
    hold: str
    summary: str
    description: str
    dashboard: Dashboard
    slo: str = ""


def grown(metric: str, window: str) -> str:
    """Return how much a counter grew, one counted whose series has only begun: `increase` sees no first value."""
    return f"(({metric} unless {metric} offset <{window}>s) or increase({metric}[{window}]))"


def _idle(output: str, given: str, step: str) -> str:
    """Return a condition: nothing comes out of a step while something goes in."""
    rate = "(sum(rate({}[stall_window])) or vector(0))"
    condition = f"{rate.format(output)} == 0 and on () {rate.format(given)} > 0"
    return f'label_replace({condition}, "step", "{step}", "", "")'


_STUCK = (
    "label_replace(foreshock_offset_lag > 0 and changes(foreshock_read_offset[stall_window]) == 0, "
    '"step", "$1", "stage", "(.*)")'
)

ALERTS: tuple[Alert, ...] = (
    Alert(
        "StreamStalled",
        "critical",
        " or ".join(
            (
                _idle("foreshock_rows_total", "foreshock_events_received_total", "featurize"),
                _idle("foreshock_forecasts_published_total", "foreshock_rows_total", "infer"),
                _STUCK,
            )
        ),
        "short_for",
        "{{ $labels.step }} stands still",
        "{{ $labels.step }} {{ $labels.topic }} {{ $labels.partition }}: what it reads grows and nothing comes out.",
        "overview",
    ),
    Alert(
        "ProcessDown",
        "critical",
        'up{job="foreshock"} == 0',
        "scrape_gap",
        "{{ $labels.process }} does not answer",
        "{{ $labels.process }} has not answered at {{ $labels.instance }}.",
        "overview",
    ),
    Alert(
        "ProcessRestarting",
        "warning",
        "increase(foreshock_process_restarts_total[restarts_window]) > <restarts_most>",
        "scrape_gap",
        "{{ $labels.process }} ends again and again",
        "{{ $labels.process }} was started again {{ $value | humanize }} times within <restarts_window> s.",
        "overview",
    ),
    Alert(
        "LagHigh",
        "warning",
        "max by (stage, topic) (foreshock_offset_lag_seconds) > <lag_seconds>",
        "short_for",
        "{{ $labels.stage }} is {{ $value | humanizeDuration }} behind {{ $labels.topic }}",
        "The oldest message of {{ $labels.topic }} that {{ $labels.stage }} has not read lies there for "
        "{{ $value | humanizeDuration }}.",
        "streams",
    ),
    Alert(
        "EventTimeLagHigh",
        "warning",
        "min by (topic) (min_over_time(foreshock_event_time_lag_seconds[rate_window])) > <event_time_lag>",
        "short_for",
        "Events of {{ $labels.topic }} arrive {{ $value | humanizeDuration }} late",
        "Every event looked at on {{ $labels.topic }} was received {{ $value | humanizeDuration }} or more after it "
        "happened.",
        "ingest",
    ),
    Alert(
        "SourceSilent",
        "warning",
        "time() - max by (venue, stream) (foreshock_source_last_event_timestamp_seconds) > <source_silence> < "
        "<source_forgotten>" + _LIVE,
        "short_for",
        "{{ $labels.venue }} is silent on {{ $labels.stream }}",
        "The last event of {{ $labels.venue }} on {{ $labels.stream }} is {{ $value | humanizeDuration }} old.",
        "ingest",
    ),
    Alert(
        "WatermarkStuck",
        "critical",
        "time() - max by (stage, partition) (foreshock_watermark_timestamp_seconds > 0) > <watermark_age>" + _LIVE,
        "short_for",
        "{{ $labels.stage }} {{ $labels.partition }}: event time stands still",
        "{{ $labels.stage }} is done up to {{ $value | humanizeDuration }} ago in {{ $labels.partition }}: rows wait.",
        "streams",
    ),
    Alert(
        "DlqRateHigh",
        "warning",
        "sum by (stage, reason) (rate(foreshock_dead_letter_total[rate_window])) > <dead_letters_per_second>",
        "short_for",
        "{{ $labels.stage }} cannot read what it gets: {{ $labels.reason }}",
        "{{ $labels.stage }} wrote {{ $value | humanize }} dead letters a second: {{ $labels.reason }}.",
        "ingest",
    ),
    Alert(
        "LateRatioHigh",
        "warning",
        "sum by (venue) (rate(foreshock_late_events_total[rate_window])) / on () group_left () "
        "sum(rate(foreshock_events_received_total[rate_window])) > <late_ratio>",
        "long_for",
        "Events of {{ $labels.venue }} come too late to count",
        "Late events of {{ $labels.venue }} are {{ $value | humanizePercentage }} of all accepted ones.",
        "ingest",
    ),
    Alert(
        "ClockSkew",
        "warning",
        "max by (venue) (min_over_time(foreshock_venue_clock_ahead_seconds[rate_window])) > <clock_ahead>",
        "short_for",
        "The clock of {{ $labels.venue }}, or ours, is wrong",
        "Events of {{ $labels.venue }} happened {{ $value | humanizeDuration }} after they were received.",
        "ingest",
    ),
    Alert(
        "BooksLost",
        "warning",
        'sum by (venue) (foreshock_books{standing="lost"}) / sum by (venue) (foreshock_books) > <books_lost_ratio>',
        "long_for",
        "Order books of {{ $labels.venue }} are lost",
        "{{ $value | humanizePercentage }} of the order books of {{ $labels.venue }} wait for a snapshot.",
        "ingest",
    ),
    Alert(
        "FeatureStale",
        "critical",
        "min by (partition) (foreshock_feature_freshness_seconds) > <feature_age>" + _LIVE,
        "short_for",
        "No rows of partition {{ $labels.partition }}",
        "The last feature row of partition {{ $labels.partition }} is {{ $value | humanizeDuration }} old.",
        "streams",
    ),
    Alert(
        "FeatureSetHeld",
        "warning",
        "max(foreshock_closing_held_seconds) > <held_seconds>",
        "scrape_gap",
        "A proposed feature set is not decided",
        "Rows stop at its border, for {{ $value | humanizeDuration }} now.",
        "streams",
    ),
    Alert(
        "ParityMismatch",
        "critical",
        f"sum by (reason) ({grown('foreshock_parity_mismatch_total', 'parity_window')}) > 0",
        "scrape_gap",
        "Live rows are not as recomputed: {{ $labels.reason }}",
        "{{ $value | humanize }} row messages differ from what the log gives: {{ $labels.reason }}.",
        "forecasts",
    ),
    Alert(
        "TritonDown",
        "critical",
        'up{job="triton"} == 0 or absent(up{job="triton"})',
        "scrape_gap",
        "Triton does not answer",
        "Triton's metrics have not been answered; forecasts are fallbacks by log-HAR.",
        "inference",
    ),
    Alert(
        "TritonCanaryFailing",
        "critical",
        'min by (model) (foreshock_canary_answered{model!~".*@.*"}) == 0',
        "short_for",
        "{{ $labels.model }} does not answer its canary",
        "{{ $labels.model }} gave no usable answer to its last canary; Triton's health pages may still be green.",
        "inference",
    ),
    Alert(
        "BreakerOpen",
        "warning",
        "max(min_over_time(foreshock_breaker_state[scrape_gap])) > 0",
        "short_for",
        "The breaker to Triton is open",
        "No model is asked, every forecast is a fallback by log-HAR.",
        "inference",
    ),
    Alert(
        "InferenceQueueSaturated",
        "warning",
        "model:triton_queue:ratio1m > <queue_ratio>",
        "long_for",
        "{{ $labels.model }} is asked for more than it serves",
        "{{ $value | humanizePercentage }} of the time of requests to {{ $labels.model }} is spent in its queue.",
        "inference",
    ),
    Alert(
        "CoverageOutOfBand",
        "warning",
        f"({_COVERED} < <coverage_low> or {_COVERED} > <coverage_high>) and {_ENOUGH}",
        "long_for",
        "The 90 % band of {{ $labels.horizon }} holds {{ $value | humanizePercentage }}",
        "Of outcomes at {{ $labels.horizon }}, {{ $value | humanizePercentage }} lay inside the 90 % band.",
        "forecasts",
    ),
    Alert(
        "ScoreWorseThanBaseline",
        "warning",
        f"{_LOST.format('combined')} / {_LOST.format('har')} > <score_ratio> and {_ENOUGH}",
        "long_for",
        "Forecasts at {{ $labels.horizon }} are worse than log-HAR alone",
        "Their QLIKE at {{ $labels.horizon }} is {{ $value | humanize }} times that of log-HAR.",
        "forecasts",
    ),
    Alert(
        "DriftDetected",
        "info",
        f"sum by (kind, horizon) ({grown('foreshock_drift_alarms_total', 'parity_window')}) > 0",
        "scrape_gap",
        "Drift of {{ $labels.kind }} at {{ $labels.horizon }}",
        "{{ $value | humanize }} alarms of {{ $labels.kind }} at {{ $labels.horizon }} (ops.drift.v1 holds them).",
        "forecasts",
    ),
    Alert(
        "StateRestoreSlow",
        "warning",
        "max by (stage, process) (foreshock_joining_seconds) > <restore_seconds>",
        "scrape_gap",
        "{{ $labels.process }} does not get to work",
        "{{ $labels.process }} has waited for partitions or restored state for {{ $value | humanizeDuration }}.",
        "streams",
    ),
    Alert(
        "RebalanceStorm",
        "warning",
        "sum by (stage) (increase(foreshock_rebalances_total[rebalance_window])) > <rebalances_most>",
        "scrape_gap",
        "Partitions of {{ $labels.stage }} go to and fro",
        "{{ $labels.stage }} was given partitions {{ $value | humanize }} times within <rebalance_window> s.",
        "streams",
    ),
    Alert(
        "DiskWillFill",
        "critical",
        "min by (folder) (predict_linear(foreshock_disk_free_bytes[disk_window], <disk_horizon>)) < 0 or "
        "min by (folder) (foreshock_disk_free_bytes / foreshock_disk_size_bytes) < <disk_least_ratio>",
        "short_for",
        "The disk of {{ $labels.folder }} fills up",
        "The disk where {{ $labels.folder }} lies is nearly full, or is within <disk_horizon> s.",
        "streams",
    ),
)
