"""Panels of the SLOs: what share was as promised, and what is left of the error budget."""

from deploy.dashboards.limits import Limit, limit, thresholds
from deploy.dashboards.panels import Number, Query
from deploy.dashboards.promql import recorded
from deploy.monitoring.recording import SLOS, Slo, slo_record

_WINDOW = "window_slow_long"
_SPOKEN = {
    "present": ("Present and on time", "Forecasts due that were on their topic in time and say a number"),
    "model": ("By a model", "Forecasts with a number that the networks took part in; the rest are log-HAR alone"),
    "coverage": ("Inside the 90 % band", "Outcomes inside the band, of the worst horizon"),
}
_ALERTS = {"present": ("SlotMissBudgetBurn",), "model": ("ModelShareBudgetBurn",), "coverage": ("CoverageBudgetBurn",)}


def promises() -> tuple[Number, ...]:
    """Return two numbers for each SLO: the share as promised, and the budget left in the time that is shown."""
    return tuple(number for slo in SLOS for number in (_kept(slo), _budget(slo)))


def _kept(slo: Slo) -> Number:
    title, meaning = _SPOKEN[slo.name]
    window = thresholds().duration(_WINDOW)
    promised = limit(slo.objective, below=True)
    return Number(
        title=title,
        description=f"{meaning}, over {window}. Promised are {promised.value:.1%}.",
        unit="percentunit",
        decimals=2,
        limits=(promised,),
        alerts=_ALERTS[slo.name],
        queries=(Query(f"1 - max({recorded(slo_record(slo.name, window))})", "as promised"),),
    )


def _budget(slo: Slo) -> Number:
    title, _ = _SPOKEN[slo.name]
    errors, objective = slo.errors.format(w="$__range"), thresholds()[slo.objective]
    return Number(
        title="Budget left",
        description=f"{title}: of the errors that the promise allows in the time shown, the share not used up. Below 0 "
        "the promise is broken.",
        unit="percentunit",
        decimals=0,
        trend=False,
        limits=(Limit(0.0, below=True),),
        alerts=_ALERTS[slo.name],
        queries=(Query(f"1 - max({errors}) / (1 - {objective})", "left"),),
    )
