"""The summary of a run: one screen, and the same as JSON."""

from collections.abc import Mapping

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from schemas.forecasts import Forecast
from streams.watch import Watch


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run read, wrote and scored.

    `left_out`: frames that were recognised and not read, by type. `late_events`: by venue and
    reason. `scores`: horizon to expert to mean losses and coverage. `latency_ms`: from a row on its
    topic to its forecast on the topic; in a replay at full speed that is mostly waiting in line.
    """

    frames_in: int
    decoded: int
    left_out: dict[str, int]
    dead_letters: int
    late_events: dict[str, int]
    rows: int
    forecasts: dict[str, int]
    fallback_reasons: dict[str, int]
    networks: dict[str, int]
    attention: int
    scores: dict[str, dict[str, dict[str, float]]]
    latency_ms: dict[str, float]
    events: int
    events_per_second: float
    seconds: float


def make_report(watch: Watch, frames_in: int, frames: Mapping[str, int], events: int, seconds: float) -> Report:
    """Return the report of a run.

    `frames_in` are counted on the raw topics, `frames` by ingest: by what became of them.
    """
    left_out = {name.removeprefix("left-out:"): n for name, n in frames.items() if name.startswith("left-out:")}
    return Report(
        frames_in=frames_in,
        decoded=frames.get("decoded", 0),
        left_out=left_out,
        dead_letters=frames.get("dead-letter", 0),
        late_events={f"{venue} ({reason})": n for (venue, reason), n in sorted(watch.late.items())},
        rows=watch.rows,
        forecasts={status: watch.statuses[status] for status in ("model", "fallback", "unavailable")},
        fallback_reasons=dict(watch.reasons),
        networks=dict(watch.networks),
        attention=watch.attention,
        scores=_means(watch),
        latency_ms={"p50": _quantile(watch.latencies_ms, 0.5), "p99": _quantile(watch.latencies_ms, 0.99)},
        events=events,
        events_per_second=round(events / seconds, 1) if seconds else 0.0,
        seconds=round(seconds, 1),
    )


def _means(watch: Watch) -> dict[str, dict[str, dict[str, float]]]:
    return {
        horizon: {
            expert: {"count": total["count"]}
            | {name: round(value / total["count"], 6) for name, value in total.items() if name != "count"}
            for expert, total in sorted(experts.items())
        }
        for horizon, experts in sorted(watch.losses.items())
    }


def _quantile(values: list[int], level: float) -> float:
    ordered = sorted(values)
    return float(ordered[min(int(level * len(ordered)), len(ordered) - 1)]) if ordered else float("nan")


def summary(report: Report, watch: Watch) -> RenderableType:
    """Return the summary as one screen."""
    return Group(flow_table(report), forecast_table(watch.latest), score_table(report.scores))


def flow_table(report: Report) -> Table:
    """Return the way of the data in counts."""
    table = Table(title="What went through", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    left_out = sum(report.left_out.values())
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(report.left_out.items())) or "none"
    balance = report.decoded + left_out + report.dead_letters
    sign = "=" if balance == report.frames_in else "!="
    table.add_row(
        "raw frames",
        f"{report.frames_in:,} in {sign} {report.decoded:,} decoded + {left_out:,} recognised and left out "
        f"+ {report.dead_letters:,} dead letters",
    )
    table.add_row("left out, by type", kinds)
    table.add_row("late events", ", ".join(f"{venue} {n:,}" for venue, n in report.late_events.items()) or "none")
    table.add_row("events", f"{report.events:,}; {report.events_per_second:,.0f} a second over {report.seconds:,.0f} s")
    table.add_row("feature rows", f"{report.rows:,}")
    statuses = ", ".join(f"{status} {count:,}" for status, count in report.forecasts.items())
    table.add_row("forecasts", f"{statuses}; attention records {report.attention:,}")
    table.add_row("networks behind them", ", ".join(f"{n} {c:,}" for n, c in report.networks.items()) or "none")
    table.add_row(
        "row to forecast",
        f"p50 {report.latency_ms['p50']:,.0f} ms, p99 {report.latency_ms['p99']:,.0f} ms on the topics",
    )
    return table


def forecast_table(latest: Mapping[str, Forecast]) -> Table:
    """Return the latest forecast of each instrument, as annualised volatility."""
    horizons = list(dict.fromkeys(name for f in latest.values() for name in f.horizons))
    title = "Latest forecasts: volatility in % a year, and its 90 % band"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("instrument", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for horizon in horizons:
        table.add_column(horizon, justify="right", no_wrap=True)
    for name, forecast in sorted(latest.items()):
        colour = {"model": "green", "fallback": "yellow"}.get(forecast.status, "red")
        cells = (_band(forecast, horizon) for horizon in horizons)
        table.add_row(name, f"[{colour}]{forecast.status}[/]", *cells)
    return table


def _band(forecast: Forecast, horizon: str) -> str:
    found = forecast.horizons.get(horizon)
    if found is None or not found.mean > 0:
        return "-"
    scale = found.volatility_annualised / found.mean**0.5
    low, high = (scale * found.quantiles[level] ** 0.5 for level in ("0.05", "0.95"))
    return f"{100 * found.volatility_annualised:.0f} [dim]{100 * low:.0f}-{100 * high:.0f}[/]"


def score_table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> RenderableType:
    """Return mean losses per horizon and expert, log-HAR always among them."""
    if not scores:
        return Panel("No horizon has ended yet: nothing is scored.", title="Scores", title_align="left")
    title = "Scores: lower is better; of outcomes, 90 % should lie in the 90 % band"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("horizon", "expert"):
        table.add_column(name, no_wrap=True)
    for name in ("scored", "QLIKE", "pinball to log-HAR's", "in 90 % band"):
        table.add_column(name, justify="right")
    for horizon, experts in scores.items():
        base = experts.get("har", {})
        for expert, mean in experts.items():
            table.add_row(
                horizon,
                expert,
                f"{mean['count']:,.0f}",
                f"{mean['qlike']:.3f}",
                _ratio(mean, base, "pinball"),
                f"{mean.get('coverage_0.9', float('nan')):.1%}",
            )
    return table


def _ratio(mean: Mapping[str, float], base: Mapping[str, float], name: str) -> str:
    return f"{mean[name] / base[name]:.3f}" if base.get(name) else "-"


def to_json(report: Report) -> bytes:
    """Return the report as indented JSON."""
    return bytes(msgspec.json.format(msgspec.json.encode(report), indent=1)) + b"\n"
