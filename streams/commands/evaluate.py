"""`foreshock evaluate`: how good forecasts are on a folder of bar files, and whether that is chance."""

from pathlib import Path
from typing import Annotated, Any

import typer

from schemas import SettingsError
from schemas.rules import DAY_NS
from streams.commands.checks import require_folders
from streams.following import Followed

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
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also networks that lack one thing or attend otherwise, a seed each.")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder for rows made from the bars. Default: OUT/rows.")] = None,
) -> None:
    """Walk forward over bar files: all models, scores, tests; report.json, report.html, forecasts.parquet."""
    if profile != _PROFILE:
        raise SettingsError(f"--profile: expected {_PROFILE}, the profile that has bar files, got {profile!r}")
    from streams.bar_panel import ask
    from streams.bar_rows import data_hash
    from triton_models.evaluation.folds import Folds, day_ns
    from triton_models.evaluation.lineup import SEEDS, choose
    from triton_models.evaluation.report import evaluate as run

    until_ns = day_ns(last) + DAY_NS
    folds = Folds(day_ns(train_until) + DAY_NS, day_ns(first), until_ns)
    screen = Followed()
    task = screen.add_task("rows", total=1.0)

    def told(text: str, ratio: float | None = None) -> None:
        screen.update(task, description=text, completed=ratio)

    experts = choose(models or (), seeds=SEEDS if seeds is None else seeds, ablations=ablations, told=told)
    asked = ask(data, until_ns, instruments or (), held_out or ())
    asked.require(folds)
    require_folders(out=out, cache=cache or out / "rows")
    with screen:
        panel = asked.panel(cache or out / "rows", told)
        about: dict[str, Any] = {
            "profile": profile,
            "data_hash": data_hash(asked.bars),
            "files": [capture.path.name for capture in asked.bars.files],
            "train_until": train_until,
            "from": first,
            "to": last,
        }
        report = run(panel, folds, experts, out, about=about, progress=told)
        told("done", 1.0)
    for line in report["first_lines"]:
        typer.echo(line)
    typer.echo(str(out / "report.html"))
