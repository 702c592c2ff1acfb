"""Dead letters: a record that could not be read, whole, with the reason in headers of its own.

Header names of the first group are those of Kafka Streams (KIP-1034), so that its tools read them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from schemas import DecodeError
from schemas.topics import DEAD_LETTER
from streams.stage import Headers, Message, Record
from streams.version import app_version

REPLAYED = "x-replayed-from"
"""Header of a record that is sent again: its dead letter, then where it stood first; one more at each replay."""
_PLACE = re.compile(r"(.+)\[(\d+)\]@(\d+)")


class Place(NamedTuple):
    """Where a record stands.

    >>> str(Place("raw.exchange.v1", 2, 1842))
    'raw.exchange.v1[2]@1842'
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @classmethod
    def read(cls, text: str) -> "Place":
        """Return the place that `str` wrote; raises DecodeError."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise DecodeError(f"expected topic[partition]@offset, got {text!r}")
        return cls(found[1], int(found[2]), int(found[3]))


def dead_letter(stage: str, message: Message, error: DecodeError, reason: str = "decode") -> Record:
    """Return the dead letter of a message: its key, value and headers untouched, and the reason."""
    untouched = message.header_pairs()
    place = Place(message.topic, message.partition, message.offset)
    added = reason_headers(stage, message, error.at(str(place)), reason)
    return Record(DEAD_LETTER, message.key, message.value, [*untouched, *added], 0)


def reason_headers(stage: str, message: Message, error: DecodeError, reason: str = "decode") -> list[tuple[str, bytes]]:
    """Return the headers that say where a message came from and what was wrong with it."""
    fields = {
        "__streams.errors.exception": type(error).__name__,
        "__streams.errors.message": str(error),
        "__streams.errors.topic": message.topic,
        "__streams.errors.partition": str(message.partition),
        "__streams.errors.offset": str(message.offset),
        "x-dlq-reason": reason,
        "x-dlq-stage": stage,
        "x-dlq-app-version": app_version(),
        "x-dlq-attempts": str(1 + sum(name == REPLAYED for name, _ in message.header_pairs())),
    }
    return [(name, value.encode("utf-8", "replace")) for name, value in fields.items()]


ADDED = tuple(name for name, _ in reason_headers("", Message("", 0, 0, None, {}, None, 0), DecodeError("")))
"""The names of the headers that a dead letter has more than its record, in their order."""


def replayed_from(headers: Headers) -> tuple[Place, Place] | None:
    """Return of a replayed record its dead letter and where it stood at first, None of any other.

    >>> replayed_from({"x-replayed-from": b"dead-letter.v1[0]@17 raw.exchange.v1[2]@1842"})[1].offset
    1842
    """
    pairs: Iterable[tuple[str, bytes | None]] = headers.items() if isinstance(headers, Mapping) else headers
    # Of several replays the last says which dead letter it was, the first where the record stood.
    texts = [(value or b"").decode("utf-8", "replace") for name, value in pairs if name == REPLAYED]
    try:
        places = [[Place.read(part) for part in text.split(" ")] for text in texts]
        return (places[-1][0], places[0][1]) if places else None
    except (DecodeError, IndexError):  # not written by us
        return None
