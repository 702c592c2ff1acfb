"""`foreshock train` and `foreshock model`: bundles and how they are made."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.triton import REPOSITORY

app = typer.Typer(help="Models: list.", no_args_is_help=True)


@app.command(name="list")
def list_models() -> None:
    """Print the bundles that Triton is given."""
    from triton_models.bundle import read_bundle

    table = Table("model", "version", "profile", "features", "hash", title="Bundles")
    for folder in sorted(REPOSITORY.glob("*/[0-9]*")):
        bundle = read_bundle(folder)
        table.add_row(bundle.name, bundle.version, bundle.profile, str(len(bundle.features)), bundle.hash[:12])
    Console().print(table)


def train(
    profile: Annotated[str, typer.Option(help="ticks: the built-in market; bars: 5-minute bar files.")] = "bars",
    data: Annotated[Path | None, typer.Option(help="Folder of bar files; default: FORESHOCK_DATA/ohlcv_mit.")] = None,
    out: Annotated[Path, typer.Option(help="Model repository to write into.")] = REPOSITORY,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches: the same seed, the same bytes.")] = 0,
) -> None:
    """Train log-HAR, the LSTM and the Performer, and write their bundles."""
    from streams.training import train_profile

    os.environ.setdefault("OMP_NUM_THREADS", "2")
    train_profile(profile, data, out, seed, Console(stderr=True))
