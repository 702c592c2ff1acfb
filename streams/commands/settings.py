"""`foreshock settings`: what is in force in this environment, and why."""

import os
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from streams.commands.screen import console
from streams.settings import Settings, describe, in_force

_TABLE_COLUMNS = 160
"""A narrower screen gets two lines a setting: a table would cut each into words."""

_Row = tuple[str, str, str, str, str]
"""Variable, value in force, where it is from, default, meaning with the unit."""


def settings() -> None:
    """List every setting: the value in force, where it is from, its default, and what it means.

    A variable FORESHOCK_* that is no setting, or a bad value, is an error.
    """
    known = {row[0] for row in describe()}
    found = Settings.from_environment({name: value for name, value in os.environ.items() if name in known})
    rows = [
        (name, *in_force(found, name, os.environ), default, f"{meaning} ({unit})" if unit else meaning)
        for name, default, unit, meaning in describe()
    ]
    screen = console()
    (_print_table if screen.width >= _TABLE_COLUMNS else _print_lines)(screen, rows)
    Settings.from_environment()


def _print_table(screen: Console, rows: Sequence[_Row]) -> None:
    table = Table(
        Column("variable", no_wrap=True),
        Column("value", overflow="fold"),
        Column("from", overflow="fold"),
        Column("default", overflow="fold"),
        "meaning",
        title="Settings, read once from the environment",
    )
    for row in rows:
        table.add_row(*row)
    screen.print(table)


def _print_lines(screen: Console, rows: Sequence[_Row]) -> None:
    for name, value, source, default, meaning in rows:
        why = source if source == "default" else f"{source}; default {default or 'empty'}"
        screen.print(f"{name} = {value or 'empty'}  [{why}]", markup=False, highlight=False)
        screen.print(f"    {meaning}", markup=False, highlight=False)
