"""`foreshock features`: the catalogue."""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from featurestore.catalogue import Catalogue
from featurestore.checks import specs_of, violations
from schemas.errors import FeatureError
from schemas.rules import SECOND_NS
from streams.announcements import announce as announce_set
from streams.settings import Settings

app = typer.Typer(help="Features: list, show, check, announce.", no_args_is_help=True)


@app.command(name="list")
def list_features() -> None:
    """Print every feature: modality, unit, window and what it says."""
    catalogue = Catalogue.discover(Settings.from_environment().rules)
    table = Table("feature", "modality", "unit", "inputs", "what", title=f"Feature set {catalogue.feature_set_id}")
    for feature in catalogue.features:
        table.add_row(
            feature.name, feature.modality, feature.unit, ", ".join(feature.inputs), _first_line(feature.docs)
        )
    Console().print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of the feature.")]) -> None:
    """Print one feature in full."""
    catalogue = Catalogue.discover(Settings.from_environment().rules)
    found = {feature.name: feature for feature in catalogue.features}
    if name not in found:
        near = [other for other in found if name.split("_")[0] in other]
        raise FeatureError(f"there is no feature {name!r}; near it: {', '.join(near) or 'nothing'}")
    feature = found[name]
    for label, value in (
        ("what", feature.docs),
        ("unit", feature.unit),
        ("window", f"{feature.window_ns / SECOND_NS:g} s"),
        ("inputs", ", ".join(feature.inputs)),
        ("record types", ", ".join(feature.records)),
        ("modality", feature.modality),
        ("version", feature.version),
        ("file", feature.file),
    ):
        typer.echo(f"{label:>12}: {value}")


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Tiles and features; none: all of them.", metavar="[NAME...]")
    ] = None,
) -> None:
    """Run the automatic checks: pure, no look-ahead, finite, the same bits in any batch, documented, fast."""
    rules = Settings.from_environment().rules
    catalogue = Catalogue.discover(rules)
    chosen = names or [spec.name for spec in specs_of(catalogue)]
    missing = sorted(set(chosen) - {spec.name for spec in specs_of(catalogue)})
    if missing:
        raise FeatureError(f"there is no tile or feature {missing[0]!r}; `foreshock features list` prints them")
    found = violations(catalogue, rules, time.perf_counter, chosen)
    for line in found:
        typer.echo(line, err=True)
    typer.echo(f"{len(chosen)} checked, {len(found)} problems")
    if found:
        raise typer.Exit(1)


@app.command()
def announce() -> None:
    """Let the features that the code holds begin at one border for all partitions."""
    settings = Settings.from_environment()
    announcement = announce_set(settings, Catalogue.discover(settings.rules))
    typer.echo(f"feature set {announcement.feature_set_id} holds from {announcement.border_ns} ns on")


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
