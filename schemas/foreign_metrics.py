"""Metrics of others that rules, alerts and dashboards name: what Triton, the client library and Prometheus tell.

Kinds are as they come: a summary or a type of their own does not occur among them.
"""

from schemas.metric import Metric

_TRITON = ("triton",)
_EVERY = ("every process",)
_PROMETHEUS = ("prometheus",)


def _triton(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=f"nv_inference_{name}", kind="counter", meaning=meaning, by=_TRITON, labels=labels)


_MODEL = ("model", "version")

TRITON_METRICS: tuple[Metric, ...] = (
    _triton("request_success", "Requests answered.", *_MODEL),
    _triton("request_failure", "Requests that failed: REJECTED, CANCELED, BACKEND, OTHER.", *_MODEL, "reason"),
    _triton("count", "Rows inferred.", *_MODEL),
    _triton("exec_count", "Executions; rows by executions is the mean batch.", *_MODEL),
    _triton("request_duration_us", "Time of requests, in microseconds.", *_MODEL),
    _triton("queue_duration_us", "Of it, time in the queue.", *_MODEL),
    _triton("compute_input_duration_us", "Of it, time for inputs.", *_MODEL),
    _triton("compute_infer_duration_us", "Of it, time of the model.", *_MODEL),
    _triton("compute_output_duration_us", "Of it, time for outputs.", *_MODEL),
    Metric(
        name="nv_inference_pending_request_count",
        kind="gauge",
        meaning="Requests that wait for the model.",
        by=_TRITON,
        labels=_MODEL,
    ),
)
"""Of tritonserver; those of devices are left out, since models run on the CPU."""

PROCESS_METRICS: tuple[Metric, ...] = (
    Metric(name="process_start_time_seconds", kind="gauge", meaning="When the process started.", by=_EVERY),
    Metric(name="process_cpu_seconds_total", kind="counter", meaning="Processor time spent.", by=_EVERY),
    Metric(name="process_resident_memory_bytes", kind="gauge", meaning="Memory in use.", by=_EVERY),
    Metric(name="process_virtual_memory_bytes", kind="gauge", meaning="Memory mapped.", by=_EVERY),
    Metric(name="process_open_fds", kind="gauge", meaning="Open files and connections.", by=_EVERY),
    Metric(name="process_max_fds", kind="gauge", meaning="How many there may be.", by=_EVERY),
)
"""Of the client library, in each of our processes."""

SCRAPE_METRICS: tuple[Metric, ...] = (
    Metric(
        name="up",
        kind="gauge",
        meaning="1: the target answered the last scrape; 0: it did not.",
        by=_PROMETHEUS,
        labels=("job", "instance"),
    ),
    Metric(
        name="scrape_duration_seconds",
        kind="gauge",
        meaning="How long the target took to answer.",
        by=_PROMETHEUS,
        labels=("job", "instance"),
    ),
    Metric(
        name="ALERTS",
        kind="gauge",
        meaning="Always 1: an alert that is pending or firing; an alert's own labels come beside these.",
        by=_PROMETHEUS,
        labels=("alertname", "alertstate", "severity"),
    ),
)
"""Of Prometheus itself, about each of its targets and alerts."""

FOREIGN_METRICS = (*TRITON_METRICS, *PROCESS_METRICS, *SCRAPE_METRICS)
