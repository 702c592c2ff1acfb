"""Queries made from declared metrics: an unknown label or a wrong kind of metric fails while a dashboard is built."""

from functools import cache
from typing import Any

from deploy.dashboards.limits import thresholds
from deploy.monitoring.recording import recording_groups
from schemas.foreign_metrics import FOREIGN_METRICS
from schemas.metric import Metric

FOREIGN = {metric.name: metric for metric in FOREIGN_METRICS}
"""By name: metrics of Triton, Prometheus and the client library."""
WINDOW = "$__rate_interval"
"""Grafana's own: at least four scrapes, and no step of the picture is left out."""
OF_TARGETS = ("job", "instance", "process", "stage")
"""Labels that Prometheus gives every series of a target: ours have the name of the process and its stage, too."""


def select(metric: Metric, /, suffix: str = "", **where: str) -> str:
    """Return a selector; a value that begins with `$` is a variable and matches all that is chosen in it.

    Raises ValueError for a label that the metric does not have.

    >>> from schemas.metrics import LATE_EVENTS
    >>> select(LATE_EVENTS, venue="$venue", reason="late")
    'foreshock_late_events_total{venue=~"$venue",reason="late"}'
    """
    _require_labels(metric, *where)
    matchers = ",".join(f'{label}{"=~" if _is_pattern(value) else "="}"{value}"' for label, value in where.items())
    return f"{metric.name}{suffix}" + (f"{{{matchers}}}" if matchers else "")


def rate(metric: Metric, /, *by: str, **where: str) -> str:
    """Return how much of a counter comes each second, added up by labels.

    >>> from schemas.metrics import ROWS
    >>> rate(ROWS)
    'sum(rate(foreshock_rows_total[$__rate_interval]))'
    """
    return _over_window("rate", metric, *by, **where)


def increase(metric: Metric, /, *by: str, **where: str) -> str:
    """Return by how much a counter grew in each step, added up by labels."""
    return _over_window("increase", metric, *by, **where)


def count(metric: Metric, /, *by: str, **where: str) -> str:
    """Return a counter since its processes started: of what is rare, a first time that no growth would show."""
    return gathered("sum", select(metric, **where), metric, *by)


def _over_window(function: str, metric: Metric, /, *by: str, **where: str) -> str:
    if metric.kind != "counter":
        raise ValueError(f"{metric.name}: expected a counter, got a {metric.kind}")
    return gathered("sum", f"{function}({select(metric, **where)}[{WINDOW}])", metric, *by)


def gauge(how: str, metric: Metric, /, *by: str, **where: str) -> str:
    """Return a gauge over processes: `how` is sum, max, min or avg.

    >>> from schemas.metrics import OFFSET_LAG
    >>> gauge("sum", OFFSET_LAG, "topic")
    'sum by (topic) (foreshock_offset_lag)'
    """
    if metric.kind != "gauge":
        raise ValueError(f"{metric.name}: expected a gauge, got a {metric.kind}")
    return gathered(how, select(metric, **where), metric, *by)


def quantile(share: float, metric: Metric, /, *by: str, **where: str) -> str:
    """Return a quantile of a histogram in the last steps, e.g. 0.99.

    >>> from schemas.metrics import FORECAST_DELAY
    >>> quantile(0.5, FORECAST_DELAY)
    'histogram_quantile(0.5, sum by (le) (rate(foreshock_forecast_delay_seconds_bucket[$__rate_interval])))'
    """
    buckets = f"rate({select(metric, '_bucket', **where)}[{WINDOW}])"
    _require_histogram(metric)
    _require_labels(metric, *by)
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) ({buckets}))"


def mean(metric: Metric, /, *by: str, **where: str) -> str:
    """Return the mean of a histogram in the last steps."""
    _require_histogram(metric)
    added, counted = (
        gathered("sum", f"rate({select(metric, suffix, **where)}[{WINDOW}])", metric, *by)
        for suffix in ("_sum", "_count")
    )
    return f"{added} / {counted}"


def gathered(how: str, expression: str, metric: Metric, /, *by: str) -> str:
    """Return an expression over `metric` brought together by some of its labels."""
    _require_labels(metric, *by)
    return f"{how} by ({', '.join(by)}) ({expression})" if by else f"{how}({expression})"


@cache
def recorded_series() -> dict[str, str]:
    """Return the expressions that Prometheus records, by the name of their series."""
    groups: Any = recording_groups(thresholds())
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}


def recorded(name: str) -> str:
    """Return a recorded series; raises ValueError where nothing records it."""
    if name not in recorded_series():
        raise ValueError(f"{name} is not recorded; recorded are: {', '.join(recorded_series())}")
    return name


def or_zero(expression: str, label: str = "") -> str:
    """Return 0, as `label`="none", where there is nothing: for what is counted from its first time on.

    >>> or_zero("sum(x)")
    'sum(x) or vector(0)'
    """
    if not label:
        return f"{expression} or vector(0)"
    return f'{expression} or on() label_replace(vector(0), "{label}", "none", "", "")'


def _is_pattern(value: str) -> bool:
    return value.startswith("$") or "|" in value


def _require_labels(metric: Metric, *labels: str) -> None:
    strange = [label for label in labels if label not in (*metric.labels, *OF_TARGETS)]
    if strange:
        raise ValueError(f"{metric.name} has no label {strange[0]!r}; it has: {', '.join(metric.labels) or 'none'}")


def _require_histogram(metric: Metric) -> None:
    if metric.kind != "histogram":
        raise ValueError(f"{metric.name}: expected a histogram, got a {metric.kind}")
