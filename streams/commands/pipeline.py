"""The stages, one process each, and what runs them all on one machine."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.errors import ForeshockError
from streams.settings import Settings


def ingest() -> None:
    """Raw topics to canonical events, in one process."""
    from streams.ingest import run_ingest

    run_ingest(Settings.from_environment())


def featurize() -> None:
    """Canonical events to feature rows, in one process."""
    from featurestore.catalogue import Catalogue
    from streams.faust_app import run_stage
    from streams.featurize import FeaturizeStage

    settings = Settings.from_environment()
    run_stage(settings, FeaturizeStage(Catalogue.discover(settings.rules)))


def infer() -> None:
    """Feature rows to forecasts, in one process."""
    from streams.faust_app import run_stage
    from streams.infer import InferStage

    run_stage(Settings.from_environment(), InferStage())


def score() -> None:
    """Forecasts against what then happened, in one process."""
    from streams.faust_app import run_stage
    from streams.score import ScoreStage

    run_stage(Settings.from_environment(), ScoreStage())


def run() -> None:
    """Run all stages on this machine until interrupted; one that ends is started again."""
    from streams.pipeline import prepare
    from streams.run import run_pipeline

    settings = Settings.from_environment()
    prepare(settings)
    run_pipeline(settings)


def replay(
    paths: Annotated[list[Path], typer.Argument(help="Capture files or folders of them.", metavar="PATH...")],
    speed: Annotated[str, typer.Option(help="1: as fast as it was recorded, N: N times, max.")] = "1",
) -> None:
    """Put captures on the raw topics, several instruments merged by receive time."""
    from streams.pipeline import raw_producer
    from streams.sources.captures import find_captures
    from streams.sources.replay import replay as put

    settings = Settings.from_environment()
    found = find_captures(paths)
    for path, reason in found.left_out.items():
        typer.echo(f"left out: {path.name}: {reason}", err=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("replay")
        done = put(
            found.messages(),
            raw_producer(settings),
            settings.rules,
            speed=speed_of(speed),
            progress=lambda at: progress.update(
                task, description=f"{at.messages:,} messages, {at.heartbeats:,} heartbeats, {at.lag_seconds:.1f} s behind"
            ),
        )
    typer.echo(f"{done.messages} messages and {done.heartbeats} heartbeats on the raw topics")


def speed_of(text: str) -> float:
    """Return the factor that `--speed` names; raises ForeshockError."""
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise ForeshockError(f"--speed: expected a number above 0, or max, got {text!r}")
    return speed
