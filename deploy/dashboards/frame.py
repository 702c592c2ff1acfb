"""What all dashboards share: variables, annotations, links to each other, time range and refresh."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.models.dashboard import Dashboard as Built
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.dashboards.panels import SOURCE, Panel, build
from schemas.foreign_metrics import PROCESS_METRICS
from schemas.metric import Metric
from schemas.metrics import (
    FORECASTS_PUBLISHED,
    INSTRUMENT_VOLATILITY,
    SERVING_MODEL,
    SOURCE_LAST_EVENT,
)

TAG = "foreshock"
_VARIABLES: dict[str, tuple[str, Metric]] = {
    "venue": ("Venue", SOURCE_LAST_EVENT),
    "instrument": ("Instrument", INSTRUMENT_VOLATILITY),
    "horizon": ("Horizon", FORECASTS_PUBLISHED),
}
"""By name, which is a label: what it is called, and the metric whose values there are to choose from."""


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A dashboard as data: panels in rows with a title; `variables` are names of labels that its queries ask for."""

    uid: str
    title: str
    description: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: tuple[str, ...] = ()
    since: str = "now-1h"


def assemble(board: Dashboard) -> Built:
    """Return the dashboard as Grafana's."""
    made = grafana.Dashboard(board.title).uid(board.uid).description(board.description).tags([TAG])
    made.refresh("10s").time(board.since, "now").timezone("utc").tooltip(DashboardCursorSync.CROSSHAIR).readonly()
    made.link(others())
    made.variables([_data_source(), *(_variable(name) for name in board.variables)])
    made.annotations([_switches(), _restarts()])
    for title, panels in board.rows:
        if title:
            made.with_row(grafana.Row(title))
        for panel in panels:
            made.with_panel(build(panel))
    return numbered(made.build())


def numbered(built: Built) -> Built:
    """Return the dashboard with numbers of panels, which links to one of them need."""
    for number, placed in enumerate(built.panels or [], start=1):
        placed.id_val = number
    return built


def others() -> grafana.DashboardLink:
    """Return the links to all dashboards, which keep what is chosen and the time range."""
    link = grafana.DashboardLink("Foreshock").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(False).include_vars(True).keep_time(True)


def _data_source() -> grafana.DatasourceVariable:
    variable = grafana.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return variable.description("The Prometheus that scrapes Foreshock.")


def _variable(name: str) -> grafana.QueryVariable:
    label, metric = _VARIABLES[name]
    if name not in metric.labels:
        raise ValueError(f"{metric.name} has no label {name!r} to choose from")
    variable = grafana.QueryVariable(name).label(label).datasource(SOURCE)
    variable.query(f"label_values({metric.name}, {name})").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.multi(True).include_all(True).all_value(".+").sort(VariableSort.ALPHABETICAL_ASC)
    return variable.current(VariableOption(text="All", value="$__all", selected=True))


def _switches() -> grafana.AnnotationQuery:
    """Mark a version of a model that forecasts now and did not in the last minutes: once, at whatever step."""
    serving = f"max by (model, version) ({SERVING_MODEL.name})"
    before = f"max by (model, version) (max_over_time({SERVING_MODEL.name}[10m] offset 1m))"
    expression = f"{serving} unless {before} or 0 * {serving}"
    return _annotation("Model switches", expression, "blue")


def _restarts() -> grafana.AnnotationQuery:
    """Mark processes that started again at the same address."""
    started = PROCESS_METRICS[0].name
    return _annotation("Restarts", f"sum by (job, instance) (changes({started}[1m]))", "orange")


def _annotation(name: str, expression: str, color: str) -> grafana.AnnotationQuery:
    """Grafana marks where an expression is 1 or more."""
    return grafana.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expression)
