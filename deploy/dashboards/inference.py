"""Inference: Foreshock's requests, and what Triton says of them."""

from deploy.dashboards.frame import Dashboard
from deploy.dashboards.limits import limit
from deploy.dashboards.panels import Chart, Number, Query, States
from deploy.dashboards.promql import FOREIGN, gauge, increase, mean, or_zero, quantile, rate, recorded
from schemas.metrics import (
    BREAKER_STATE,
    CANARIES,
    CANARY_ANSWERED,
    FORECAST_DELAY,
    FORECASTS_PUBLISHED,
    FORECASTS_WAITING,
    INFERENCE_BATCH_SIZE,
    INFERENCE_DURATION,
    INFERENCE_INFLIGHT,
    INFERENCE_REQUESTS,
    SERVING_MODEL,
)

BREAKER_WORDS = ((0, "closed", "green"), (1, "half open", "yellow"), (2, "open", "red"))
_OURS = (
    States(
        title="Breaker",
        description="Open: Triton is not asked, forecasts are fallbacks. A canary closes it again.",
        unit="none",
        alerts=("BreakerOpen",),
        width=12,
        height=5,
        words=BREAKER_WORDS,
        queries=(Query(gauge("max", BREAKER_STATE, "instance"), "{{instance}}"),),
    ),
    States(
        title="Last canary of each model",
        description="Whether the model gave the answer that is known to be right when it was last asked.",
        unit="none",
        alerts=("TritonCanaryFailing",),
        width=12,
        height=5,
        words=((0, "not as it should", "red"), (1, "answered", "green")),
        queries=(Query(gauge("min", CANARY_ANSWERED, "model"), "{{model}}"),),
    ),
    Chart(
        title="Requests by outcome",
        description="Requests of Foreshock to Triton, by model.",
        unit="reqps",
        queries=(Query(rate(INFERENCE_REQUESTS, "model", "outcome"), "{{model}} {{outcome}}"),),
    ),
    Chart(
        title="Time of a request, p99",
        description="As Foreshock sees it: the way there, waiting in Triton's queue and the model.",
        unit="s",
        queries=(Query(quantile(0.99, INFERENCE_DURATION, "model"), "{{model}}"),),
    ),
    Chart(
        title="Time of a request, mean",
        description="As Foreshock sees it. Far below the p99: few are slow.",
        unit="s",
        queries=(Query(mean(INFERENCE_DURATION, "model"), "{{model}}"),),
    ),
    Chart(
        title="Instruments in a request",
        description="Mean size of batches, before padding.",
        unit="none",
        queries=(Query(mean(INFERENCE_BATCH_SIZE, "model"), "{{model}}"),),
    ),
    Chart(
        title="Waiting",
        description="Requests that Triton has not answered yet, and forecasts of rows read that are not made yet.",
        unit="none",
        queries=(
            Query(gauge("sum", INFERENCE_INFLIGHT), "requests in flight"),
            Query(gauge("sum", FORECASTS_WAITING), "forecasts"),
        ),
    ),
    Chart(
        title="Row to forecast",
        description="From a row message read to its forecasts acknowledged by Kafka.",
        unit="s",
        queries=tuple(Query(quantile(q, FORECAST_DELAY), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
    ),
    Chart(
        title="Share of forecasts by a model",
        description="The rest are fallbacks (log-HAR, said so in the forecast) or unavailable.",
        unit="percentunit",
        limits=(limit("slo_model_objective", below=True),),
        alerts=("ModelShareBudgetBurn",),
        maximum=1.0,
        queries=(
            Query(
                f"{rate(FORECASTS_PUBLISHED, 'horizon', horizon='$horizon', status='model')} / "
                f"{rate(FORECASTS_PUBLISHED, 'horizon', horizon='$horizon')}",
                "{{horizon}}",
            ),
        ),
    ),
    Chart(
        title="Canaries",
        description="Sent while the breaker is open, and to models that nobody asked for a while; in each step.",
        unit="none",
        queries=(Query(or_zero(increase(CANARIES, "model", "outcome"), "model"), "{{model}} {{outcome}}"),),
    ),
    Number(
        title="Versions that forecast",
        description="The version of each model that makes the forecasts now.",
        unit="none",
        width=8,
        height=7,
        trend=False,
        queries=(Query(gauge("max", SERVING_MODEL, "model", "version"), "{{model}} version {{version}}"),),
    ),
)


_TRITON = (
    Chart(
        title="Requests that Triton answered",
        description="By model and version.",
        unit="reqps",
        alerts=("TritonDown",),
        queries=(Query(recorded("model:triton_requests:rate1m"), "{{model}} version {{version}}"),),
    ),
    Chart(
        title="Requests that failed in Triton",
        description="By reason: REJECTED (the queue is full), CANCELED, BACKEND, OTHER.",
        unit="reqps",
        queries=(Query(rate(FOREIGN["nv_inference_request_failure"], "model", "reason"), "{{model}} {{reason}}"),),
    ),
    Chart(
        title="Requests that wait for a model",
        description="Triton's queue. It grows where the model is slower than the requests come.",
        unit="none",
        queries=(Query(gauge("sum", FOREIGN["nv_inference_pending_request_count"], "model"), "{{model}}"),),
    ),
    Chart(
        title="Time in Triton",
        description="Mean time of a request, of it in the queue and in the model, from Triton's own microseconds.",
        unit="s",
        queries=(
            *(
                Query(recorded(f"model:triton_{part}_seconds:mean1m"), f"{{{{model}}}} {part}")
                for part in ("request", "queue", "compute")
            ),
        ),
    ),
    Chart(
        title="Rows in an execution",
        description="Mean batch as Triton made it of waiting requests.",
        unit="none",
        queries=(Query(recorded("model:triton_batch_rows:mean1m"), "{{model}}"),),
    ),
    Chart(
        title="Share of time in the queue",
        description="Time in the queue by time of requests. Near 1: more instances or larger batches are needed.",
        unit="percentunit",
        limits=(limit("queue_ratio"),),
        alerts=("InferenceQueueSaturated",),
        maximum=1.0,
        queries=(Query(recorded("model:triton_queue:ratio1m"), "{{model}}"),),
    ),
)

BOARD = Dashboard(
    uid="foreshock-inference",
    title="Foreshock / Inference",
    description="Requests to Triton as Foreshock sees them, and as Triton does.",
    variables=("horizon",),
    rows=(("Foreshock", _OURS), ("Triton", _TRITON)),
)
