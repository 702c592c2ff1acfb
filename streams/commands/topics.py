"""`foreshock topics`: create them, look at them, read them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.rules import DAY_NS
from schemas.topics import topics
from streams.kafka import create_topics
from streams.settings import Settings

DAY_MS = DAY_NS // 1_000_000

app = typer.Typer(help="Topics: create, describe, read.", no_args_is_help=True)


@app.command()
def apply() -> None:
    """Create the declared topics that are missing."""
    created = create_topics(Settings.from_environment())
    typer.echo(f"created {len(created)} topics" if created else "all topics exist")
    for name in created:
        typer.echo(f"  {name}")


@app.command()
def describe() -> None:
    """Print every declared topic: what it holds, key, partitions, how long it is kept."""
    table = Table("topic", "meaning", "key", "partitions", "kept", title="Topics")
    for topic in topics(Settings.from_environment().rules).values():
        days = f"{topic.retention_ms / DAY_MS:g} days" if topic.retention_ms >= 0 else "for ever"
        kept = "last of each key" if topic.compacted else days
        table.add_row(topic.name, topic.meaning, topic.key, str(topic.partitions), kept)
    Console().print(table)


@app.command()
def read(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    file_format: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
) -> None:
    """Decode all that a topic holds now into a file."""
    from streams.topics import read_to_file

    count = read_to_file(Settings.from_environment(), topic, out, file_format)
    typer.echo(f"{count} records of {topic} in {out}")
