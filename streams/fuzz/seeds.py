"""Inputs to begin with: what was found before, frames of the built-in market and of captures."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from schemas.rules import SECOND_NS
from streams.formats import formats
from streams.sources import RawMessage
from streams.sources.captures import find_captures
from streams.sources.market import market

FOUND = Path(__file__).parent / "corpus"
"""Small examples of everything, and what broke a reader once, by reader."""
_START_NS = 1_767_225_600 * SECOND_NS
_MOST_MESSAGES = 5_000
"""Of each capture."""
_MOST_SEEDS = 400
_MOST_BYTES = 16 << 10


def found_before(reader: str) -> list[bytes]:
    """Return the kept inputs of a reader."""
    return [path.read_bytes() for path in sorted((FOUND / reader).glob("*"))]


def write_seeds(reader: str, captures: Path, folder: Path) -> int:
    """Write the seeds of a reader into a folder; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [*found_before(reader), *(_frames(reader, captures) if reader in formats() else [])]
    for place, value in enumerate(seeds):
        (folder / f"seed-{place:04d}").write_bytes(value)
    return len(seeds)


def _frames(reader: str, captures: Path) -> list[bytes]:
    """Return frames of a format: of each source and beginning the first few, for kinds differ in their first bytes."""
    kinds: dict[tuple[str, bytes, int], list[bytes]] = defaultdict(list)
    for message in _messages(reader, captures):
        if message.format == reader and len(message.value) <= _MOST_BYTES:
            kind = kinds[message.source, message.value[:24], len(message.value).bit_length()]
            if len(kind) < 2:  # noqa: PLR2004 - one and another
                kind.append(message.value)
    return [value for kind in kinds.values() for value in kind][:_MOST_SEEDS]


def _messages(reader: str, captures: Path) -> Iterable[RawMessage]:
    yield from islice(market(1, _START_NS, 5), _MOST_MESSAGES)
    venue = reader.removesuffix("-websocket").replace("-", "_").upper()
    for path in sorted(captures.rglob(f"{venue}.jsonl.zst")) if captures.is_dir() else []:
        yield from islice(find_captures([path]).messages(), _MOST_MESSAGES)
