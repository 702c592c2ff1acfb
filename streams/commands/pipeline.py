"""The stages, one process each, and what runs them all on one machine."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.errors import ForeshockError, SettingsError
from schemas.rules import SECOND_NS
from schemas.topics import RAW_TOPICS
from streams.commands.checks import require_broker
from streams.following import Followed
from streams.settings import Settings
from streams.sources import RawMessage

MARKET_START_NS = 1_767_225_600 * SECOND_NS
"""The built-in market begins with 2026."""


def ingest() -> None:
    """Raw topics to canonical events, in one process."""
    from streams.ingest import run_ingest

    settings = Settings.from_environment()
    run_ingest(settings, live=settings.heartbeat_writer == "ingest")


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

    settings = Settings.from_environment()
    run_stage(settings, InferStage(Path(settings.model_repository)))


def score() -> None:
    """Forecasts against what then happened, in one process."""
    from streams.faust_app import run_stage
    from streams.score import ScoreStage

    settings = Settings.from_environment()
    run_stage(settings, ScoreStage(Path(settings.model_repository)))


def run() -> None:
    """Run all stages on this machine until interrupted; one that ends is started again."""
    from streams.pipeline import prepare
    from streams.running import run_pipeline

    settings = Settings.from_environment()
    require_broker(settings)
    prepare(settings)
    run_pipeline(settings)


def replay(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Capture files or folders of them.", metavar="[PATH...]")
    ] = None,
    speed: Annotated[str, typer.Option(help="1: as fast as it was recorded, N: N times, max.")] = "1",
    market: Annotated[int, typer.Option(help="Instead of captures: so many seconds of the built-in market.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the built-in market.")] = 7,
) -> None:
    """Put captures on the raw topics, several instruments merged by receive time."""
    from streams.pipeline import raw_producer
    from streams.sources.replay import Progress as Done
    from streams.sources.replay import replay as put
    from streams.topic_setup import require_topics

    factor = speed_of(speed)
    settings = Settings.from_environment()
    if settings.heartbeat_writer != "replay":
        # Heartbeats by the clock of today would make everything recorded late.
        raise SettingsError("FORESHOCK_HEARTBEAT_WRITER: set it to replay for all processes, then start them and this")
    messages = _source(paths or [], market, seed)
    require_broker(settings)
    require_topics(settings, RAW_TOPICS)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Followed(*columns) as screen:
        task = screen.add_task("replay")

        def show(at: Done) -> None:
            behind = f", {at.lag_seconds:.1f} s behind" if at.lag_seconds else ""
            screen.update(task, description=f"{at.messages:,} messages, {at.heartbeats:,} heartbeats{behind}")

        done = put(messages, raw_producer(settings), settings.rules, speed=factor, progress=show)
    typer.echo(f"{done.messages} messages and {done.heartbeats} heartbeats on the raw topics")


def _source(paths: list[Path], market_seconds: int, seed: int) -> Iterator[RawMessage]:
    from streams.sources.captures import find_captures
    from streams.sources.market import market as play

    if bool(paths) == bool(market_seconds):
        raise ForeshockError("expected capture files to replay, or --market SECONDS")
    if market_seconds:
        return play(seed, MARKET_START_NS, market_seconds)
    found = find_captures(paths)
    for path, reason in found.left_out.items():
        typer.echo(f"left out: {path.name}: {reason}", err=True)
    return found.messages()


def speed_of(text: str) -> float:
    """Return the factor that `--speed` names; raises ForeshockError."""
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise ForeshockError(f"--speed: expected a number above 0, or max, got {text!r}")
    return speed
