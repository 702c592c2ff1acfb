"""Tiles of the canonical log into the store, by the same pure code that makes them live.

Featurize keeps its tiles to itself: they are worth a topic to nobody, and a second live engine would
cost as much as the first. The canonical topics are kept for ever, so tiles are filled in from them
whenever somebody wants them, those that are there already left out.
"""

import heapq
import logging
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.backfill import CanonicalMessage
from featurestore.catalogue import Catalogue
from featurestore.engine import PartitionEngine
from featurestore.store.intake import known_after_ns
from featurestore.store.location import Store
from featurestore.store.tables import TILES
from featurestore.store.writing import Appended, TableWriter
from featurestore.stored_tiles import closed_tiles, event_catalogue, event_rules
from featurestore.tiler import Tiler
from schemas import DecodeError, Rules
from schemas.topics import EVENT_TOPICS
from streams.kafka import read_topic
from streams.settings import Settings

LOGGER = logging.getLogger("foreshock.store")
SOURCE = "backfill"
_MESSAGES_BETWEEN = 256
_TILES_AT_ONCE = 200_000


def store_tiles_of_topics(settings: Settings, store: Store) -> Appended:
    """Write the tiles of what the canonical topics hold now; raises StateError where another does so at once."""
    return store_tiles(_canonical(settings), settings.rules, Catalogue.discover(settings.rules), store)


def store_tiles(messages: Iterable[CanonicalMessage], rules: Rules, catalogue: Catalogue, store: Store) -> Appended:
    """Write the tiles of canonical messages, in the columns of `foreshock backfill --tiles`.

    `messages` keep the order of each topic and partition. Raises StateError where another writes
    tiles at once.
    """
    tiles: list[pa.Table] = []
    engines = [_engine(partition, rules, catalogue, tiles) for partition in range(rules.partitions)]
    writer, written = TableWriter(store, TILES), Appended(0, 0)
    for count, message in enumerate(messages, start=1):
        _apply(engines[message.partition], message)
        if count % _MESSAGES_BETWEEN == 0:
            _advance(engines)
            if sum(map(len, tiles)) >= _TILES_AT_ONCE:
                written = _flush(writer, tiles, rules, written)
    _advance(engines)
    return _flush(writer, tiles, rules, written)


def _engine(partition: int, rules: Rules, catalogue: Catalogue, tiles: list[pa.Table]) -> PartitionEngine:
    """Return an engine that makes tiles alone, and puts those that close into `tiles`."""
    engine = PartitionEngine(partition, event_rules(rules), event_catalogue(catalogue))

    def watch(tiler: Tiler, start: int, stop: int) -> None:
        tiles.append(closed_tiles(tiler, start, stop, rules))

    engine.watch_tiles(watch)
    return engine


def _apply(engine: PartitionEngine, message: CanonicalMessage) -> None:
    try:
        engine.apply(message.topic, message.offset, message.headers, message.value)
    except DecodeError as error:
        LOGGER.warning("left out, as live: %s", error)


def _advance(engines: list[PartitionEngine]) -> None:
    for engine in engines:
        engine.advance()


def _flush(writer: TableWriter, tiles: list[pa.Table], rules: Rules, written: Appended) -> Appended:
    """Write the tiles and return how many were written by now."""
    closed = pa.concat_tables([table for table in tiles if len(table)] or tiles[:1]) if tiles else None
    tiles.clear()
    if closed is None or not len(closed):
        return written
    known = pc.add(closed["tile_start_ns"], np.int64(rules.tile_interval_ns + known_after_ns(rules)))
    done = writer.add(closed.append_column("known_time_ns", known), SOURCE)
    return Appended(written.rows + done.rows, written.repeats + done.repeats)


def _canonical(settings: Settings) -> Iterator[CanonicalMessage]:
    """Yield the canonical messages, about in the order of their writing: that keeps few of them waiting."""
    logs = (read_topic(settings, topic) for topic in EVENT_TOPICS)
    for message in heapq.merge(*logs, key=lambda each: each.timestamp_ms):
        yield CanonicalMessage(message.topic, message.partition, message.offset, message.headers, message.value)
