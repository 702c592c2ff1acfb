"""`foreshock backfill`: rows and tiles without the stages."""

import multiprocessing
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from schemas import Rules, SettingsError
from streams.commands.checks import require_broker, require_writable
from streams.commands.screen import console
from streams.settings import Settings


def backfill(  # noqa: PLR0913, PLR0917  # one parameter for each option of the command
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Capture files or folders of them.", metavar="[PATH...]")
    ] = None,
    tiles: Annotated[Path | None, typer.Option(help="Parquet file for the tiles, from which rows can be made.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Parquet file for the feature rows.")] = None,
    topics: Annotated[bool, typer.Option("--topics", help="Read the raw topics, up to where they end now.")] = False,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Read the canonical topics, up to where they end now.")
    ] = False,
    tiles_from: Annotated[
        Path | None, typer.Option(help="Make rows from tiles of an earlier backfill: a file or a folder of them.")
    ] = None,
    allowed_lateness: Annotated[
        float | None, typer.Option(help="Seconds; instead of the setting.", min=0.0, max=3600.0)
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0: one for each core, 1: this one alone.", min=0)] = 0,
    dask: Annotated[str, typer.Option(help="Address of a Dask scheduler that does the work instead.")] = "",
    with_late: Annotated[
        bool, typer.Option("--with-late", help="Say what the late events would have changed, and at which setting.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="With --with-late: JSON file for the report.")] = None,
    plot: Annotated[Path | None, typer.Option(help="With --with-late: PNG of lateness by venue.")] = None,
) -> None:
    """Compute tiles and feature rows by the pure code of the stages: from captures, topics or stored tiles."""
    from streams.backfill.sources import Request, run

    if sum([bool(paths), topics, canonical, tiles_from is not None]) != 1:
        raise SettingsError("expected one of: capture files, --topics, --canonical, --tiles-from FILE")
    if tiles_from is not None:
        _require_none("the tiles of --tiles-from are there already; give --rows alone", tiles=tiles)
        _require_none("tiles do not say what was late; give captures, --topics or --canonical", with_late=with_late)
    if not with_late:
        _require_none("tells of late events; add --with-late", report=report, plot=plot)
    require_writable(tiles=tiles, rows=rows, report=report, plot=plot)
    settings = Settings.from_environment()
    if topics or canonical:
        require_broker(settings)
    rules = with_lateness(settings.rules, allowed_lateness)
    request = Request(
        settings,
        rules,
        captures=tuple(paths or ()),
        topics="raw" if topics else "canonical" if canonical else "",
        stored=tiles_from,
        tiles=tiles,
        rows=rows,
        with_late=with_late,
    )
    with Console(stderr=True).status("reading") as status, executor_of(workers, dask) as executor:
        outcome, late = run(request, executor, status.update)
    for line in outcome.lines():
        typer.echo(line)
    if late is not None:
        from streams.backfill.report import plot_lateness, tables, write_report

        for table in tables(late):
            console().print(table)
        if report:
            write_report(late, report)
        if plot:
            plot_lateness(late, plot)


def _require_none(why: str, **options: Path | bool | None) -> None:
    """Raise SettingsError where an option is given that does not go with the others."""
    for name, value in options.items():
        if value:
            raise SettingsError(f"--{name.replace('_', '-')}: {why}")


def with_lateness(rules: Rules, seconds: float | None) -> Rules:
    """Return rules with another allowed lateness; None: as they are."""
    if seconds is None:
        return rules
    return msgspec.structs.replace(rules, allowed_lateness_ns=round(seconds * 1e9))


@contextmanager
def executor_of(workers: int = 0, dask: str = "") -> Iterator[Executor]:
    """Give what does the work: a Dask cluster, processes of this machine, or this process.

    Raises SettingsError where Dask is asked for and not there.
    """
    from streams.backfill.tasks import Inline

    count = workers or os.cpu_count() or 1
    if dask:
        with _dask(dask) as executor:
            yield executor
    elif count == 1:
        yield Inline()
    else:
        # A fork of a process with threads may hang: each worker starts anew.
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as executor:
            yield executor


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError("--dask: the package `distributed` is not installed; pip install distributed") from None
    try:
        client = Client(address, timeout=10)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise SettingsError(f"--dask {address}: no scheduler answers ({error})") from None
    with client, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        yield client.get_executor()  # type: ignore[no-untyped-call]
