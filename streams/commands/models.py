"""`foreshock train` and `foreshock model`: bundles, how they are made, and which version makes forecasts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import StateError
from schemas.rules import PROFILES
from schemas.topics import FORECAST, FORECAST_SCORE, OPS_MODEL
from streams.commands.checks import require_broker
from streams.commands.screen import console
from streams.settings import Settings

if TYPE_CHECKING:
    from schemas.decisions import ModelDecision
    from streams.switching import Switching

Profile = Annotated[str, typer.Argument(help=f"Whose networks: {' or '.join(PROFILES)}.")]
Version = Annotated[str, typer.Argument(help="Version of its bundles, as `foreshock model list` prints them.")]

_TOPICS = (FORECAST, FORECAST_SCORE, OPS_MODEL)

app = typer.Typer(help="Versions of the networks: list, shadow, promote, roll back.", no_args_is_help=True)


@app.command(name="list")
def list_models() -> None:
    """Print the bundles that Triton is given, and which version makes the forecasts."""
    from streams.switching import Switching, bundles
    from streams.topic_setup import require_topics

    settings = Settings.from_environment()
    found, problem = bundles(settings), ""
    if not found:
        raise StateError(f"{settings.model_repository}: there is no bundle; `foreshock train` writes some")
    roles: dict[str, str] = {}
    try:
        require_broker(settings)
        require_topics(settings, _TOPICS)
        states = {profile: Switching(settings, profile) for profile in {bundle.spec.profile for bundle in found}}
        roles = {bundle.hash: states[bundle.spec.profile].role(bundle) for bundle in found}
    except StateError as error:
        problem = f"roles are not known, for they are on the topic: {error}"
    table = Table("model", "version", "profile", "features", "hash", "role", title="Bundles")
    for bundle in found:
        spec = bundle.spec
        role = roles.get(bundle.hash, "?")
        table.add_row(spec.name, spec.version, spec.profile, str(len(spec.features)), bundle.hash[:12], role)
    console().print(table)
    if problem:
        typer.echo(problem, err=True)


@app.command()
def shadow(profile: Profile, version: Version) -> None:
    """Ask a version beside the active one: it is scored, and takes no part in forecasts."""
    _tell(_switching(profile).shadow(version))


@app.command()
def withdraw(profile: Profile) -> None:
    """Ask the version in shadow no more."""
    _tell(_switching(profile).withdraw())


@app.command()
def promote(
    profile: Profile,
    version: Version,
    force: Annotated[str, typer.Option(help="Promote against the test, for this reason; it is recorded.")] = "",
) -> None:
    """Let the version in shadow make the forecasts, if its scores are significantly better; else exit with 1."""
    switching = _switching(profile)
    with Console(stderr=True).status("reading scores") as status:
        decision = switching.promote(version, force, lambda count: status.update(f"{count:,} scores"))
    _show_tests(decision)
    _tell(decision)
    if decision.kind == "refuse":
        raise typer.Exit(1)


@app.command()
def rollback(profile: Profile) -> None:
    """Let the version before the active one make the forecasts again; no test is asked."""
    _tell(_switching(profile).rollback())


def _switching(profile: str) -> "Switching":
    from streams.switching import Switching
    from streams.topic_setup import require_topics

    settings = Settings.from_environment()
    require_broker(settings)
    require_topics(settings, _TOPICS)
    return Switching(settings, profile)


def _tell(decision: "ModelDecision") -> None:
    begins = datetime.fromtimestamp(decision.border_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    when = f"for origins from {begins} UTC on" if decision.border_ns else "from the first origin on"
    what = {
        "shadow": f"version {decision.version} is in shadow {when}",
        "withdraw": f"version {decision.version} is in shadow no more {when}",
        "promote": f"version {decision.version} makes the forecasts instead of version {decision.before} {when}",
        "rollback": f"version {decision.version} makes the forecasts again {when}",
        "refuse": f"version {decision.version} is not promoted, version {decision.before} stays",
    }
    typer.echo(f"{decision.profile}: {what[decision.kind]}: {decision.reason}")


def _show_tests(decision: "ModelDecision") -> None:
    if not decision.tests:
        return
    level = f"better below {decision.better_level:.2g}, worse below {decision.worse_level:.2g}"
    title = f"Version {decision.version} less version {decision.before}, {decision.test}, one-sided: {level}"
    table = Table("horizon", "loss", "origins", "needed", "difference", "statistic", "p better", "p worse", title=title)
    for test in decision.tests:
        numbers = (test.difference, test.statistic, test.p_better, test.p_worse)
        shown = ("" if number is None else f"{number:.3g}" for number in numbers)
        table.add_row(test.horizon, test.loss, str(test.origins), str(test.needed), *shown)
    console().print(table)


def train(
    profile: Annotated[str, typer.Option(help="ticks: the built-in market; bars: 5-minute bar files.")] = "bars",
    data: Annotated[Path | None, typer.Option(help="Folder of bar files; default: FORESHOCK_DATA/ohlcv_mit.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Model repository to write into; default: FORESHOCK_MODEL_REPOSITORY.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches: the same seed, the same bytes.")] = 0,
    version: Annotated[
        int, typer.Option(help="Number of the version: one that is there is replaced, another stands beside it.", min=1)
    ] = 1,
    until: Annotated[
        str, typer.Option(help="Last day (UTC) of bars to learn from; default: all.", metavar="DATE")
    ] = "",
) -> None:
    """Train log-HAR, the LSTM and the Performer, and write their bundles."""
    from streams.training import train_profile

    settings = Settings.from_environment()
    data, out = data or settings.data / "ohlcv_mit", out or Path(settings.model_repository)
    train_profile(profile, data, out, seed, Console(stderr=True), version=str(version), until=until)
