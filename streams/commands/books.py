"""`foreshock books`: the order books of captures, rebuilt and checked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from streams.settings import Settings

if TYPE_CHECKING:
    from streams.ingest.rebuild import Account, Rebuilt

_TAKEN = ("snapshots", "changes", "repeats", "waiting", "not_used")
_WRONG = ("gaps", "resets", "checksums", "crossed", "ranges")


def books(
    paths: Annotated[list[Path], typer.Argument(help="Capture files or folders of them.", metavar="PATH...")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Rebuild all order books of captures; compare their best prices with the tickers of the same updates.

    Exit status 1 where any differs. A line for each book, and one for all; --json has the same words as names.

    What a book was after its last frame:

    known    a good snapshot came, and whatever followed joined it
    lost     it was known, something was wrong, and no snapshot came since
    unknown  no good snapshot ever came: nothing is said of it

    Each of its frames, a snapshot or a change, counts once. With nothing wrong:

    snapshots  taken as the whole book
    changes    joined a known book
    repeats    said what the book held already
    waiting    came while no book was known, kept for a snapshot to join
    not used   snapshots older than what waits, or with less than the book

    Each of these ended the book, if it was known, until the next good snapshot:

    gaps       changes are missing before it, by the venue's numbers
    resets     its number is lower, its time later: the venue counts anew
    checksums  the levels do not have the venue's checksum
    crossed    the best bid is not below the best ask
    ranges     prices moved to where the snapshot did not reach

    What was told and compared:

    Depth          events of the best levels; markers of lost books not counted
    tickers equal  best quotes of the venue with the book's best prices and
                   sizes, of all that bear the number of an update of the book
                   (Binance's alone do)
    """
    from streams.ingest.rebuild import rebuild
    from streams.sources.captures import find_captures

    captures = find_captures(paths)
    with Console(stderr=True).status("rebuilding books"):
        rebuilt = rebuild(captures.messages(), Settings.from_environment().rules)
    for line in [msgspec.json.encode(rebuilt).decode()] if json else _lines(rebuilt):
        typer.echo(line)
    if any(account.different for account in rebuilt.accounts):
        raise typer.Exit(1)


def _lines(rebuilt: "Rebuilt") -> Iterator[str]:
    """Yield the account of each book in a line for people, and of all in the last."""
    width = max((len(account.instrument_id) for account in rebuilt.accounts), default=0)
    for account in rebuilt.accounts:
        yield f"{account.instrument_id:{width}} {account.standing:7} {_said([account])}"
    yield f"{f'{len(rebuilt.accounts)} books':{width}} {'':7} {_said(rebuilt.accounts)}"
    for venue, count in sorted(rebuilt.unreadable.items()):
        yield f"{venue}: {count:,} frames could not be read"


def _said(accounts: "Sequence[Account]") -> str:
    def total(name: str) -> int:
        return sum(getattr(account, name) for account in accounts)

    taken = ", ".join(f"{total(name):,} {name.replace('_', ' ')}" for name in _TAKEN if total(name))
    wrong = ", ".join(f"{total(name):,} {name}" for name in _WRONG if total(name))
    compared = f"{total('equal'):,} of {total('comparable'):,} tickers equal" if total("comparable") else "no tickers"
    outcome = f"{taken or 'none taken'}; {wrong or '0 gaps'}; {total('depths'):,} Depth; {compared}"
    return f"{total('frames'):,} frames: {outcome}"
