"""How far topics go, asked through a consumer that reads them."""

import logging
from collections.abc import Iterable, Iterator

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

LOGGER = logging.getLogger("foreshock.kafka")
_ANSWER_SECONDS = 5.0

Place = tuple[str, int]
"""A topic and a partition."""


def ends_of(reader: Consumer, places: Iterable[Place]) -> dict[Place, int] | None:
    """Return the next offset of each place's log, None where the broker does not answer; for a watchdog.

    A place without a leader is left out: of the others watchdog and lag must tell all the same.
    """
    try:
        reader.list_topics(timeout=_ANSWER_SECONDS)
        return dict(_known_ends(reader, places))
    except (KafkaException, RuntimeError):  # RuntimeError: the consumer is closed
        return None


def _known_ends(reader: Consumer, places: Iterable[Place]) -> Iterator[tuple[Place, int]]:
    for place in places:
        try:
            yield place, reader.get_watermark_offsets(TopicPartition(*place), timeout=_ANSWER_SECONDS)[1]
        except KafkaException as error:
            LOGGER.info("%s[%d]: its end is not known: %s", *place, error.args[0].str())


def ends_at_once(reader: Consumer, places: Iterable[Place], seconds: float = _ANSWER_SECONDS) -> dict[Place, int]:
    """Return the next offset of each place's log, asked for in one go; raises KafkaException."""
    return _offsets(reader, [TopicPartition(*place, OFFSET_END) for place in places], seconds)


def _offsets(reader: Consumer, asked: list[TopicPartition], seconds: float) -> dict[Place, int]:
    found = {}
    for place in reader.offsets_for_times(asked, timeout=seconds):
        if place.error is not None:
            raise KafkaException(place.error)
        found[place.topic, place.partition] = place.offset
    return found


def offsets_at(reader: Consumer, places: Iterable[Place], time_ms: int) -> dict[Place, int]:
    """Return the offset of each place's first record not before a time, -1 where there is none.

    Raises KafkaException.
    """
    return _offsets(reader, [TopicPartition(*place, time_ms) for place in places], _ANSWER_SECONDS)


def committed(reader: Consumer, places: Iterable[Place], seconds: float = _ANSWER_SECONDS) -> dict[Place, int]:
    """Return what the reader's group has committed of these places, where it has; raises KafkaException.

    Through a consumer: librdkafka's admin client ends the process where the group's coordinator is not there yet.
    """
    found = {}
    for place in reader.committed([TopicPartition(*each) for each in places], timeout=seconds):
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset >= 0:
            found[place.topic, place.partition] = place.offset
    return found


def known_end(reader: Consumer, place: Place) -> int | None:
    """Return the next offset of a place's log as of the last fetch, None where there was none; asks nobody."""
    try:
        _, high = reader.get_watermark_offsets(TopicPartition(*place), cached=True)
    except KafkaException:
        return None
    return high if high >= 0 else None
