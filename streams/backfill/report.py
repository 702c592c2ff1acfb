"""What a backfill with late events says: tables for people, JSON, and a plot of lateness."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from rich.table import Column, Table
from rich.text import Text

from schemas.rules import SECOND_NS
from streams.backfill.late import EDGES_NS, LateReport

_SHOWN = 15


def tables(report: LateReport) -> Iterator[Table | Text]:
    """Yield the report as tables: settings, late events, features by how much they would change."""
    if report.candidates:
        yield _settings_table(report)
    if report.late:
        table = Table("venue", "record", "reason", "events", title="Late events")
        for name, count in report.late.items():
            table.add_row(*name.split(" "), f"{count:,}")
        yield table
    yield _feature_table(report) if report.changes.rows_changed else Text(_summary(report))


def _settings_table(report: LateReport) -> Table:
    some = {name: each for name, each in report.lateness.items() if any(each.late)}
    table = Table("allowed lateness", "late events", "share", *some, title="Events that would be late")
    for seconds, (count, share) in report.candidates.items():
        place = int(np.searchsorted(EDGES_NS, round(float(seconds) * SECOND_NS)))
        shares = (each.late[place] / each.events for each in some.values())
        mark = " *" if float(seconds) == report.allowed_lateness_seconds else ""
        table.add_row(f"{seconds} s{mark}", f"{count:,}", f"{share:.3%}", *(f"{each:.3%}" for each in shares))
    return table


def _summary(report: LateReport) -> str:
    changes = report.changes
    return (
        f"With the events that came later than {report.allowed_lateness_seconds:g} s, {changes.rows_changed:,} of "
        f"{changes.rows:,} rows would be others, and {changes.rows_appeared:,} more would be there"
    )


def _feature_table(report: LateReport) -> Table:
    changes, title = report.changes, _summary(report)
    table = Table(Column("feature", no_wrap=True), *("rows", "share", "mean", "max", "mean %", "max %"), title=title)
    ordered = sorted(changes.features.items(), key=lambda pair: (-pair[1].changed, pair[0]))
    for name, effect in [pair for pair in ordered if pair[1].changed][:_SHOWN]:
        absolute = (f"{effect.mean_absolute:.3g}", f"{effect.max_absolute:.3g}")
        relative = (f"{100 * effect.mean_relative:.3g}", f"{100 * effect.max_relative:.3g}")
        table.add_row(name, f"{effect.changed:,}", f"{effect.changed / changes.rows:.2%}", *absolute, *relative)
    return table


def write_report(report: LateReport, path: Path) -> None:
    """Write the report as JSON; curves are by `edges_ns`."""
    content = {**msgspec.structs.asdict(report), "edges_ns": EDGES_NS.tolist()}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


def plot_lateness(report: LateReport, path: Path) -> None:
    """Draw the share of late events against the setting, by venue and record type, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    seconds = EDGES_NS / SECOND_NS
    some = any(any(each.late) for each in report.lateness.values())
    for name, each in report.lateness.items():
        share = np.array(each.late) / each.events
        count = f"{each.events:,} events" if any(each.late) else f"{each.events:,} events, none late"
        axes.step(seconds, np.where(share > 0, share, np.nan), where="post", label=f"{name} ({count})")
    setting = report.allowed_lateness_seconds
    # A logarithmic axis has no place for 0: left of it all.
    axes.axvline(max(setting, seconds[0]), color="black", linestyle="--", linewidth=1, label=f"setting: {setting:g} s")
    if not some:
        axes.text(0.5, 0.5, "none late at any setting", transform=axes.transAxes, ha="center")
    axes.set(
        xscale="log",
        yscale="log" if some else "linear",
        xlabel="allowed lateness, seconds",
        ylabel="share of events that are late",
    )
    axes.set_title("Late events by allowed lateness; a line ends where none is late")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
