"""`foreshock train` and `foreshock model`: bundles and how they are made."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.triton import REPOSITORY
from streams.commands.screen import console
from streams.settings import Settings

app = typer.Typer(help="Models: list.", no_args_is_help=True)


@app.command(name="list")
def list_models() -> None:
    """Print the bundles that Triton is given."""
    from triton_models.bundle import read
    from triton_models.export import versions

    table = Table("model", "version", "profile", "features", "hash", title="Bundles")
    for model in sorted(path.parent for path in REPOSITORY.glob("*/config.pbtxt")):
        for version in versions(model):
            bundle = read(version)
            spec = bundle.spec
            table.add_row(spec.name, spec.version, spec.profile, str(len(spec.features)), bundle.hash[:12])
    console().print(table)


def train(
    profile: Annotated[str, typer.Option(help="ticks: the built-in market; bars: 5-minute bar files.")] = "bars",
    data: Annotated[Path | None, typer.Option(help="Folder of bar files; default: FORESHOCK_DATA/ohlcv_mit.")] = None,
    out: Annotated[Path, typer.Option(help="Model repository to write into.")] = REPOSITORY,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches: the same seed, the same bytes.")] = 0,
) -> None:
    """Train log-HAR, the LSTM and the Performer, and write their bundles."""
    from streams.training import train_profile

    train_profile(profile, data or Settings.from_environment().data / "ohlcv_mit", out, seed, Console(stderr=True))
