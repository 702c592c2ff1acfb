"""Rows and tiles without the stages: captures, topics or stored tiles through the same pure code as live."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from featurestore.backfill import CanonicalMessage, backfill
from featurestore.catalogue import Catalogue
from featurestore.spans import Job
from schemas import Rules
from schemas.forecasts import Announcement
from schemas.rows import decode_rows
from schemas.topics import EVENT_TOPICS
from streams.announcements import announcements
from streams.backfill.files import Parquet, StoredTiles, TileFile
from streams.backfill.outcome import Outcome as Outcome
from streams.backfill.tasks import (
    CanonicalSpan,
    Inline,
    Numbering,
    Place,
    RawSpan,
    RowsMade,
    TileSpans,
    canonical_spans,
    row_spans,
    stored_spans,
    tile_spans,
)
from streams.backfill.topics import RawRecord, raw_records
from streams.ingest.normaliser import Normaliser
from streams.settings import Settings
from streams.sources import RawMessage
from streams.sources.captures import find_captures
from streams.sources.replay import with_heartbeats

SPAN_RECORDS = 100_000
"""Raw records of a span: what states cost that travel between processes is small beside it."""
SPAN_ROWS = 1_800
"""Row borders of a span, at most about: what bounds the memory in quiet times."""
_SPAN_BYTES = 48 << 20
_SPAN_MESSAGES = 20_000
_FLUSH_RECORDS = 5_000

Said = Callable[[str], None]


class AtHand(Job, frozen=True):
    """A job whose catalogue is given; it cannot go to another process."""

    found: Any = None

    def catalogue(self) -> Catalogue:
        """Return the catalogue."""
        found: Catalogue = self.found
        return found


def jobs_of(rules: Rules, known: Sequence[Announcement] = (), catalogue: Catalogue | None = None) -> tuple[Job, ...]:
    """Return the work of each partition, on all features or on those of a catalogue."""
    if catalogue is None:
        return tuple(Job(partition, rules, tuple(known)) for partition in range(rules.partitions))
    return tuple(AtHand(partition, rules, tuple(known), found=catalogue) for partition in range(rules.partitions))


def backfill_captures(
    paths: Sequence[Path],
    rules: Rules,
    *,
    tiles: Path | None = None,
    rows: Path | None = None,
    executor: Executor | None = None,
    progress: Said = lambda _: None,
) -> Outcome:
    """Compute tiles and rows from capture files into Parquet files; raises ForeshockError.

    `executor` does the work, any of `concurrent.futures`; None: this process.
    """
    messages = find_captures(paths).messages()
    return backfill_messages(messages, rules, tiles=tiles, rows=rows, executor=executor, progress=progress)


def backfill_messages(
    messages: Iterable[RawMessage],
    rules: Rules,
    *,
    tiles: Path | None = None,
    rows: Path | None = None,
    catalogue: Catalogue | None = None,
    executor: Executor | None = None,
    progress: Said = lambda _: None,
) -> Outcome:
    """Compute tiles and rows from raw messages in receive-time order, as a replay would send them.

    A `catalogue` of one's own needs an `executor` of this process.
    """
    return backfill_records(
        placed(messages, rules),
        jobs_of(rules, catalogue=catalogue),
        tiles=tiles,
        rows=rows,
        executor=executor,
        progress=progress,
    )


def backfill_records(
    records: Iterable[RawRecord],
    jobs: Sequence[Job],
    *,
    tiles: Path | None = None,
    rows: Path | None = None,
    executor: Executor | None = None,
    progress: Said = lambda _: None,
) -> Outcome:
    """Compute tiles and rows from raw records, those of a raw partition in order."""
    outcome, executor = Outcome(), executor or Inline()
    canonical = canonical_from(raw_spans(records, jobs[0].rules), jobs[0].rules, executor, outcome)
    written(tile_spans(canonical, jobs, executor), jobs, executor, outcome, tiles=tiles, rows=rows, progress=progress)
    return outcome


def backfill_canonical(
    messages: Iterable[CanonicalMessage],
    jobs: Sequence[Job],
    *,
    tiles: Path | None = None,
    rows: Path | None = None,
    executor: Executor | None = None,
    progress: Said = lambda _: None,
) -> Outcome:
    """Compute tiles and rows from canonical messages, those of a topic and partition in order."""
    outcome, executor = Outcome(), executor or Inline()
    spans = tile_spans(message_spans(messages, jobs[0].rules.partitions), jobs, executor)
    written(spans, jobs, executor, outcome, tiles=tiles, rows=rows, progress=progress)
    return outcome


def backfill_tiles(
    paths: Iterable[Path],
    rules: Rules,
    *,
    rows: Path | None = None,
    catalogue: Catalogue | None = None,
    executor: Executor | None = None,
    progress: Said = lambda _: None,
) -> Outcome:
    """Compute rows from files of tiles that a backfill wrote, without the events: the same bits.

    Raises StateError where the tiles are not those that the code would make under these rules.
    """
    stored = StoredTiles(paths)
    jobs = jobs_of(rules, stored.announcements, catalogue)
    stored.require(rules, jobs[0].catalogue())
    outcome, executor = Outcome(), executor or Inline()
    spans = stored_spans(stored.spans(), jobs, executor)
    written(spans, jobs, executor, outcome, tiles=None, rows=rows, progress=progress)
    return outcome


def written(
    spans: Iterable[TileSpans],
    jobs: Sequence[Job],
    executor: Executor,
    outcome: Outcome,
    *,
    tiles: Path | None,
    rows: Path | None,
    progress: Said,
    made_rows: Callable[[dict[int, RowsMade]], None] = lambda _: None,
) -> None:
    """Make rows of tiles, and write both into Parquet files; `made_rows` is given those of each span."""
    with ExitStack() as files:
        job = jobs[0]
        tile_file = (
            files.enter_context(TileFile(tiles, job.rules, job.catalogue(), job.announcements)) if tiles else None
        )
        row_file = files.enter_context(Parquet(rows)) if rows else None

        def kept(spans: Iterable[TileSpans]) -> Iterator[TileSpans]:
            for span in spans:
                outcome.tiles += tile_file.write(span) if tile_file else _count(span)
                yield span

        for made in row_spans(kept(spans), jobs, executor):
            made_rows(made)
            for partition in sorted(made):
                table, messages = made[partition].table, made[partition].messages
                outcome.row_messages += len(messages)
                if table is not None:
                    outcome.rows += len(table)
                    if row_file:
                        row_file.write(table)
            progress(f"{outcome.tiles:,} tiles, {outcome.rows:,} rows")


def _count(spans: TileSpans) -> int:
    return sum(len(span.table) for span, _ in spans.values() if span is not None and span.table is not None)


def backfill_topics(settings: Settings, catalogue: Catalogue | None = None) -> dict[tuple[int, int], bytes]:
    """Compute the rows of what the raw topics hold now, in this process: {(partition, row time): message}."""
    rules = settings.rules
    known: list[Announcement] = announcements(settings)
    canonical = normalised(raw_records(settings), rules, Outcome())
    found = {}
    for output in backfill(canonical, rules, catalogue or Catalogue.discover(rules), known):
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
        outcome.account(each.tally)


def _canonical(normaliser: Normaliser, offsets: Counter[tuple[str, int]]) -> Iterator[CanonicalMessage]:
    for output in normaliser.flush():
        if output.topic in EVENT_TOPICS:
            place = (output.topic, int(output.partition or 0))
            yield CanonicalMessage(*place, offsets[place], dict(output.headers), output.value)
            offsets[place] += 1


def placed(messages: Iterable[RawMessage], rules: Rules) -> Iterator[RawRecord]:
    """Yield raw messages and heartbeats with the offsets that a replay gives them."""
    offsets: Counter[tuple[str, int]] = Counter()
    for topic, partition, message in with_heartbeats(messages, rules):
        offset = offsets[topic, partition]
        offsets[topic, partition] += 1
        yield topic, partition, offset, message.key, message.value, message.headers()


def raw_spans(records: Iterable[RawRecord], rules: Rules) -> Iterator[RawSpan]:
    """Cut raw records into spans, by raw partition."""
    span: dict[Place, list[RawRecord]] = {}
    count = size = beats = 0
    most_beats = SPAN_ROWS * sum(rules.raw_partitions.values())
    for record in records:
        span.setdefault(record[:2], []).append(record)
        count, size = count + 1, size + len(record[4] or b"")
        # A heartbeat has no value; there is one of each raw partition at each row border.
        beats += not record[4]
        if count >= SPAN_RECORDS or size >= _SPAN_BYTES or beats >= most_beats:
            yield span
            span = {}
            count = size = beats = 0
    if span:
        yield span


def canonical_from(
    spans: Iterable[RawSpan], rules: Rules, executor: Executor, outcome: Outcome
) -> Iterator[CanonicalSpan]:
    """Yield canonical messages of raw records by partition, and keep account of the frames."""
    number = Numbering()
    for span in canonical_spans(spans, rules, executor):
        for made in span.values():
            outcome.account(made.tally)
        yield number(span, rules.partitions)


def message_spans(messages: Iterable[CanonicalMessage], partitions: int) -> Iterator[CanonicalSpan]:
    """Cut canonical messages into spans, by partition."""
    span: dict[int, list[CanonicalMessage]] = {partition: [] for partition in range(partitions)}
    count = size = 0
    for message in messages:
        span[message.partition].append(message)
        count, size = count + 1, size + len(message.value or b"")
        if count >= _SPAN_MESSAGES or size >= _SPAN_BYTES:
            yield span
            span = {partition: [] for partition in range(partitions)}
            count = size = 0
    if count:
        yield span
