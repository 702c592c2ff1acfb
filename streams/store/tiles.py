"""Tiles of the canonical log into the store, by the same pure code that makes them live.

Featurize keeps its tiles to itself: they are worth a topic to nobody, and a second live engine would
cost as much as the first. The canonical topics are kept for ever, so tiles are filled in from them
whenever somebody wants them, those that are there already left out.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.backfill import CanonicalMessage, backfill
from featurestore.catalogue import Catalogue
from featurestore.store.intake import known_after_ns
from featurestore.store.location import Store
from featurestore.store.tables import TILES
from featurestore.store.writing import Appended, TableWriter
from schemas import Rules
from schemas.forecasts import Announcement
from schemas.topics import EVENT_TOPICS
from streams.announcements import announcements
from streams.kafka import read_topic
from streams.settings import Settings

SOURCE = "backfill"
_TILES_AT_ONCE = 200_000


def store_tiles_of_topics(settings: Settings, store: Store) -> Appended:
    """Write the tiles of what the canonical topics hold now."""
    rules = settings.rules
    return store_tiles(
        _canonical(settings), rules, Catalogue.discover(rules), store, announcements=announcements(settings)
    )


def store_tiles(
    messages: Iterable[CanonicalMessage],
    rules: Rules,
    catalogue: Catalogue,
    store: Store,
    *,
    announcements: Sequence[Announcement] = (),
) -> Appended:
    """Write the tiles of canonical messages; raises StateError where another writer does so at once."""
    writer = TableWriter(store, TILES)
    waiting: list[pa.Table] = []
    written = Appended(0, 0)

    def flush() -> None:
        nonlocal written
        if any(map(len, waiting)):
            tiles = pa.concat_tables(waiting, promote_options="default")
            known = pc.add(tiles["tile_start_ns"], np.int64(rules.tile_interval_ns + known_after_ns(rules)))
            done = writer.add(tiles.append_column("known_time_ns", known), SOURCE)
            written = Appended(written.rows + done.rows, written.repeats + done.repeats)
        waiting.clear()

    for _ in backfill(messages, rules, catalogue, announcements, on_tiles=waiting.append):
        if sum(map(len, waiting)) >= _TILES_AT_ONCE:
            flush()
    flush()
    return written


def _canonical(settings: Settings) -> Iterator[CanonicalMessage]:
    """Yield the canonical messages, about in the order of their writing: that keeps few of them waiting."""
    logs = (read_topic(settings, topic) for topic in EVENT_TOPICS)
    for message in heapq.merge(*logs, key=lambda each: each.timestamp_ms):
        yield CanonicalMessage(message.topic, message.partition, message.offset, message.headers, message.value)
