"""The command line: `foreshock --help`."""

import sys

import typer
from rich.console import Console

from schemas.errors import ForeshockError
from streams.commands import (
    backfill,
    bench,
    books,
    capacity,
    chaos,
    dead_letter,
    demo,
    doctor,
    evaluate,
    explain,
    features,
    models,
    parity,
    pipeline,
    rebuild,
    schemas,
    search,
    settings,
    stack,
    store,
    topics,
    view,
)
from streams.fuzz.command import fuzz

app = typer.Typer(
    name="foreshock",
    help="Calibrated, explained, reproducible crypto volatility forecasts on Kafka, Faust and Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(demo.demo)
app.command()(stack.up)
app.command()(stack.down)
app.command()(pipeline.run)
app.command()(pipeline.replay)
app.command()(pipeline.ingest)
app.command()(pipeline.featurize)
app.command()(pipeline.infer)
app.command()(pipeline.score)
app.command()(backfill.backfill)
app.command()(books.books)
app.command()(parity.parity)
app.command()(models.train)
app.command()(evaluate.evaluate)
app.command()(explain.explain)
app.command()(rebuild.rebuild)
app.command()(search.search)
app.command()(settings.settings)
app.command()(doctor.doctor)
app.command()(capacity.capacity)
app.command()(view.view)
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.add_typer(features.app, name="features")
app.add_typer(models.app, name="model")
app.add_typer(dead_letter.app, name="dead-letter")
app.add_typer(bench.app, name="bench")
app.add_typer(store.app, name="store")
chaos.app.command()(fuzz)
app.add_typer(chaos.app, name="chaos")


def main() -> None:
    """Run the command line; an error of ours is one line and exit status 1."""
    try:
        app()
    except ForeshockError as error:
        Console(stderr=True).print(f"foreshock: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
