"""Rows and tiles without Kafka's help: captures or raw topics through the same pure code as live."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.backfill import CanonicalMessage, backfill, rows_table
from featurestore.catalogue import Catalogue
from schemas import Rules
from schemas.forecasts import Announcement
from schemas.rows import Rows, decode_rows
from schemas.topics import EVENT_TOPICS, RAW_TOPICS
from streams.announcements import announcements
from streams.ingest.normaliser import Normaliser
from streams.kafka import read_topic
from streams.settings import Settings
from streams.sources import RawMessage
from streams.sources.captures import find_captures
from streams.sources.replay import with_heartbeats
from streams.stage import Headers

RawRecord = tuple[str, int, int, bytes | None, bytes | None, Headers]
"""Raw topic, partition, offset, key, value, headers."""

_FLUSH_RECORDS = 5_000
_GROUP_ROWS = 50_000
_GROUP_MESSAGES = 2_000


class Outcome(msgspec.Struct):
    """What a backfill read and made."""

    frames_in: int = 0
    """Raw frames fed, counted before anything is read of them; heartbeats are none."""
    frames: Counter[str] = msgspec.field(default_factory=Counter)
    """Raw frames by what became of them."""
    late: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """Events left out, by venue and reason."""
    events: int = 0
    tiles: int = 0
    row_messages: int = 0
    rows: int = 0

    def lines(self) -> Iterator[str]:
        """Yield the account in lines for people."""
        yield f"frames in {self.frames_in:,}"
        for name, count in sorted(self.frames.items()):
            yield f"  {name} {count:,}"
        yield f"events {self.events:,}"
        for (venue, reason), count in sorted(self.late.items()):
            yield f"  {reason} at {venue}: {count:,}"
        yield f"tiles {self.tiles:,}, rows {self.rows:,} in {self.row_messages:,} messages"


def backfill_captures(
    paths: Sequence[Path],
    rules: Rules,
    *,
    tiles: Path | None = None,
    rows: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Compute tiles and rows from capture files into Parquet files; raises ForeshockError."""
    return backfill_messages(find_captures(paths).messages(), rules, tiles=tiles, rows=rows, progress=progress)


def backfill_messages(
    messages: Iterable[RawMessage],
    rules: Rules,
    *,
    tiles: Path | None = None,
    rows: Path | None = None,
    catalogue: Catalogue | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Compute tiles and rows from raw messages in receive-time order, as a replay would send them."""
    catalogue, outcome = catalogue or Catalogue.discover(rules), Outcome()
    with ExitStack() as files:
        tile_file = files.enter_context(_Parquet(tiles)) if tiles else None
        row_file = files.enter_context(_Parquet(rows)) if rows else None

        def on_tiles(table: pa.Table) -> None:
            outcome.tiles += len(table)
            if tile_file:
                tile_file.write(table)

        canonical = normalised(_placed(messages, rules), rules, outcome)
        pending: list[Rows] = []
        for output in backfill(canonical, rules, catalogue, on_tiles=on_tiles):
            pending.append(decode_rows(output.value))
            outcome.row_messages += 1
            outcome.rows += len(pending[-1].instruments)
            if len(pending) == _GROUP_MESSAGES:
                progress(f"{outcome.tiles:,} tiles, {outcome.rows:,} rows")
                _write_rows(pending, row_file)
        _write_rows(pending, row_file)
    return outcome


def _write_rows(pending: list[Rows], file: "_Parquet | None") -> None:
    """Append row messages to a file, if there is one, and forget them."""
    if file and pending:
        file.write(rows_table(pending))
    pending.clear()


def backfill_topics(settings: Settings, catalogue: Catalogue | None = None) -> dict[tuple[int, int], bytes]:
    """Compute the rows of what the raw topics hold now: {(partition, row time): message}."""
    rules = settings.rules
    known: list[Announcement] = announcements(settings)
    records = (
        (message.topic, message.partition, message.offset, message.key, message.value, message.headers)
        for topic in RAW_TOPICS
        for message in read_topic(settings, topic)
    )
    found = {}
    for output in backfill(normalised(records, rules, Outcome()), rules, catalogue or Catalogue.discover(rules), known):
        header = decode_rows(output.value).header
        found[header.partition, header.row_time_ns] = output.value
    return found


def normalised(records: Iterable[RawRecord], rules: Rules, outcome: Outcome) -> Iterator[CanonicalMessage]:
    """Yield the canonical messages of raw records, each raw partition in offset order."""
    normalisers: dict[tuple[str, int], Normaliser] = {}
    offsets: Counter[tuple[str, int]] = Counter()
    for count, (topic, partition, offset, key, value, headers) in enumerate(records, start=1):
        place = (topic, partition)
        normaliser = normalisers.get(place) or normalisers.setdefault(place, Normaliser(topic, partition, rules))
        normaliser.feed(offset, key, value, headers)
        if count % _FLUSH_RECORDS == 0:
            for each in normalisers.values():
                yield from _canonical(each, offsets)
    for each in normalisers.values():
        yield from _canonical(each, offsets)
        _account(each, outcome)


def _placed(messages: Iterable[RawMessage], rules: Rules) -> Iterator[RawRecord]:
    """Yield raw messages and heartbeats with the offsets that a replay gives them."""
    offsets: Counter[tuple[str, int]] = Counter()
    for topic, partition, message in with_heartbeats(messages, rules):
        offset = offsets[topic, partition]
        offsets[topic, partition] += 1
        yield topic, partition, offset, message.key, message.value, message.headers()


def _canonical(normaliser: Normaliser, offsets: Counter[tuple[str, int]]) -> Iterator[CanonicalMessage]:
    for output in normaliser.flush():
        if output.topic in EVENT_TOPICS:
            place = (output.topic, int(output.partition or 0))
            yield CanonicalMessage(*place, offsets[place], dict(output.headers), output.value)
            offsets[place] += 1


def _account(normaliser: Normaliser, outcome: Outcome) -> None:
    tally = normaliser.tally
    outcome.frames_in += tally.frames - tally.heartbeats
    outcome.frames.update({"decoded": tally.decoded, "heartbeat": tally.heartbeats})
    outcome.frames.update({f"left-out:{kind}": count for kind, count in tally.left_out.items()})
    outcome.frames.update({"dead-letter": tally.dead_letters.total()})
    outcome.late.update(tally.late)
    outcome.events += tally.events.total()


class _Parquet:
    """A Parquet file written in groups of rows; its schema is that of the first table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Append a table."""
        self._tables.append(table)
        self._rows += len(table)
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)
        self._tables, self._rows = [], 0
