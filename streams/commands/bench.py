"""`foreshock bench`: how fast, how late, how large, on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from streams.commands.checks import require_writable
from streams.commands.screen import console
from streams.following import Followed
from streams.settings import Settings

app = typer.Typer(help="Benchmarks on a private broker; they measure and assert nothing.", no_args_is_help=True)

_WHAT = {
    "featurize": "canonical events, and raw trades, to feature rows: events a second",
    "ingest": "raw trades to canonical events: events a second",
    "latency": "from the lateness bound to the row on its topic, live: ms",
    "simulation": "1,000 simulated histories of all stages, as the tests play them: s",
    "view": "from a record to the live page, with many instruments: ms; what its server takes",
    "memory": "an instrument's share of an engine, and the processes' growth under live traffic: MB",
}
_QUICK_SECONDS = 20

Quick = Annotated[bool, typer.Option("--quick", help="A small run that only shows that it works.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the outcome into this file too.")]
Workers = Annotated[int, typer.Option(help="Processes of each stage.", min=1)]
Seconds = Annotated[int, typer.Option(help="Seconds of event time, with 2,000 events in each.", min=20)]
Quotes = Annotated[bool, typer.Option("--quotes/--trades", help="Every second event a quote, or trades alone.")]


@app.command(name="list")
def list_benches() -> None:
    """Print which benchmarks there are."""
    table = Table("bench", "what it measures")
    for name, what in _WHAT.items():
        table.add_row(name, what)
    console().print(table)


@app.command()
def featurize(
    seconds: Seconds = 750, workers: Workers = 1, quotes: Quotes = True, quick: Quick = False, json: JsonFile = None
) -> None:
    """Measure events to rows: from memory, through Kafka, and from raw frames."""
    from streams.bench import featurize as bench
    from streams.bench.traffic import Traffic

    traffic = Traffic(seconds=_QUICK_SECONDS if quick else seconds, quotes=quotes)
    with _told(json) as say:
        outcome = bench.run(Settings.from_environment(), traffic, say, workers)
    _show(outcome, json)


@app.command()
def ingest(
    seconds: Seconds = 500, workers: Workers = 1, quotes: Quotes = False, quick: Quick = False, json: JsonFile = None
) -> None:
    """Measure raw frames to canonical events: from memory, and through Kafka."""
    from streams.bench import ingest as bench
    from streams.bench.traffic import Traffic

    traffic = Traffic(seconds=_QUICK_SECONDS if quick else seconds, quotes=quotes)
    with _told(json) as say:
        outcome = bench.run(Settings.from_environment(), traffic, say, workers)
    _show(outcome, json)


@app.command()
def latency(seconds: Seconds = 60, quick: Quick = False, json: JsonFile = None) -> None:
    """Measure how long after the lateness bound rows come, under traffic by the clock."""
    from streams.bench import latency as bench
    from streams.bench.traffic import Traffic

    traffic = Traffic(seconds=8 if quick else seconds)
    with _told(json) as say:
        outcome = bench.run(Settings.from_environment(), traffic, say)
    _show(outcome, json)


@app.command()
def memory(
    minutes: Annotated[float, typer.Option(help="Minutes of live traffic.", min=0.1)] = 30.0,
    hours: Annotated[float, typer.Option(help="Hours of event time that fill the engine's windows.", min=0.1)] = 24.0,
    quick: Quick = False,
    json: JsonFile = None,
) -> None:
    """Measure what an instrument takes, and whether the processes grow."""
    from streams.bench import memory as bench
    from streams.bench.traffic import Traffic

    traffic = Traffic(seconds=8 if quick else int(minutes * 60))
    window_seconds = 300 if quick else int(hours * 3_600)
    with _told(json) as say:
        outcome = bench.run(Settings.from_environment(), traffic, say, window_seconds)
    _show(outcome, json)


@app.command()
def view(
    instruments: Annotated[int, typer.Option(help="Instruments, each with a forecast a second.", min=1)] = 100,
    minutes: Annotated[float, typer.Option(help="Minutes of watching.", min=0.1)] = 5.0,
    quick: Quick = False,
    json: JsonFile = None,
) -> None:
    """Measure how soon the live page shows a record, and its server's CPU share and memory; a page needs playwright."""
    from streams.bench import view as bench

    with _told(json) as say:
        outcome = bench.run(Settings.from_environment(), instruments, 10 if quick else int(minutes * 60), say)
    _show(outcome, json)


@app.command()
def simulation(
    seeds: Annotated[int, typer.Option(help="Histories to play.", min=1)] = 1_000,
    processes: Annotated[int, typer.Option(help="Processes that share them.", min=1)] = 2,
    quick: Quick = False,
    json: JsonFile = None,
) -> None:
    """Measure how long simulated histories take; needs no broker."""
    from streams.bench import simulation as bench

    with _told(json) as say:
        outcome = bench.run(_QUICK_SECONDS if quick else seeds, processes, say)
    _show(outcome, json)


@contextmanager
def _told(json: Path | None) -> Iterator[Callable[[str], None]]:
    """Show what is being done while the block runs, once its file can be written."""
    require_writable(json=json)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Followed(*columns) as screen:
        task = screen.add_task("starting")
        yield lambda what: screen.update(task, description=what)


def _show(outcome: object, path: Path | None) -> None:
    from streams.bench.report import Outcome, screen, to_json

    assert isinstance(outcome, Outcome)  # noqa: S101 - its type is imported late
    console().print(screen(outcome))
    if path is not None:
        path.write_bytes(to_json(outcome))
        typer.echo(f"outcome in {path}")
