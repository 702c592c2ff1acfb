"""What the raw and the canonical topics hold now, for a backfill."""

import heapq
from collections.abc import Iterable, Iterator

from featurestore.backfill import CanonicalMessage
from schemas.topics import EVENT_TOPICS, RAW_TOPICS
from streams.dead_letters import REPLAYED, replayed_from
from streams.kafka import read_topic
from streams.settings import Settings
from streams.stage import Headers, Message

RawRecord = tuple[str, int, int, bytes | None, bytes | None, Headers]
"""Raw topic, partition, offset, key, value, headers."""


def raw_records(settings: Settings) -> Iterator[RawRecord]:
    """Yield what the raw topics hold now, about in the order in which it was written.

    A replayed dead letter is left out where the log still holds it in its first place: read by one
    code both are the same, and what can be read now counts where it came.
    """
    first: dict[tuple[str, int], int] = {}
    for message in _merged(settings, RAW_TOPICS):
        begin = first.setdefault((message.topic, message.partition), message.offset)
        if REPLAYED not in message.headers or not _stands_before(message, begin):
            yield message.topic, message.partition, message.offset, message.key, message.value, message.header_pairs()


def _stands_before(message: Message, begin: int) -> bool:
    """Say whether the log, from offset `begin` on, has a replayed record in its first place too."""
    places = replayed_from(message.header_pairs())
    if places is None:
        return False
    origin = places[1]
    here = (origin.topic, origin.partition) == (message.topic, message.partition)
    return here and begin <= origin.offset < message.offset


def canonical_messages(settings: Settings) -> Iterator[CanonicalMessage]:
    """Yield what the canonical topics hold now, about in the order in which it was written."""
    for message in _merged(settings, EVENT_TOPICS):
        yield CanonicalMessage(message.topic, message.partition, message.offset, message.headers, message.value)


def _merged(settings: Settings, topics: Iterable[str]) -> Iterator[Message]:
    """Yield the messages of topics side by side: events of one that is ahead wait in memory for the others."""
    return heapq.merge(*(read_topic(settings, topic) for topic in topics), key=lambda message: message.timestamp_ms)
