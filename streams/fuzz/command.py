"""`foreshock chaos fuzz`: hostile bytes for every reader, with progress and a table of what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TimeRemainingColumn
from rich.table import Table

from schemas.errors import SettingsError
from streams.commands.checks import require_folders
from streams.commands.screen import console
from streams.following import Followed
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.fuzz.running import Plan, Result

_MIB = 1 << 20


def fuzz(
    reader: Annotated[list[str] | None, typer.Option(help="Which; may be given more than once. Default: all.")] = None,
    minutes: Annotated[float, typer.Option(help="For each reader.", min=0)] = 1.0,
    corpus: Annotated[
        Path | None, typer.Option(help="Folder of inputs that is read and added to. Default: fuzz in FORESHOCK_CACHE.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the mutations.", min=0)] = 1,
) -> None:
    """Give hostile bytes to formats and codecs; only DecodeError (of checkpoints StateError) may come out.

    Coverage-guided where atheris is installed (`uv pip install atheris`), mutations of seeds elsewhere. Exits 1
    where a reader crashed, hung or took too much memory; such inputs are kept in CORPUS/found.
    """
    from streams.fuzz.readers import readers
    from streams.fuzz.running import Plan

    names = reader or list(readers())
    for name in names:
        if name not in readers():
            raise SettingsError(f"--reader: expected one of {', '.join(readers())}, got {name!r}")
    settings = Settings.from_environment()
    folder = corpus or Path(settings.cache) / "fuzz"
    require_folders(corpus=folder)
    results = _all(names, Plan(60 * minutes, folder, Path(settings.data), seed))
    console().print(_table(results))
    for each in results:
        for name, text in each.findings.items():
            typer.echo(f"{each.reader}: {text}; its input is {folder / 'found' / each.reader / name}")
    executions = sum(each.executions for each in results)
    typer.echo(
        f"{executions:,} inputs to {len(results)} readers, {sum(len(each.findings) for each in results)} findings"
    )
    if not all(each.passed for each in results):
        raise typer.Exit(1)


def _all(names: list[str], plan: "Plan") -> "list[Result]":
    from streams.fuzz.running import fuzzed

    results = []
    with Followed(*Followed.get_default_columns()[:-1], TimeRemainingColumn()) as screen:
        task = screen.add_task("", total=len(names))
        for place, name in enumerate(names):
            screen.update(task, description=name, completed=place)
            results.append(
                fuzzed(
                    name,
                    plan,
                    lambda account, name=name: screen.update(  # type: ignore[misc]
                        task, description=f"{name}: {account.executions:,} inputs, {len(account.findings)} findings"
                    ),
                )
            )
        screen.update(task, description="done", completed=len(names))
    return results


def _table(results: "list[Result]") -> Table:
    table = Table("reader", "engine", "seeds", "inputs", "crashes", "hangs", "memory", "peak, MiB", "slowest, s")
    for each in results:
        kinds = (str(each.count(kind)) for kind in ("crash", "hang", "memory"))
        peak, slowest = f"{each.peak_bytes / _MIB:.0f}", f"{each.slowest_seconds:.2f}"
        table.add_row(each.reader, each.engine, f"{each.seeds:,}", f"{each.executions:,}", *kinds, peak, slowest)
    return table
