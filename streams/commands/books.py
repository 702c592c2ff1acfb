"""`foreshock books`: the order books of captures, rebuilt and checked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from streams.ingest.rebuild import Account, Rebuilt, rebuild
from streams.settings import Settings
from streams.sources.captures import find_captures

_TAKEN = ("snapshots", "changes", "repeats", "waiting", "not_used")
_WRONG = ("gaps", "resets", "checksums", "crossed", "ranges")


def books(
    paths: Annotated[list[Path], typer.Argument(help="Capture files or folders of them.", metavar="PATH...")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Rebuild all order books of captures; compare their best prices with the tickers of the same updates.

    Exit status 1 where any differs.
    """
    captures = find_captures(paths)
    with Console(stderr=True).status("rebuilding books"):
        rebuilt = rebuild(captures.messages(), Settings.from_environment().rules)
    for line in [msgspec.json.encode(rebuilt).decode()] if json else _lines(rebuilt):
        typer.echo(line)
    if any(account.different for account in rebuilt.accounts):
        raise typer.Exit(1)


def _lines(rebuilt: Rebuilt) -> Iterator[str]:
    """Yield the account of each book in a line for people, and of all in the last."""
    width = max((len(account.instrument_id) for account in rebuilt.accounts), default=0)
    for account in rebuilt.accounts:
        yield f"{account.instrument_id:{width}} {account.standing:7} {_said([account])}"
    yield f"{f'{len(rebuilt.accounts)} books':{width}} {'':7} {_said(rebuilt.accounts)}"
    for venue, count in sorted(rebuilt.unreadable.items()):
        yield f"{venue}: {count:,} frames could not be read"


def _said(accounts: Sequence[Account]) -> str:
    def total(name: str) -> int:
        return sum(getattr(account, name) for account in accounts)

    taken = ", ".join(f"{total(name):,} {name.replace('_', ' ')}" for name in _TAKEN if total(name))
    wrong = ", ".join(f"{total(name):,} {name}" for name in _WRONG if total(name))
    compared = f"{total('equal'):,} of {total('comparable'):,} tickers equal" if total("comparable") else "no tickers"
    outcome = f"{taken or 'none taken'}; {wrong or '0 gaps'}; {total('depths'):,} Depth; {compared}"
    return f"{total('frames'):,} frames: {outcome}"
