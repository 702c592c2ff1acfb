"""Dead letters: a record that could not be read, whole, with the reason in headers of its own.

Header names of the first group are those of Kafka Streams (KIP-1034), so that its tools read them.
"""

from collections.abc import Iterable

from schemas import DecodeError
from schemas.topics import DEAD_LETTER
from streams.stage import Message, Record


def dead_letter(stage: str, message: Message, error: DecodeError) -> Record:
    """Return the dead letter of a message: its key, value and headers untouched, and the reason."""
    place = f"{message.topic}[{message.partition}]@{message.offset}"
    headers = [*message.headers.items(), *reason_headers(stage, message, error.at(place))]
    return Record(topic=DEAD_LETTER, key=message.key, value=message.value, headers=headers, partition=0)


def reason_headers(stage: str, message: Message, error: DecodeError) -> Iterable[tuple[str, bytes]]:
    """Return the headers that say where a message came from and what was wrong with it."""
    fields = {
        "__streams.errors.exception": type(error).__name__,
        "__streams.errors.message": str(error),
        "__streams.errors.topic": message.topic,
        "__streams.errors.partition": str(message.partition),
        "__streams.errors.offset": str(message.offset),
        "x-dlq-reason": "decode",
        "x-dlq-stage": stage,
    }
    return [(name, value.encode("utf-8", "replace")) for name, value in fields.items()]
