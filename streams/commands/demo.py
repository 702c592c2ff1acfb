"""`foreshock demo`: the whole job with a live screen, and one screen at its end."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.commands.checks import require_writable
from streams.demo import Demo, Situation, Source, rate
from streams.report import forecast_table, summary, to_json
from streams.settings import Settings
from streams.watch import Watch

_LINE_SECONDS = 5.0
_FILE_WIDTH = 110


def demo(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Captures to play; none: the built-in market.", metavar="[PATH...]")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the summary as JSON into this file.")] = None,
    speed: Annotated[str, typer.Option(help="max, 1: as fast as it happened, N: N times.")] = "max",
    seconds: Annotated[int, typer.Option(help="Length of the built-in market, in its own seconds.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the built-in market.")] = 7,
) -> None:
    """Run the whole job on a private Kafka and Triton and show what comes out."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    require_writable(report=report)
    settings = _with_profile(Settings.from_environment(), paths or [])
    source = Source(paths=tuple(paths or ()), market_seconds=seconds, seed=seed, speed=speed)
    console.print("starting Kafka, Triton and the stages", style="dim")
    with _Screen(console) as screen:
        done, watch = Demo(settings, source).run(screen.draw)
    console.print(summary(done, watch))
    if report is not None:
        report.write_bytes(to_json(done))
        console.print(f"report in {report}")


def _with_profile(settings: Settings, paths: list[Path]) -> Settings:
    """Return the settings with the profile that the captures need: 5-minute rows where all are bars."""
    from streams.sources.captures import find_captures

    if not paths:
        return settings
    files = find_captures(paths).files
    only_bars = all(capture.kind == "bars" for capture in files)
    return dataclasses.replace(settings, profile="bars" if only_bars else settings.profile)


class _Screen:
    """A live table on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self, situation: Situation, watch: Watch) -> None:
        """Show where the run is."""
        if self._live is not None:
            self._live.update(_screen(situation, watch))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            self._console.print(_line(situation, watch), highlight=False)


def _line(situation: Situation, watch: Watch) -> str:
    return (
        f"{situation.phase} {situation.seconds:.0f} s: {situation.frames:,} of {situation.raw_records:,} raw records, "
        f"{rate(situation.events, situation.seconds):,.0f} events/s, lag {situation.lag:,}, {watch.rows:,} rows, "
        f"{sum(watch.statuses.values()):,} forecasts, {sum(watch.scored.values()):,} scores"
    )


def _screen(situation: Situation, watch: Watch) -> RenderableType:
    parts: list[RenderableType] = [Text(_line(situation, watch), style="bold")]
    parts += [Text(trouble, style="yellow") for trouble in situation.troubles[-3:]]
    if watch.latest:
        parts.append(forecast_table(watch.latest))
    if watch.calibration:
        parts.append(_calibration(watch))
    return Group(*parts)


def _calibration(watch: Watch) -> Table:
    horizons = sorted({horizon for _, horizon in watch.calibration})
    table = Table("instrument", *horizons, title="In the 90 % band so far (scored forecasts)", title_justify="left")
    for instrument in sorted({name for name, _ in watch.calibration}):
        states = [watch.calibration.get((instrument, horizon)) for horizon in horizons]
        table.add_row(instrument, *(f"{s.coverage_ratio:.0%} ({s.count})" if s else "-" for s in states))
    return table
