"""`foreshock dead-letter`: what could not be read, why, and all of it again after a fix."""

import re
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from schemas.errors import SettingsError
from streams.commands.checks import require_broker
from streams.commands.screen import console
from streams.commands.store import time_ns
from streams.dead_letters.reading import Chosen, Marks, letter_at, readable, surveyed
from streams.dead_letters.replaying import replay as send
from streams.dead_letters.replaying import sent_again
from streams.following import Followed
from streams.settings import Settings

app = typer.Typer(help="Records that could not be read: list, show, send again.", no_args_is_help=True)

_Reason = Annotated[str, typer.Option(help="Only those with this reason: decode, header, format, topic, empty.")]
_Stage = Annotated[str, typer.Option(help="Only those of this stage.")]
_Topic = Annotated[str, typer.Option(help="Only records of this topic.")]
_Since = Annotated[
    str, typer.Option(help="Only letters written since: 2026-01-01T12:00:00 (UTC), or 90s, 15m, 2h, 3d ago.")
]
_To = Annotated[str, typer.Option("--to", help="Only letters written before: as --since.")]
_AGO = re.compile(r"(\d+)([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LINE_BYTES = 16
_MOST_TEXT = 4_096


@app.command("list")
def list_letters(
    reason: _Reason = "",
    stage: _Stage = "",
    topic: _Topic = "",
    since: _Since = "",
    to: _To = "",
    limit: Annotated[int, typer.Option(help="The last N of them; 0: all.", min=0)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, all of them.")] = False,
) -> None:
    """List dead letters: reason, stage, where the record stood, when, its first bytes."""
    settings = Settings.from_environment()
    require_broker(settings)
    chosen = _chosen(reason, stage, topic, since, to)
    count, marks = 0, Marks()
    last: deque[tuple[int, dict[str, object]]] = deque(maxlen=None if as_json or not limit else limit)
    with Console(stderr=True).status("reading"):
        for letter, known in surveyed(settings):
            marks = known
            if letter is not None and chosen.has(letter):
                count += 1
                last.append((letter.place.offset, letter.summary()))
        sent = sent_again(settings, marks)
    rows = [summary | {"replayed": offset in sent} for offset, summary in last]
    if as_json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    console().print(_table(rows))
    more = f", the last {len(rows)} are shown (--limit)" if len(rows) < count else ""
    typer.echo(f"{count} dead letters{more}")


def _table(rows: list[dict[str, object]]) -> Table:
    table = Table(
        Column("place", no_wrap=True), "time (UTC)", "reason", "stage", "record", "what is wrong", "first bytes",
        "again", title="Dead letters",
    )  # fmt: skip
    for row in rows:
        place = str(row["place"]).rpartition("@")[2]
        names = ("reason", "stage", "origin", "message", "first_bytes")
        texts = (escape(readable(str(row[name]).encode(), _MOST_TEXT)) for name in names)
        table.add_row(place, _clock(row["time_ms"]), *texts, "yes" if row["replayed"] else "")
    return table


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="Where the dead letter stands: dead-letter.v1[0]@17, or 17.")],
    most: Annotated[int, typer.Option("--bytes", help="Bytes of the value that are shown.", min=0)] = 1024,
) -> None:
    """Show all of one dead letter: the reason, the headers, the value in hex and text."""
    settings = Settings.from_environment()
    require_broker(settings)
    letter = letter_at(settings, place)
    facts = {
        "dead letter": str(letter.place),
        "written": _clock(letter.time_ms),
        "record": str(letter.origin),
        "stage": letter.stage,
        "reason": letter.reason,
        "message": readable(letter.message.encode(), _MOST_TEXT),
        "app version": letter.app_version,
        "attempts": str(letter.attempts),
        "key": readable(letter.key, 256) if letter.key is not None else "none",
        **{f"header {readable(name.encode(), 64)}": readable(value, 256) for name, value in letter.headers},
    }
    for name, text in facts.items():
        typer.echo(f"{name:>24}: {text}")
    value = letter.value or b""
    typer.echo(f"{'value':>24}: {'none' if letter.value is None else f'{len(value)} bytes'}")
    for line in hex_lines(value[:most]):
        typer.echo(line)
    if len(value) > most:
        typer.echo(f"... {len(value) - most} bytes more; --bytes {len(value)} shows them")


def hex_lines(value: bytes) -> list[str]:
    r"""Return bytes as hex and text, 16 a line.

    >>> hex_lines(b"ab\x00")
    ['00000000  61 62 00                                         ab.']
    """
    lines = []
    for start in range(0, len(value), _LINE_BYTES):
        part = value[start : start + _LINE_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004  # printable ASCII
        lines.append(f"{start:08x}  {part.hex(' '):<47}  {text}")
    return lines


@app.command()
def replay(
    reason: _Reason = "",
    stage: _Stage = "",
    topic: _Topic = "",
    since: _Since = "",
    to: _To = "",
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.", min=0)] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was sent again before: it comes twice then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
) -> None:
    """Send dead letters again, after a fix: to the topic and partition of the record, each once.

    What of a raw record's tile is closed by then is late: `foreshock backfill --topics --with-late` makes the rows
    of a run in which nothing was damaged.
    """
    settings = Settings.from_environment()
    require_broker(settings)
    chosen = _chosen(reason, stage, topic, since, to)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Followed(*columns) as screen:
        task = screen.add_task("replay", total=None)
        done = send(
            settings,
            chosen,
            limit=limit or None,
            again=again,
            dry_run=dry_run,
            progress=lambda sent, total: screen.update(task, completed=sent, total=total),
        )
    count = sum(done.sent.values())
    typer.echo(f"{'would send' if dry_run else 'sent'} {count} of {done.chosen} dead letters again")
    for name, letters in sorted(done.sent.items()):
        typer.echo(f"  {letters:>8}  {name}")
    if done.again:
        typer.echo(f"  {done.again:>8}  left out: sent again before (--again sends them once more)")
    if done.twice:
        typer.echo(f"  {done.twice:>8}  left out: a second letter of the same record")
    if done.unreadable:
        typer.echo(f"  {done.unreadable:>8}  left out: this release cannot read them either")
    if done.inner:
        typer.echo(f"{', '.join(done.inner)}: stages take what is old there for a repeat; `foreshock backfill "
                   "--canonical` reads it in its place")  # fmt: skip


def _chosen(reason: str, stage: str, topic: str, since: str, to: str) -> Chosen:
    now = time.time_ns()
    return Chosen(
        reason=reason,
        stage=stage,
        topic=topic,
        since_ms=moment_ms("--since", since, now) if since else None,
        until_ms=moment_ms("--to", to, now) if to else None,
    )


def moment_ms(option: str, text: str, now_ns: int) -> int:
    """Return a moment in milliseconds; raises SettingsError.

    >>> moment_ms("--since", "2m", 600_000_000_000), moment_ms("--since", "1970-01-01T00:01:00", 0)
    (480000, 60000)
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return now_ns // 1_000_000 - int(ago[1]) * _UNIT_SECONDS[ago[2]] * 1_000
    try:
        return time_ns(option, text) // 1_000_000
    except SettingsError:
        raise SettingsError(f"{option}: expected 2026-01-01T12:00:00, or 15m, 2h, 3d ago, got {text!r}") from None


def _clock(time_ms: object) -> str:
    return datetime.fromtimestamp(float(str(time_ms)) / 1e3, UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
