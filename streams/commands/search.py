"""`foreshock search`: settings of a network, chosen walking forward on a folder of bar files."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from schemas import SettingsError
from schemas.rules import DAY_NS
from streams.commands.checks import require_folders
from streams.commands.screen import console
from streams.following import Followed

_KINDS = ("lstm", "performer")
_METHODS = ("grid", "random", "tpe")


def search(  # noqa: PLR0913, PLR0917  # one parameter for each option of the command
    data: Annotated[Path, typer.Option(help="Folder of 5-minute bar files, as binance_spot_BTC_5m.parquet.")],
    until: Annotated[str, typer.Option(help="Last day (UTC) that may be looked at.", metavar="DATE")],
    out: Annotated[Path, typer.Option(help="Folder for trials-KIND.jsonl; a search goes on where one is there.")],
    kind: Annotated[str, typer.Option(help="lstm or performer.")] = "performer",
    method: Annotated[str, typer.Option(help="grid, random or tpe (Bayesian).")] = "tpe",
    trials: Annotated[int, typer.Option(help="How many settings to try, minutes each.", min=1)] = 20,
    folds: Annotated[int, typer.Option(help="Spans to forecast, one behind the other, up to --until.", min=1)] = 2,
    fold_days: Annotated[int, typer.Option(help="Length of each span, in days.", min=7)] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the search and of the networks.")] = 0,
    instruments: Annotated[
        list[str] | None, typer.Option(help="Only these, as binance:BTC-USDT or BTC; repeat for more. Default: all.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for rows made from the bars. Default: OUT/rows.")] = None,
) -> None:
    """Try settings of a network; each trial is a line of a log, and the best says how many it is the best of."""
    for option, value, known in (("--kind", kind, _KINDS), ("--method", method, _METHODS)):
        if value not in known:
            raise SettingsError(f"{option}: expected one of {', '.join(known)}, got {value!r}")
    from streams.bar_panel import ask
    from triton_models.evaluation.folds import Folds, day_ns
    from triton_models.evaluation.lineup import Reference
    from triton_models.evaluation.networks import DEFAULT_WALK
    from triton_models.evaluation.tuning import GRID, SPACE, objective
    from triton_models.search import Method, Trial
    from triton_models.search import search as run

    until_ns = day_ns(until) + DAY_NS
    borders = [until_ns - (folds - place) * fold_days * DAY_NS for place in range(folds + 1)]
    spans = [Folds(start - DAY_NS, start, end) for start, end in pairwise(borders)]
    asked = ask(data, until_ns, instruments or ())
    asked.require(spans[0], first="--folds", last="--until")
    require_folders(out=out, cache=cache or out / "rows")
    log = out / f"trials-{kind}.jsonl"
    with Followed() as screen:
        task = screen.add_task("rows", total=float(trials))

        def told(text: str, _ratio: float) -> None:
            screen.update(task, description=text)

        def tried(trial: Trial) -> None:
            loss = "failed" if trial.loss is None else f"{trial.loss:.4f}"
            screen.console.print(f"{trial.number}: {loss} {trial.settings}", highlight=False)
            screen.advance(task)

        panel = asked.panel(cache or out / "rows", told)
        told(f"{kind}: log-HAR", 0.0)
        base = Reference().of(panel, Folds(borders[0] - DAY_NS, borders[0], until_ns))
        loss = objective(panel, base, kind, first=DEFAULT_WALK.first, seed=seed)
        told(f"{kind}: trials", 0.0)
        space = GRID if method == "grid" else SPACE
        how = cast("Method", method)
        result = run(loss, space, spans, method=how, log=log, trials=trials, seed=seed, tried=tried)
    table = Table("setting", "value", title=f"{kind}: best of {result.trials} trials ({result.failed} failed)")
    for setting, found in result.best.settings.items():
        table.add_row(setting, str(found))
    table.add_row("QLIKE over log-HAR's", f"{result.best.loss:.4f}")
    console().print(table)
    typer.echo(str(log))
