"""The rows of receipts recomputed from the canonical log, through tiles: the backfill's engines, compared by bytes."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from featurestore.backfill import Backfill
from featurestore.catalogue import Catalogue
from schemas.errors import DecodeError
from schemas.rows import Rows
from schemas.topics import EVENT_TOPICS, FEATURE_ROW
from streams.announcements import announcements
from streams.backfill.topics import canonical_messages
from streams.parity.checker import difference
from streams.reading import LogReader
from streams.settings import Settings

_MESSAGES_AT_ONCE = 1_000

_Left = dict[tuple[int, str], dict[int, bytes]]
"""By partition and row id: the hashes of messages by offset."""


class Apart(NamedTuple):
    """A row message that is not as recomputed, or that the canonical log does not make at all."""

    partition: int
    offset: int
    problem: str


class Wanted:
    """Row messages that the canonical log is to make again."""

    def __init__(self) -> None:
        self._offsets: _Left = defaultdict(dict)
        self._last_ns = -1

    def __len__(self) -> int:
        return sum(map(len, self._offsets.values()))

    def add(self, partition: int, offset: int, rows: Rows, value: bytes) -> None:
        """Want the bytes of one message; a repeat of a restart must have them too."""
        self._offsets[partition, rows.header.row_id][offset] = hashlib.sha256(value).digest()
        self._last_ns = max(self._last_ns, rows.header.row_time_ns)

    def compare(
        self, settings: Settings, reader: LogReader, said: Callable[[int], None] = lambda _: None
    ) -> list[Apart]:
        """Read the canonical log from its beginning until all is made; return what is not as on the topic.

        `said` is told how many messages are compared so far.
        """
        apart: list[Apart] = []
        left = dict(self._offsets)
        begins = [f"{t}[{p}] at {low}" for t, p, low in _beginnings(settings, reader) if low]
        for partition, row_id, value in self._made(settings, left):
            offsets = left.pop((partition, row_id), {})
            digest = hashlib.sha256(value).digest()
            apart += [
                Apart(partition, offset, self._problem(reader, partition, offset, value))
                for offset, held in offsets.items()
                if held != digest
            ]
            said(len(self) - sum(map(len, left.values())))
        why = f"; the log has forgotten its beginning ({begins[0]})" if begins else ""
        gone = f"the canonical log makes no such row{why}"
        apart += [Apart(partition, offset, gone) for (partition, _), held in left.items() for offset in held]
        return sorted(apart)

    def _made(
        self, settings: Settings, left: dict[tuple[int, str], dict[int, bytes]]
    ) -> Iterator[tuple[int, str, bytes]]:
        """Yield partition, id and bytes of the rows that the canonical log makes, as long as some are left."""
        engines = Backfill(settings.rules, Catalogue.discover(settings.rules), announcements(settings))
        for engine in engines.engines:
            engine.allow(self._last_ns)
        for count, message in enumerate(canonical_messages(settings), start=1):
            try:
                engines.apply(message)
            except DecodeError:  # Featurize put it into the dead letters.
                continue
            if count % _MESSAGES_AT_ONCE == 0:
                yield from _rows(engines)
                if not left:
                    return
        yield from _rows(engines)

    def _problem(self, reader: LogReader, partition: int, offset: int, value: bytes) -> str:
        written = next(reader.read(FEATURE_ROW, partition, offset, offset + 1), None)
        found = difference(value, b"" if written is None else written.value or b"")
        return f"{found.values} values differ: {', '.join(found.columns[:3])} of {', '.join(found.instruments[:3])}"


def _rows(engines: Backfill) -> Iterator[tuple[int, str, bytes]]:
    for output in engines.advance():
        yield output.partition, dict(output.headers)["row_id"].decode(), output.value


def _beginnings(settings: Settings, reader: LogReader) -> Iterator[tuple[str, int, int]]:
    for topic in EVENT_TOPICS:
        for partition in range(settings.partitions):
            yield topic, partition, reader.bounds(topic, partition)[0]
