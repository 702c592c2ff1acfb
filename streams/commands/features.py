"""`foreshock features`: the catalogue, a new file, a trial of what is in it."""

import inspect
import json
import time
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from featurestore.catalogue import Catalogue
from featurestore.checks import TIME_BUDGET_S, specs_of, violations
from featurestore.registration import window_text
from featurestore.specs import BORDER_S, DerivedSpec, FeatureSpec, TileSpec
from schemas.errors import FeatureError
from schemas.rules import SECOND_NS
from streams.announcements import announce as announce_set
from streams.authoring.scaffold import new_file
from streams.commands.checks import require_broker, require_writable
from streams.commands.screen import console
from streams.settings import Settings

_SUGGESTED = 3

app = typer.Typer(help="Features: new, list, show, check, announce.", no_args_is_help=True)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the quantity and of the file: order_flow_imbalance.")],
    record: Annotated[str, typer.Option(help="Record type that its first tile reads.")] = "trade",
    window: Annotated[str, typer.Option(help="Window of its first feature.")] = "5m",
) -> None:
    """Write a file with a tile and a feature that pass all checks, to be edited."""
    path = new_file(name, record, window)
    typer.echo(f"{path}\nedit it, then: foreshock features check {name}")


@app.command(name="list")
def list_features(
    modality: Annotated[str, typer.Option(help="Only those of this record type: trade, quote, depth, ...")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, one a feature.")] = False,
) -> None:
    """Print every quantity: its windows, modality, unit and what it says."""
    catalogue = Catalogue.discover(Settings.from_environment().rules)
    chosen = [spec for spec in catalogue.features if modality in ("", spec.modality)]
    if not chosen:
        known = sorted({spec.modality for spec in catalogue.features})
        raise FeatureError(f"--modality {modality!r}: expected one of {', '.join(known)}")
    if as_json:
        for spec in chosen:
            typer.echo(json.dumps(_facts(spec)))
        return
    quantities: dict[str, list[FeatureSpec]] = {}
    for spec in chosen:
        quantities.setdefault(spec.quantity, []).append(spec)
    title = f"{len(quantities)} quantities, {len(chosen)} columns; feature set {catalogue.feature_set_id}"
    table = Table("quantity", "windows", "modality", "unit", "what", title=title)
    for name, found in sorted(quantities.items(), key=lambda item: (item[1][0].modality, item[0])):
        specs = sorted(found, key=lambda spec: spec.window_ns)
        windows = " ".join(window_text(spec.window_ns) for spec in specs if spec.window_ns)
        table.add_row(name, windows, specs[0].modality, specs[0].unit, _first_line(specs[0].docs))
    console().print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a quantity or of a column.")]) -> None:
    """Print one feature in full: what it says, its lineage down to the records, and its code."""
    catalogue = Catalogue.discover(Settings.from_environment().rules)
    specs = _named(catalogue, name)
    spec, screen = specs[0], console()
    for label, value in _facts(spec).items():
        if label != "window":
            screen.print(f"{label:>12}: {value}", markup=False, highlight=False)
    windows = ", ".join(f"{each.name} ({window_text(each.window_ns)})" for each in specs if each.window_ns)
    screen.print(f"{'columns':>12}: {windows or spec.name}", markup=False, highlight=False)
    screen.print(_lineage(catalogue, spec))
    screen.print(inspect.getsource(spec.plain), markup=False, highlight=False)


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Quantities, columns, tiles or files; none: all there is.", metavar="[NAME...]"),
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Captures to try them on; none: the built-in market.")] = None,
    seconds: Annotated[int, typer.Option(help="How much of the data.", min=60)] = 420,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the features on the data.")] = None,
) -> None:
    """Check features: the rules that all keep, then bits, look-ahead and cost on data.

    Each problem is one line. Tiles that no named feature reads are checked by the rules alone.
    """
    settings = Settings.from_environment()
    require_writable(plot=plot)
    catalogue = Catalogue.discover(settings.rules)
    chosen = _chosen(catalogue, names or [])
    found = violations(catalogue, settings.rules, time.perf_counter, chosen)
    features = [spec.name for spec in catalogue.features if spec.name in chosen]
    if not found and features and (names or data or plot):
        found = _tried(settings, catalogue.subset(features), data or [], seconds, plot)
    for line in found:
        typer.echo(line, err=True)
    typer.echo(f"{len(chosen)} checked, {len(found)} problems")
    if found:
        raise typer.Exit(1)


@app.command()
def announce() -> None:
    """Let the features that the code holds begin at one border for all partitions, under the running log."""
    settings = Settings.from_environment()
    require_broker(settings)
    announcement = announce_set(settings, Catalogue.discover(settings.rules))
    typer.echo(f"feature set {announcement.feature_set_id} holds from {announcement.border_ns} ns on")


