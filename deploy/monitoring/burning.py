"""Alerts of the SLOs: an error budget that burns too fast, over a long window and a short one at once."""

from collections.abc import Iterator

from deploy.monitoring.alerts import Alert, Dashboard
from deploy.monitoring.recording import SLOS, slo_record
from deploy.monitoring.thresholds import Thresholds

_NAMES: dict[str, tuple[str, str, Dashboard]] = {
    "present": ("SlotMissBudgetBurn", "forecasts are missing, late or say nothing", "overview"),
    "model": ("ModelShareBudgetBurn", "forecasts are log-HAR's alone", "inference"),
    "coverage": ("CoverageBudgetBurn", "outcomes lie outside the 90 % band", "forecasts"),
}


def burn_alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Yield two alerts of one name for each SLO: a fast burn is critical, a slow one a warning."""
    for slo in SLOS:
        name, what, dashboard = _NAMES[slo.name]
        for pace, severity in (("fast", "critical"), ("slow", "warning")):
            factor = f"burn_coverage_{pace}" if slo.name == "coverage" else f"burn_{pace}"
            limit = f"<{factor}> * (1 - <{slo.objective}>)"
            long, short = (thresholds.duration(f"window_{pace}_{end}") for end in ("long", "short"))
            yield Alert(
                name,
                "critical" if severity == "critical" else "warning",
                f"{slo_record(slo.name, long)} > {limit} and {slo_record(slo.name, short)} > {limit}",
                "scrape_gap",
                f"Too many {what}",
                f"{{{{ $value | humanizePercentage }}}} over {long}: {what}. At this pace the budget of a month is "
                "used up within days.",
                dashboard,
                f"{slo.name}",
            )
