"""Overview, on one screen: whether users get what was promised, and where to look if not."""

from deploy.dashboards.frame import Dashboard
from deploy.dashboards.inference import BREAKER_WORDS
from deploy.dashboards.limits import Limit, limit
from deploy.dashboards.panels import Chart, Number, Query, States
from deploy.dashboards.promises import promises
from deploy.dashboards.promql import FOREIGN, gauge, or_zero, quantile, rate, select
from schemas.metrics import (
    BREAKER_STATE,
    END_TO_END,
    FORECAST_AGE,
    FORECASTS_PUBLISHED,
    LIVE,
    OFFSET_LAG_SECONDS,
)

_ALERTS, _UP = FOREIGN["ALERTS"], FOREIGN["up"]
_FIRING = {"alertstate": "firing"}

_DOWN = f"{select(_UP, job='foreshock')} == 0"

_STANDING = (
    Number(
        title="Alerts firing",
        description="The lane beside it says which. 0 is as it should be.",
        unit="none",
        decimals=0,
        limits=(Limit(1.0),),
        queries=(Query(or_zero(f"count({select(_ALERTS, **_FIRING)})"), "firing"),),
    ),
    States(
        title="Which alerts fire",
        description="One lane for each alert that fired in this time. Runbooks: see the links above.",
        unit="none",
        width=8,
        height=4,
        words=((0, "nothing fires", "green"), (1, "fires", "red")),
        queries=(
            Query(
                or_zero(f"max by (alertname) ({select(_ALERTS, **_FIRING)})", "alertname"),
                "{{alertname}}",
            ),
        ),
    ),
    Number(
        title="Processes that do not answer",
        description="Of Foreshock's processes, those that Prometheus asks and gets no answer from.",
        unit="none",
        decimals=0,
        limits=(Limit(1.0),),
        alerts=("ProcessDown", "ProcessRestarting"),
        queries=(Query(or_zero(f"count({_DOWN})"), "down"),),
    ),
    Number(
        title="Breaker",
        description="Open: Triton is not asked, forecasts are fallbacks.",
        unit="none",
        alerts=("BreakerOpen",),
        words=BREAKER_WORDS,
        trend=False,
        queries=(Query(gauge("max", BREAKER_STATE), "breaker"),),
    ),
    Number(
        title="Time",
        description="live: heartbeats come by the clock of now. replay: ages below are those of the recording.",
        unit="none",
        words=((0, "replay", "blue"), (1, "live", "green")),
        trend=False,
        queries=(Query(gauge("max", LIVE), "time"),),
    ),
)

_FORECASTS = (
    Chart(
        title="Forecasts by status",
        description="model; fallback: log-HAR, since no model answered; unavailable: it says that nothing is known.",
        unit="ops",
        stacked=True,
        width=12,
        alerts=("StreamStalled",),
        queries=(Query(rate(FORECASTS_PUBLISHED, "status", horizon="$horizon"), "{{status}}"),),
    ),
    Chart(
        title="Age of forecasts",
        description="Now minus the origin of the last forecast, by partition: fresh and stuck partitions lie apart. In "
        "a replay the age of the recording.",
        unit="s",
        width=12,
        limits=(limit("feature_age"),),
        alerts=("FeatureStale",),
        queries=(Query(gauge("max", FORECAST_AGE, "partition"), "partition {{partition}}"),),
    ),
    Chart(
        title="The whole way, from the exchange to the forecast",
        description="From a row's border in exchanges' event time to its forecasts acknowledged by Kafka. Says "
        "something live only; 2.5 s of it is the wait for late events.",
        unit="s",
        width=12,
        queries=tuple(Query(quantile(q, END_TO_END), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
    ),
    Chart(
        title="Lag in seconds",
        description="For how long the oldest message not read yet is known to lie on its topic; the worst partition.",
        unit="s",
        width=12,
        limits=(limit("lag_seconds"),),
        alerts=("LagHigh",),
        queries=(Query(gauge("max", OFFSET_LAG_SECONDS, "topic"), "{{topic}}"),),
    ),
)

BOARD = Dashboard(
    uid="foreshock-overview",
    title="Foreshock / Overview",
    description="Whether forecasts come, on time, by a model, with honest bands.",
    variables=("horizon",),
    rows=(("", promises()), ("", _STANDING), ("", _FORECASTS)),
)