def _tried(settings: Settings, catalogue: Catalogue, data: list[Path], seconds: int, plot: Path | None) -> list[str]:
    """Try features on data, print what came of it, and return a line for each problem."""
    from streams.authoring.log import canonical_log
    from streams.authoring.trial import COST_INSTRUMENTS, columns_of, trials

    with Console(stderr=True).status("reading"):
        source, log = canonical_log(settings.rules, data, seconds)
    with Console(stderr=True).status(f"{len(log):,} messages, {len(catalogue.features)} features"):
        columns = columns_of(log, settings.rules, catalogue)
        done = trials(log, columns, settings.rules, catalogue, time.perf_counter)
    budget = TIME_BUDGET_S / COST_INSTRUMENTS * 1e6
    table = Table("feature", "known", "other bits", "look-ahead", "µs a row", "KiB an instrument", title=f"On {source}")
    for trial in done:
        share = f"{trial.known / trial.rows:.0%} of {trial.rows:,}" if trial.rows else "no rows"
        cost = f"{trial.row_microseconds:.1f}", f"{trial.instrument_bytes / 1024:.1f}"
        table.add_row(trial.name, share, str(trial.parity), str(trial.look_ahead), *cost)
    console().print(table)
    if plot is not None:
        from streams.authoring.plot import plot_features

        plot_features(catalogue.features, columns, plot, source=source)
        typer.echo(f"picture in {plot}")
    unknown = [trial.name for trial in done if not trial.known]
    if unknown:
        typer.echo(f"never known on this data, so not tried on it: {', '.join(unknown)}; give other --data", err=True)
    problems = []
    for trial in done:
        if trial.parity:
            problems.append(f"{trial.name}: {trial.parity} numbers have other bits when messages come one by one")
        if trial.look_ahead:
            problems.append(f"{trial.name}: {trial.look_ahead} rows differ where the log ends early: it looks ahead")
        if trial.row_microseconds > budget:
            problems.append(f"{trial.name}: {trial.row_microseconds:.0f} us a row: expected at most {budget:.0f}")
    return problems


def _chosen(catalogue: Catalogue, names: Iterable[str]) -> list[str]:
    """Return the names of all specs that are meant: by their own name, their quantity or their file."""
    specs = specs_of(catalogue)
    wanted = list(names)
    if not wanted:
        return [spec.name for spec in specs]
    chosen: dict[str, None] = {}
    for name in wanted:
        path = Path(name).name
        meant = [spec.name for spec in specs if name in (spec.name, getattr(spec, "quantity", "")) or spec.file == path]
        if not meant:
            known = [each for spec in specs for each in (getattr(spec, "quantity", spec.name), spec.name)]
            raise FeatureError(f"there is no tile or feature {name!r}; {_suggested(name, known)}")
        chosen |= dict.fromkeys(meant)
    return list(chosen)


def _suggested(name: str, known: Iterable[str]) -> str:
    """Return what was meant, as far as names tell: those that are like `name`, or hold it.

    >>> _suggested("spraed", ["spread", "volume"])
    'there is spread; `foreshock features list` prints the features'
    """
    names = list(dict.fromkeys(known))
    like = get_close_matches(name, names, n=_SUGGESTED, cutoff=0.6) or [each for each in names if name in each]
    near = f"there is {' or '.join(like[:_SUGGESTED])}; " if like else ""
    return f"{near}`foreshock features list` prints the features"


def _named(catalogue: Catalogue, name: str) -> list[FeatureSpec]:
    """Return the features of a quantity or column; the named column first."""
    found = [spec for spec in catalogue.features if name in (spec.name, spec.quantity)]
    if not found:
        known = [each for spec in catalogue.features for each in (spec.quantity, spec.name)]
        raise FeatureError(f"there is no feature {name!r}; {_suggested(name, known)}")
    others = [spec for spec in catalogue.features if spec.quantity == found[0].quantity]
    return list(dict.fromkeys([*found, *others])) if len(found) == 1 else sorted(found, key=lambda spec: spec.window_ns)


def _facts(spec: FeatureSpec) -> dict[str, object]:
    return {
        "feature": spec.name,
        "what": _first_line(spec.docs),
        "unit": spec.unit,
        "owner": spec.owner,
        "window": f"{spec.window_ns / SECOND_NS:g} s",
        "inputs": ", ".join(spec.inputs),
        "modality": spec.modality,
        "records": ", ".join(spec.records),
        "version": spec.version,
        "file": spec.file,
    }


def _lineage(catalogue: Catalogue, spec: FeatureSpec) -> Tree:
    tree = Tree(f"{spec.name}  [dim]{spec.file}[/dim]")
    for name in spec.inputs:
        _grow(catalogue, tree, name)
    return tree


def _grow(catalogue: Catalogue, tree: Tree, name: str) -> None:
    if name == BORDER_S:
        tree.add(f"{name}  [dim]end of each tile, in seconds[/dim]")
        return
    series = catalogue.series[name]
    branch = tree.add(f"{name}  [dim]{_kind(series)}, {series.file}: {_first_line(series.docs)}[/dim]")
    if isinstance(series, DerivedSpec):
        for each in series.inputs:
            _grow(catalogue, branch, each)
    else:
        branch.add(f"{series.record}({', '.join(series.inputs)})")


def _kind(series: TileSpec | DerivedSpec) -> str:
    if isinstance(series, TileSpec):
        return f"tile of {series.scope} {series.record}" + (f", merges by {series.combine}" if series.combine else "")
    return "mean over the market" if series.market else f"tile of {series.window_tiles} tiles"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
