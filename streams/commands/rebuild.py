"""`foreshock rebuild`: forecasts computed again from their receipts, and compared bit for bit."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from schemas.errors import SettingsError, StateError
from streams.commands.checks import require_broker
from streams.commands.screen import console
from streams.following import Followed
from streams.settings import Settings

if TYPE_CHECKING:
    from schemas.forecasts import Forecast
    from streams.reading import LogReader
    from streams.rebuild.deep import Apart, Wanted
    from streams.rebuild.library import Library
    from streams.rebuild.verdicts import Difference, Kind, Verdict

NEAR_STATUS = 3
"""Exit status where the worst that differs are numbers, by 1e-6 at most."""
_LISTED = 20
_NAMES: "dict[Kind, str]" = {
    "identical": "identical",
    "near": "within 1e-6",
    "different": "different",
    "unreadable": "unreadable",
}


def rebuild(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Of forecasts: instrument_id@origin_time_ns.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--random", metavar="N", help="Instead: so many of the topic, drawn at random.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw: the same seed, the same forecasts.")] = 1,
    deep: Annotated[
        bool, typer.Option("--deep", help="Recompute their rows too, from the canonical log, through tiles.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a forecast.")] = False,
) -> None:
    """Compute forecasts again from their receipts: rows by offset, the same bundles by hash, the same batch shape.

    Exit status 0: all identical; 3: numbers differ by 1e-6 at most, as on another kind of processor; 1: something
    differs by more, or cannot be computed again.
    """
    if bool(ids) == (count is not None):
        raise SettingsError("expected IDs of forecasts, or --random N")
    from streams.reading import LogReader
    from streams.rebuild import TAKEN
    from streams.rebuild.deep import Wanted
    from streams.rebuild.library import Library

    settings = Settings.from_environment()
    require_broker(settings)
    library = Library(settings.profile, Path(settings.model_repository), settings.rules.row_interval_ns)
    wanted = Wanted() if deep else None
    with LogReader(settings) as reader:
        found = _rebuilt(reader, library, ids or [], (count, seed), wanted)
        apart = [] if wanted is None else _compared(settings, reader, wanted)
    if as_json:
        _print_json(found)
    else:
        _print(found)
        if wanted is not None:
            _print_rows(apart, len(wanted))
        console().print(f"Taken from the records: {', '.join(TAKEN)}. All else was computed again.", style="dim")
    if status := _status(found, apart):
        raise typer.Exit(status)


def _rebuilt(
    reader: "LogReader", library: "Library", ids: list[str], draw: tuple[int | None, int], wanted: "Wanted | None"
) -> "list[Verdict]":
    from streams.rebuild.sampling import drawn
    from streams.rebuild.work import read_forecasts, verdicts

    count, seed = draw
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Followed(*columns) as screen:
        task = screen.add_task("reading records", total=count or len(ids))
        messages = _asked(reader, ids) if count is None else read_forecasts(drawn(reader, count, seed))
        forecasts = list(screen.track(messages, task_id=task))
        task = screen.add_task("computing forecasts", total=len(forecasts))
        return list(screen.track(verdicts(reader, library, forecasts, wanted), task_id=task))


def _asked(reader: "LogReader", ids: Iterable[str]) -> "Iterator[Forecast | Verdict]":
    from streams.rebuild.verdicts import Verdict
    from streams.receipts import find_forecast, parse_id

    for forecast_id in ids:
        try:
            yield find_forecast(reader, *parse_id(forecast_id))
        except StateError as error:
            problem = str(error).removeprefix(f"{forecast_id}: ")
            yield Verdict(forecast_id, "unreadable", problem=problem)


def _compared(settings: Settings, reader: "LogReader", wanted: "Wanted") -> "list[Apart]":
    with Followed() as screen:
        task = screen.add_task("recomputing rows from the canonical log", total=len(wanted))
        return wanted.compare(settings, reader, lambda done: screen.update(task, completed=done))


def _status(found: "list[Verdict]", apart: "list[Apart]") -> int:
    kinds = {each.kind for each in found}
    if kinds & {"different", "unreadable"} or apart:
        return 1
    return NEAR_STATUS if "near" in kinds else 0


def _print(found: "list[Verdict]") -> None:
    told = [each for each in found if each.kind != "identical" or len(found) <= _LISTED]
    for each in told[:_LISTED]:
        console().print(_line(each), markup=False, highlight=False, soft_wrap=True)
    if len(found) > 1:
        console().print(_table(found))
    kinds = Counter(each.kind for each in found)
    largest = max((each.largest for each in found), default=0.0)
    text = ", ".join(f"{kinds[kind]:,} {_NAMES[kind]}" for kind in _NAMES if kinds[kind] or kind == "identical")
    if len(found) > 1:
        typer.echo(f"{len(found):,} forecasts: {text}; largest relative difference {largest:.3g}")


def _line(verdict: "Verdict") -> str:
    if verdict.kind == "unreadable":
        return f"{verdict.forecast_id}: cannot be computed again: {verdict.problem}"
    if verdict.first is None:
        what = ", ".join(_what(verdict.forecast)) if verdict.forecast else ""
        return f"{verdict.forecast_id}: identical ({what})"
    return (
        f"{verdict.forecast_id}: {_NAMES[verdict.kind]}; first {_told(verdict.first)}; "
        f"largest relative difference {verdict.largest:.3g}"
    )


def _told(first: "Difference") -> str:
    return f"{first.path}: recorded {first.recorded!r}, computed {first.rebuilt!r}"


def _what(forecast: "Forecast") -> tuple[str, str, str]:
    rows, place = forecast.receipt.batch
    asked = f"place {place} in a batch of {rows}" if rows else "in no batch"
    return forecast.status, f"{forecast.model.name} {forecast.model.version}", asked


def _table(found: "list[Verdict]") -> Table:
    table = Table("status", "model", "version", *(_NAMES[kind] for kind in _NAMES), "sizes of batches")
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for each in found:
        of = each.forecast
        key = ("", "", "") if of is None else (of.status, of.model.name, of.model.version)
        groups.setdefault(key, []).append(each)
    for key, members in sorted(groups.items()):
        kinds = Counter(each.kind for each in members)
        sizes = sorted({each.forecast.receipt.batch[0] for each in members if each.forecast})
        table.add_row(*key, *(f"{kinds[kind]:,}" for kind in _NAMES), _span(sizes))
    return table


def _span(sizes: list[int]) -> str:
    return "" if not sizes else f"{sizes[0]} to {sizes[-1]}, {len(sizes)} different" if sizes[1:] else f"{sizes[0]}"


def _print_rows(apart: "list[Apart]", count: int) -> None:
    for partition, offset, problem in apart[:_LISTED]:
        typer.echo(f"feature.row.v1[{partition}]@{offset}: {problem}")
    typer.echo(f"{count:,} row messages behind them: {count - len(apart):,} are as the canonical log makes them")


def _print_json(found: "list[Verdict]") -> None:
    for each in found:
        first = None if each.first is None else each.first._asdict()
        typer.echo(
            json.dumps(
                {"id": each.forecast_id, "verdict": each.kind, "first": first, "largest": each.largest}
                | ({"problem": each.problem} if each.problem else {})
            )
        )
