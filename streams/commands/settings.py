"""`foreshock settings`: what is in force in this environment, and why."""

import os

from rich.table import Column, Table

from streams.commands.screen import console
from streams.settings import Settings, describe, in_force


def settings() -> None:
    """List every setting: the value in force, where it is from, its default, and what it means.

    A variable FORESHOCK_* that is no setting, or a bad value, is an error.
    """
    known = {row[0] for row in describe()}
    found = Settings.from_environment({name: value for name, value in os.environ.items() if name in known})
    table = Table(
        Column("variable", no_wrap=True),
        Column("value", overflow="fold"),
        "from",
        Column("default", overflow="fold"),
        "meaning",
        title="Settings, read once from the environment",
    )
    for name, default, unit, meaning in describe():
        value, source = in_force(found, name, os.environ)
        table.add_row(name, value, source, default, f"{meaning} ({unit})" if unit else meaning)
    console().print(table)
    Settings.from_environment()
