"""A backfill in spans: events to tiles, tiles to market parts, tiles and parts to rows.

Each step takes a state and what came in one span, and returns the state after it and what follows
from both: plain data, so that any process of any machine can do the next step of a partition. A
span's parts are told before its rows are made. What comes out is that of engines that read the
whole log (`featurestore.backfill`), however it is cut into spans.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa

from featurestore.backfill import CanonicalMessage
from featurestore.catalogue import Catalogue
from featurestore.checkpoint import decode_state
from featurestore.engine import Output, PartitionEngine
from featurestore.stored_tiles import (
    HoldingEngine,
    StoredTilesEngine,
    TileSpan,
    closed_tiles,
    event_catalogue,
    event_rules,
    from_border,
    part_sets,
    reads_market,
    stored_catalogue,
)
from featurestore.tiler import Tiler
from schemas import DecodeError, Rules
from schemas.forecasts import Announcement, MarketPart, decode_json, encode_json
from schemas.topics import MARKET_STATE


class Job(msgspec.Struct, frozen=True):
    """What is to be made of one partition; a process finds the catalogue by itself, functions do not travel.

    `features`: those to make, None: all. Without `announcements` all are in force from the beginning.
    """

    partition: int
    rules: Rules
    announcements: tuple[Announcement, ...] = ()
    features: tuple[str, ...] | None = None
    folders: tuple[str, ...] = ()

    def catalogue(self) -> Catalogue:
        """Return the catalogue; the same object for equal jobs of one process."""
        key = msgspec.json.encode((self.rules, self.features, self.folders))
        if key not in _CATALOGUES:
            found = Catalogue.discover(self.rules, folders=map(Path, self.folders))
            _CATALOGUES[key] = found if self.features is None else found.subset(self.features)
        return _CATALOGUES[key]


_CATALOGUES: dict[bytes, Catalogue] = {}


class HeldEvents(NamedTuple):
    """Events of one record type that are known before the log is read: late ones."""

    record: str
    events: pa.RecordBatch


class EventState(NamedTuple):
    """What is known of a partition's canonical topics after a span.

    `unread`: messages with events of tiles that are still open, which the next step reads again.
    """

    blob: bytes | None = None
    unread: tuple[CanonicalMessage, ...] = ()
    held: tuple[HeldEvents, ...] = ()
    first_row_ns: int = 0
    undecodable: int = 0


class RowState(NamedTuple):
    """What is known of a partition's rows after a span.

    `tiles` still wait for market parts; `parts` came before the partition's own first tiles.
    """

    blob: bytes | None = None
    tiles: pa.Table | None = None
    parts: tuple[bytes, ...] = ()


def close_tiles(
    job: Job, state: EventState, messages: Sequence[CanonicalMessage]
) -> tuple[EventState, TileSpan | None]:
    """Read a span of canonical messages; return the tiles that closed, None before any can."""
    rules, tables = event_rules(job.rules), list[pa.Table]()
    engine = HoldingEngine(job.partition, rules, event_catalogue(job.catalogue()), blob=state.blob)

    def watch(tiler: Tiler, start: int, stop: int) -> None:
        tables.append(closed_tiles(tiler, start, stop, rules))

    engine.watch_tiles(watch)
    for held in state.held:
        engine.hold(*held)
    read, undecodable = _applied(engine, (*state.unread, *messages))
    engine.advance()
    checkpoint = engine.checkpoint()
    unread = tuple(message for message in read if message.offset >= checkpoint.resume.get(message.topic, 0))
    first_row_ns = state.first_row_ns or _first_row_ns(checkpoint.blob, rules, job.partition)
    after = EventState(checkpoint.blob, unread, state.held, first_row_ns, state.undecodable + undecodable)
    if engine.closed_ns is None or not first_row_ns:
        return after, None
    return after, TileSpan(pa.concat_tables(tables) if tables else None, engine.closed_ns, first_row_ns)


def _applied(engine: PartitionEngine, messages: Sequence[CanonicalMessage]) -> tuple[list[CanonicalMessage], int]:
    """Apply messages; return those that could be read and the number of those that could not, which are left out."""
    read = []
    for message in messages:
        try:
            engine.apply(message.topic, message.offset, message.headers, message.value)
        except DecodeError:
            continue
        read.append(message)
    return read, len(messages) - len(read)


def _first_row_ns(blob: bytes, rules: Rules, partition: int) -> int:
    tiles = decode_state(blob, rules.rules_id, partition).tiles
    return 0 if tiles is None else tiles.first_row_ns


def tell_parts(job: Job, blob: bytes | None, span: TileSpan) -> tuple[bytes | None, list[bytes]]:
    """Return a partition's parts of the market for a span of its tiles; none where no feature asks."""
    catalogue = job.catalogue()
    if not reads_market(catalogue):
        return None, []
    engine = _fed(
        StoredTilesEngine(job.partition, job.rules, *part_sets(catalogue, job.announcements), blob=blob), span
    )
    parts = []
    for output in _advanced(engine):
        if output.topic == MARKET_STATE and output.partition == job.partition:
            parts.append(output.value)
            for partition in range(job.rules.partitions):
                engine.tell(output.value if partition == job.partition else _none_of(output.value, partition))
    return engine.checkpoint().blob, parts


def make_rows(
    job: Job, state: RowState, span: TileSpan | None, parts: Sequence[bytes]
) -> tuple[RowState, list[Output]]:
    """Return the row messages of a span; `parts` are those of all partitions, of each in order."""
    if span is None:
        return state._replace(parts=(*state.parts, *parts)), []
    engine = StoredTilesEngine(
        job.partition, job.rules, stored_catalogue(job.catalogue()), job.announcements, blob=state.blob
    )
    tables = [table for table in (state.tiles, span.table) if table is not None]
    tiles = pa.concat_tables(tables) if tables else None
    _fed(engine, TileSpan(tiles, span.border_ns, span.first_row_ns))
    for part in (*state.parts, *parts):
        engine.tell(part)
    rows = [output for output in _advanced(engine) if output.topic != MARKET_STATE]
    waiting = None if tiles is None else from_border(tiles, engine.closed_ns or 0)
    return RowState(engine.checkpoint().blob, waiting or None), rows


def _fed(engine: StoredTilesEngine, span: TileSpan) -> StoredTilesEngine:
    if engine.closed_ns is None:
        engine.begin(span.first_row_ns, span.border_ns)
    if span.table is not None:
        engine.take(span.table)
    engine.reach(span.border_ns)
    return engine


def _advanced(engine: PartitionEngine) -> Iterator[Output]:
    while outputs := engine.advance():
        yield from outputs


def _none_of(part: bytes, partition: int) -> bytes:
    """Return the word of another partition that it has no part of the same tiles."""
    told = decode_json(part, MarketPart)
    return encode_json(MarketPart(partition=partition, from_ns=told.from_ns, to_ns=told.to_ns))
