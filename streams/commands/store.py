"""`foreshock store ...`: the offline store's writer, its upkeep, and training sets."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import SettingsError
from schemas.rules import SECOND_NS
from streams.commands.checks import require_broker, require_writable
from streams.commands.screen import console
from streams.settings import Settings

if TYPE_CHECKING:
    from featurestore.store import Store

app = typer.Typer(help="The offline store: write it, compact it, export training sets.", no_args_is_help=True)

_List = Annotated[str, typer.Option(help="Names with commas between them.")]


@app.command()
def run() -> None:
    """Write rows, forecasts, scores, late and other events from topics to Delta tables, each once, until stopped."""
    from streams.store import run_store

    run_store(Settings.from_environment())


@app.command()
def show() -> None:
    """List the tables: records, files, version and columns."""
    from featurestore.store.tables import TABLES

    opened = _store()
    table = Table("table", "records", "files", "version", "columns", "what", title=opened.url)
    for spec in TABLES.values():
        there = opened.open(spec.name)
        if there is not None:
            counts = (there.count(), len(there.file_uris()), there.version(), len(there.schema().fields))
            table.add_row(spec.name, *(f"{count:,}" for count in counts), spec.meaning)
    if not table.row_count:
        typer.echo(
            f"{opened.url}: nothing stored yet; `foreshock store run` writes it (FORESHOCK_STORE_URL says where)"
        )
        return
    console().print(table)


@app.command()
def compact(
    kept_hours: Annotated[int, typer.Option(help="Files that no version needs for so long are deleted.", min=0)] = 168,
) -> None:
    """Make few large files of many small ones, and delete those that are no longer needed."""
    from featurestore.store.upkeep import compact as compact_all

    for done in compact_all(_store(), kept_hours=kept_hours):
        typer.echo(f"{done.table}: {done.files_before} files to {done.files_after}, {done.files_deleted} deleted")


@app.command()
def tiles() -> None:
    """Fill in the tiles of what the canonical topics hold now."""
    from streams.store.tiles import store_tiles_of_topics

    settings = Settings.from_environment()
    require_broker(settings)
    with Console(stderr=True).status("computing tiles"):
        done = store_tiles_of_topics(settings, _store())
    typer.echo(f"{done.rows:,} tiles written, {done.repeats:,} were there")


@app.command()
def labels(
    path: Annotated[
        Path | None, typer.Argument(help="CSV with address, label, known_time; none: those that the features use.")
    ] = None,
) -> None:
    """Add labels of addresses, each known from its own time on."""
    from featurestore.store.labels import SOURCE, feature_labels, read_labels
    from featurestore.store.tables import LABELS
    from featurestore.store.writing import TableWriter

    done = TableWriter(_store(), LABELS).add(feature_labels() if path is None else read_labels(path), SOURCE)
    typer.echo(f"{done.rows:,} labels added, {done.repeats:,} were there")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Arrow IPC file to write; its manifest is OUT.manifest.json.")],
    features: _List,
    start: Annotated[str, typer.Option("--from", help="First border: ISO 8601 (UTC), or nanoseconds.")],
    to: Annotated[str, typer.Option(help="End, exclusive: ISO 8601 (UTC), or nanoseconds.")],
    instruments: Annotated[str, typer.Option(help="Names with commas between them; none: all.")] = "",
    horizons: Annotated[str, typer.Option(help="Targets to add: 1m, 5m, 1h, 1d with commas.")] = "",
    as_known_at: Annotated[str, typer.Option(help="Rows as corrected by then; none: as they were first.")] = "",
) -> None:
    """Write a training set, and the manifest that gives it back."""
    from featurestore.store.training import ipc_bytes, training_set

    require_writable(out=out)
    made, manifest = training_set(
        _store(),
        _names(instruments),
        _names(features),
        time_ns("--from", start),
        time_ns("--to", to),
        _names(horizons),
        as_known_at=time_ns("--as-known-at", as_known_at) if as_known_at else None,
    )
    out.write_bytes(ipc_bytes(made))
    _manifest_of(out).write_bytes(manifest.encode())
    typer.echo(f"{len(made):,} rows, sha256 {manifest.sha256}, manifest {_manifest_of(out)}")


@app.command()
def rebuild(
    manifest: Annotated[Path, typer.Argument(help="Manifest that `store export` wrote.")],
    out: Annotated[Path | None, typer.Option(help="Arrow IPC file to write; none: only check the hash.")] = None,
) -> None:
    """Make a training set again from the tables, and hold its bytes against the manifest."""
    from featurestore.store.training import Manifest, ipc_bytes
    from featurestore.store.training import rebuild as make_again

    if not manifest.is_file():
        raise SettingsError(f"{manifest}: there is no such file; `foreshock store export` writes one")
    require_writable(out=out)
    made = make_again(_store(), Manifest.decode(manifest.read_bytes()))
    if out is not None:
        out.write_bytes(ipc_bytes(made))
    typer.echo(f"{len(made):,} rows, the same bytes")


def time_ns(option: str, text: str) -> int:
    """Return a time in nanoseconds; raises SettingsError.

    >>> time_ns("--from", "2026-01-01")
    1767225600000000000
    """
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option}: expected 2026-01-01T12:00:00 or nanoseconds, got {text!r}") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - datetime.fromtimestamp(0, UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * (SECOND_NS // 1_000_000)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _manifest_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.manifest.json")


def _store() -> "Store":
    # Its readers take a second to import, which every process of every stage would pay.
    from featurestore.store import Store

    return Store(Settings.from_environment().store_url, os.environ)
