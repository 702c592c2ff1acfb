"""`foreshock topics`: create them, look at them, read them."""

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from schemas.access import ACCESS
from schemas.errors import SettingsError, StateError
from schemas.rules import DAY_NS
from schemas.topics import Topic, topics
from streams.allowed import allow
from streams.commands.checks import require_broker, require_writable
from streams.commands.screen import console
from streams.kafka import create_topics
from streams.settings import Settings
from streams.topic_setup import repair as mend
from streams.topic_setup import topic_problems

DAY_MS = DAY_NS // 1_000_000

app = typer.Typer(help="Topics: create, describe, read.", no_args_is_help=True)


@app.command()
def apply(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Also put right the settings of those that are there; makes empty ones anew."),
    ] = False,
) -> None:
    """Create the declared topics that are missing."""
    settings = Settings.from_environment()
    require_broker(settings)
    if repair:
        done = mend(settings)
        typer.echo("\n".join(done) if done else "all topics are as declared")
        left = topic_problems(settings)
        if left:
            raise StateError(str(left[0]) + (f" (and {len(left) - 1} more: foreshock doctor)" if left[1:] else ""))
        return
    created = create_topics(settings)
    typer.echo(f"created {len(created)} topics" if created else "all topics exist")
    for name in created:
        typer.echo(f"  {name}")


@app.command("allow")
def allow_users() -> None:
    """Set the broker's rules of who may read and write which topics; as an administrator of the broker."""
    settings = Settings.from_environment()
    require_broker(settings)
    typer.echo(f"{allow(settings)} rules of {len(ACCESS)} users: {', '.join(ACCESS)}")


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="Name of one topic, to see all that is declared of it; none: all.")] = "",
) -> None:
    """Print declared topics: what they hold, key, partitions, how long they are kept; asks no broker."""
    declared = topics(Settings.from_environment().rules)
    if name:
        for label, value in _facts(_named(declared, name)).items():
            typer.echo(f"{label:>10}: {value}")
        return
    table = Table(Column("topic", no_wrap=True), "meaning", "key", "partitions", "kept", title="Topics")
    for topic in declared.values():
        facts = _facts(topic)
        table.add_row(*(facts[label] for label in ("topic", "meaning", "key", "partitions", "kept")))
    console().print(table)


def _named(declared: dict[str, Topic], name: str) -> Topic:
    """Return a topic by its name, with its version or without; raises SettingsError."""
    found = declared.get(name) or declared.get(f"{name}.v1")
    if found is None:
        near = get_close_matches(name, declared, n=3, cutoff=0.4)
        hint = f"there is {' or '.join(near)}; " if near else ""
        raise SettingsError(f"there is no topic {name!r}; {hint}`foreshock topics describe` lists them")
    return found


def _facts(topic: Topic) -> dict[str, str]:
    days = f"{topic.retention_ms / DAY_MS:g} days" if topic.retention_ms >= 0 else "for ever"
    return {
        "topic": topic.name,
        "meaning": topic.meaning,
        "key": topic.key,
        "content": topic.content,
        "records": ", ".join(topic.records),
        "partitions": str(topic.partitions),
        "kept": "last of each key" if topic.compacted else days,
        "largest": f"{topic.max_message_bytes >> 20} MiB a message",
    }


@app.command()
def read(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    out: Annotated[Path | None, typer.Option(help="File to write. Default: standard output, as JSON lines.")] = None,
    file_format: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    last: Annotated[int, typer.Option(help="About so many records of each partition alone; 0: all.", min=0)] = 0,
) -> None:
    """Decode what a topic holds now."""
    from streams.topics import read_to_file, read_to_stream

    settings = Settings.from_environment()
    require_writable(out=out)
    require_broker(settings)
    if out is None:
        if file_format != "jsonl":
            raise SettingsError(f"--format: expected jsonl without --out, got {file_format!r}")
        read_to_stream(settings, topic, sys.stdout.buffer, last=last)
    else:
        count = read_to_file(settings, topic, out, file_format, last=last)
        typer.echo(f"{count} records of {topic} in {out}")
