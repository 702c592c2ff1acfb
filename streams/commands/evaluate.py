"""`foreshock evaluate`: how good forecasts are on a folder of bar files, and whether that is chance."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from schemas import SettingsError
from schemas.rules import DAY_NS
from streams.commands.checks import require_folders

if TYPE_CHECKING:
    from streams.bar_rows import Span
    from triton_models.evaluation.folds import Folds

_PROFILE = "bars"


def evaluate(  # noqa: PLR0913, PLR0917  # one parameter for each option of the command
    data: Annotated[Path, typer.Option(help="Folder of 5-minute bar files, as binance_spot_BTC_5m.parquet.")],
    train_until: Annotated[str, typer.Option(help="Last day (UTC) that the first fit learns from.", metavar="DATE")],
    first: Annotated[str, typer.Option("--from", help="First day (UTC) that is forecast.", metavar="DATE")],
    last: Annotated[str, typer.Option("--to", help="Last day (UTC) that is forecast.", metavar="DATE")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html and forecasts.parquet.")],
    profile: Annotated[str, typer.Option(help="bars: the profile that has bar files.")] = _PROFILE,
    instruments: Annotated[
        list[str] | None, typer.Option(help="Only these, as binance:BTC-USDT or BTC; repeat for more. Default: all.")
    ] = None,
    held_out: Annotated[
        list[str] | None, typer.Option(help="Forecast and scored, but never learned from; repeat for more.")
    ] = None,
    models: Annotated[list[str] | None, typer.Option(help="Only these models; repeat for more. Default: all.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds of each network, minutes each; 0: no networks. Default: 4.", min=0)
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for rows made from the bars. Default: OUT/rows.")] = None,
) -> None:
    """Walk forward over bar files: all models, scores, tests; report.json, report.html, forecasts.parquet."""
    if profile != _PROFILE:
        raise SettingsError(f"--profile: expected {_PROFILE}, the profile that has bar files, got {profile!r}")
    from streams.bar_rows import data_hash as hash_of
    from streams.bar_rows import find_bars, rows_of, spans_of
    from triton_models.evaluation.definitions import FEATURES
    from triton_models.evaluation.folds import Folds, day_ns
    from triton_models.evaluation.lineup import SEEDS, choose
    from triton_models.evaluation.panel import panel_of
    from triton_models.evaluation.report import evaluate as run

    until_ns = day_ns(last) + DAY_NS
    folds = Folds(day_ns(train_until) + DAY_NS, day_ns(first), until_ns)
    experts = choose(models or (), seeds=SEEDS if seeds is None else seeds)
    bars = find_bars(data)
    spans = {name: span for name, span in spans_of(bars).items() if span.first_ns < until_ns}
    if not spans:
        raise SettingsError(f"--data {data}: no file has a bar before the end of {last}")
    left_out = _named("--held-out", held_out, spans)
    chosen = [*_named("--instruments", instruments, spans), *left_out] if instruments else list(spans)
    _require_bars({name: spans[name] for name in chosen}, left_out, folds)
    require_folders(out=out, cache=cache or out / "rows")
    console = Console(stderr=True)
    with Progress(console=console) as screen:
        task = screen.add_task("rows", total=1.0)

        def told(text: str, ratio: float) -> None:
            screen.update(task, description=text, completed=ratio)

        table = rows_of(bars, FEATURES, until_ns + DAY_NS, cache or out / "rows", told)
        panel = panel_of(table, instruments=chosen, held_out=left_out)
        about: dict[str, Any] = {
            "profile": profile,
            "data_hash": hash_of(bars),
            "files": [capture.path.name for capture in bars.files],
            "train_until": train_until,
            "from": first,
            "to": last,
        }
        report = run(panel, folds, experts, out, about=about, progress=told)
        told("done", 1.0)
    for line in report["first_lines"]:
        typer.echo(line)
    typer.echo(str(out / "report.html"))


def _named(option: str, wanted: Sequence[str] | None, known: Collection[str]) -> list[str]:
    """Return the instruments that are wanted: by id, or all of an asset ("BTC")."""
    found: list[str] = []
    for name in wanted or ():
        matches = sorted(one for one in known if name in {one, one.partition(":")[2].partition("-")[0]})
        if not matches:
            raise SettingsError(f"{option}: no bars of {name!r} before the end; there are {', '.join(sorted(known))}")
        found += [one for one in matches if one not in found]
    return found


def _require_bars(spans: "Mapping[str, Span]", held_out: Collection[str], folds: "Folds") -> None:
    """Refuse dates that the bars do not reach, before any work."""
    from triton_models.evaluation.definitions import LEAST_TRAINING_NS

    fold = next(iter(folds))
    trained = [span for name, span in spans.items() if name not in held_out]
    if not trained:
        raise SettingsError("--held-out: expected an instrument that is left to train on, got all of them")
    first, last = min(span.first_ns for span in trained), max(span.last_ns for span in spans.values())
    if first + LEAST_TRAINING_NS > fold.train_until_ns:
        raise SettingsError(
            f"--train-until: expected {LEAST_TRAINING_NS // DAY_NS} days of bars before it, "
            f"the first is of {_day(first)}"
        )
    if last < folds.until_ns - DAY_NS:
        raise SettingsError(f"--to: expected a day with bars, the last is of {_day(last)}")
    if not any(span.first_ns < folds.until_ns and span.last_ns >= folds.from_ns for span in spans.values()):
        raise SettingsError("--from: no instrument has bars between it and --to")


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d")
