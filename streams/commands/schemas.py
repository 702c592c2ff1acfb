"""`foreshock schemas`: check them against what was released, freeze a release, tell a registry."""

from typing import Annotated

import typer
from rich.table import Column, Table

from deploy.cache import DEPLOY
from schemas.errors import StateError
from schemas.released import broken, freeze, released, subjects
from streams.commands.screen import console
from streams.settings import Settings

RELEASED = DEPLOY / "docs" / "schemas" / "released"

app = typer.Typer(help="Schemas of records: compatible with every release, and in a registry.", no_args_is_help=True)


@app.command()
def check() -> None:
    """Compare each record with every release of it; exit 1 on a change that its readers could not bear."""
    rules, history = Settings.from_environment().rules, released(RELEASED)
    found = list(broken(rules, history))
    for line in found:
        typer.echo(line)
    if found:
        raise StateError(
            f"{len(found)} forbidden changes. Keep fields as they are and add new ones with a default, "
            "or write a new topic (v2) beside the old one."
        )
    typer.echo(f"{len(subjects(rules))} subjects fit releases {', '.join(history) or 'none'}")


@app.command("freeze")
def freeze_release() -> None:
    """Keep the schemas of today as the next release: what every later change is held against."""
    typer.echo(f"written: {freeze(Settings.from_environment().rules, RELEASED)}; commit it")


@app.command("list")
def list_subjects() -> None:
    """Print the subjects: topic, record, and what their changes must keep."""
    table = Table(Column("subject", no_wrap=True), "record", "changes must keep", title="Subjects")
    for subject in subjects(Settings.from_environment().rules).values():
        table.add_row(subject.name, subject.record, subject.level)
    console().print(table)


@app.command()
def register(
    url: Annotated[
        str, typer.Option(help="Address of the registry's Confluent API; Apicurio's ends in /apis/ccompat/v7.")
    ],
) -> None:
    """Register every release and the schemas of today, and set what their changes must keep."""
    from streams.registry import register_all

    for line in register_all(url, Settings.from_environment().rules, released(RELEASED)):
        typer.echo(line)
