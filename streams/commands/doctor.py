"""`foreshock doctor`: what is wrong with a set-up, and what to do."""

import os
import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from streams.commands.checks import require_broker
from streams.commands.screen import console
from streams.settings import Settings
from streams.topic_setup import repair

_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="First put right what loses nothing: missing topics, settings of topics.")
    ] = False,
) -> None:
    """Check settings, broker, topics, groups, sources, forecasts, Triton, bundles, clocks and disks.

    Exit status 1 on an error; a warning is none. It changes nothing without --fix, but for a topic of its own
    that it makes and deletes to compare clocks.
    """
    from streams.doctor import diagnose, is_healthy

    if fix:
        settings = Settings.from_environment()
        require_broker(settings)
        for line in repair(settings):  # on stderr, beside what --json writes
            typer.echo(line, err=True)
    with Console(stderr=True).status("") as status:
        findings = list(diagnose(os.environ, lambda name: status.update(f"checking {name}")))
    if as_json:
        for finding in findings:
            sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
    else:
        table = Table(Column("", no_wrap=True), "check", "subject", "what", "what to do", title="Doctor")
        for finding in findings:
            style = _STYLES[finding.severity]
            texts = (finding.check, finding.subject, finding.what, finding.fix)
            table.add_row(f"[{style}]{finding.severity}[/]", *map(escape, texts))
        console().print(table)
    if not is_healthy(findings):
        raise typer.Exit(1)
