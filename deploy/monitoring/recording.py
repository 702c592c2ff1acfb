"""What Prometheus records: Triton's microseconds as seconds, and the error shares of the SLOs."""

from typing import NamedTuple

from deploy.monitoring.thresholds import Thresholds


class Slo(NamedTuple):
    """A promise: `errors` is the share of what was not as promised, `{w}` its window. `by`: labels that stay."""

    name: str
    objective: str
    errors: str
    by: str = ""


SLOS = (
    Slo(
        "present",
        "slo_present_objective",
        "sum(rate(foreshock_forecast_slot_missed_total[{w}])) / sum(rate(foreshock_forecast_slots_total[{w}]))",
    ),
    Slo(
        "model",
        "slo_model_objective",
        'sum(rate(foreshock_forecasts_published_total{{status="fallback"}}[{w}])) / '
        'sum(rate(foreshock_forecasts_published_total{{status=~"model|fallback"}}[{w}]))',
    ),
    Slo(
        "coverage",
        "slo_coverage_objective",
        '1 - sum by (horizon) (rate(foreshock_covered_total{{level="0.9"}}[{w}])) / '
        'sum by (horizon) (rate(foreshock_forecasts_scored_total{{expert="combined"}}[{w}]))',
        "horizon",
    ),
)
WINDOWS = ("window_fast_short", "window_slow_short", "window_fast_long", "window_slow_long")

_BY = "sum by (model, version) (rate({}[1m]))"
_REQUESTS = _BY.format("nv_inference_request_success")
_SECONDS = {
    "request": "nv_inference_request_duration_us",
    "queue": "nv_inference_queue_duration_us",
    "compute": "nv_inference_compute_infer_duration_us",
}


def recording_groups(thresholds: Thresholds) -> list[dict[str, object]]:
    """Return the groups of recording rules."""
    triton = {
        f"model:triton_{name}_seconds:mean1m": f"{_BY.format(metric)} / {_REQUESTS} / 1e6"
        for name, metric in _SECONDS.items()
    } | {
        "model:triton_requests:rate1m": _REQUESTS,
        "model:triton_failures:rate1m": _BY.format("nv_inference_request_failure"),
        "model:triton_batch_rows:mean1m": " / ".join(
            map(_BY.format, ("nv_inference_count", "nv_inference_exec_count"))
        ),
        "model:triton_queue:ratio1m": f"{_BY.format(_SECONDS['queue'])} / {_BY.format(_SECONDS['request'])}",
    }
    slos = {
        slo_record(slo.name, thresholds.duration(window)): slo.errors.format(w=thresholds.duration(window))
        for slo in SLOS
        for window in WINDOWS
    }
    return [_group("foreshock-triton", triton), _group("foreshock-slo", slos)]


def slo_record(name: str, window: str) -> str:
    """Return the name of the recorded error share of an SLO over a window such as 5m."""
    return f"slo:{name}_errors:ratio{window}"


def _group(name: str, rules: dict[str, str]) -> dict[str, object]:
    return {"name": name, "rules": [{"record": record, "expr": expr} for record, expr in rules.items()]}
