"""`foreshock backfill`: rows without Kafka's help."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.settings import Settings


def backfill(
    paths: Annotated[list[Path], typer.Argument(help="Capture files or folders of them.", metavar="PATH...")],
    tiles: Annotated[Path | None, typer.Option(help="Parquet file for the tiles.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Parquet file for the feature rows.")] = None,
) -> None:
    """Compute tiles and rows from captures by the same pure code, without Kafka."""
    from streams.backfill import backfill_captures

    settings = Settings.from_environment()
    with Console(stderr=True).status("reading captures") as status:
        done = backfill_captures(paths, settings.rules, tiles=tiles, rows=rows, progress=status.update)
    for line in done.lines():
        typer.echo(line)
