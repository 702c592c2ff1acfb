"""Panels as data, and how they become Grafana's."""

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.dashboard import Panel as Built

from deploy.dashboards.limits import Limit, steps
from deploy.dashboards.runbooks import runbook_url

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True)
class Query:
    """An expression, and what its series are called: text with `{{label}}`."""

    expression: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What every panel has. `width` of 24, `height` in units of about 36 pixels; `alerts` that watch the same thing."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 7
    limits: tuple[Limit, ...] = ()
    alerts: tuple[str, ...] = ()
    words: tuple[tuple[int, str, str], ...] = ()
    """Values that are said in words: value, text, colour."""


@dataclass(frozen=True, kw_only=True)
class Chart(Panel):
    """Lines over time; `stacked` where their sum means something."""

    stacked: bool = False
    minimum: float | None = 0.0
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Number(Panel):
    """The last value, large; `trend` draws how it came there."""

    width: int = 4
    height: int = 4
    decimals: int | None = None
    trend: bool = True


@dataclass(frozen=True, kw_only=True)
class States(Panel):
    """One lane for each series, coloured by what its value says in words."""


def build(panel: Panel) -> Builder[Built]:
    """Return the panel as Grafana's."""
    made = _visual(panel)
    made.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    made.span(panel.width).height(panel.height).targets(list(_targets(panel)))
    made.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps(panel.limits)))
    if panel.words:
        made.mappings([_mapping(panel.words)])
    made.links([_runbook(alert) for alert in panel.alerts])
    return made


def _visual(panel: Panel) -> stat.Panel | timeseries.Panel | statetimeline.Panel:
    if isinstance(panel, Chart):
        return _chart(panel)
    if isinstance(panel, Number):
        return _number(panel)
    if isinstance(panel, States):
        return _states()
    raise TypeError(f"{panel.title}: expected a Chart, Number or States")


def _chart(panel: Chart) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(10).show_points(VisibilityMode.NEVER).legend(_legend())
    made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if panel.minimum is not None:
        made.axis_soft_min(panel.minimum)
    if panel.maximum is not None:
        made.axis_soft_max(panel.maximum)
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    if panel.limits:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    return made


def _number(panel: Number) -> stat.Panel:
    made = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    made.color_mode(BigValueColorMode.VALUE if panel.limits or panel.words else BigValueColorMode.NONE)
    made.graph_mode(BigValueGraphMode.AREA if panel.trend else BigValueGraphMode.NONE)
    if panel.decimals is not None:
        made.decimals(panel.decimals)
    return made


def _states() -> statetimeline.Panel:
    made = statetimeline.Panel().merge_values(True).show_value(VisibilityMode.NEVER).legend(_legend())
    return made.fill_opacity(70).line_width(0)


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    return legend.placement(LegendPlacement.BOTTOM).show_legend(True)


def _targets(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(letter)
        yield target.range().datasource(SOURCE)


def _mapping(words: tuple[tuple[int, str, str], ...]) -> ValueMapping:
    return ValueMap(options={str(value): ValueMappingResult(text=text, color=color) for value, text, color in words})


def _runbook(alert: str) -> DashboardLink:
    return DashboardLink(f"Runbook: {alert}").type(DashboardLinkType.LINK).url(runbook_url(alert))
