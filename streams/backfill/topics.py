"""What the raw and the canonical topics hold now, for a backfill."""

import heapq
from collections.abc import Iterable, Iterator

from featurestore.backfill import CanonicalMessage
from schemas.topics import EVENT_TOPICS, RAW_TOPICS
from streams.kafka import read_topic
from streams.settings import Settings
from streams.stage import Headers, Message

RawRecord = tuple[str, int, int, bytes | None, bytes | None, Headers]
"""Raw topic, partition, offset, key, value, headers."""


def raw_records(settings: Settings) -> Iterator[RawRecord]:
    """Yield what the raw topics hold now, about in the order in which it was written."""
    for message in _merged(settings, RAW_TOPICS):
        yield message.topic, message.partition, message.offset, message.key, message.value, message.headers


def canonical_messages(settings: Settings) -> Iterator[CanonicalMessage]:
    """Yield what the canonical topics hold now, about in the order in which it was written."""
    for message in _merged(settings, EVENT_TOPICS):
        yield CanonicalMessage(message.topic, message.partition, message.offset, message.headers, message.value)


def _merged(settings: Settings, topics: Iterable[str]) -> Iterator[Message]:
    """Yield the messages of topics side by side: events of one that is ahead wait in memory for the others."""
    return heapq.merge(*(read_topic(settings, topic) for topic in topics), key=lambda message: message.timestamp_ms)
