"""Reads on in a topic of one partition, up to whatever it holds at each look."""

import time
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from schemas.errors import StateError
from streams.kafka import DEADLINE_SECONDS, consumer, to_message
from streams.settings import Settings
from streams.stage import Message

_BATCH = 1_000
_CONSUME_SECONDS = 0.05


class Follower:
    """The records of partition 0 of a topic, in offset order; for one thread at a time."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._place = TopicPartition(topic, 0)
        self._next = 0
        self._read: list[Message] = []
        """Read and not returned yet: a look that fails loses none."""
        self._consumer = consumer(settings, "foreshock-follower")
        self._consumer.assign([TopicPartition(topic, 0, 0)])

    def read(self, deadline_seconds: float = DEADLINE_SECONDS) -> list[Message]:
        """Return the records that came since the last look: all that the topic holds now.

        Raises StateError when they cannot be read in time, KafkaException when no broker answers.
        """
        give_up = time.monotonic() + deadline_seconds
        low, end = self._consumer.get_watermark_offsets(self._place, timeout=deadline_seconds)
        self._next = max(self._next, low)
        while self._next < end:
            if time.monotonic() > give_up:
                raise StateError(f"{self._place.topic}: nothing came for {deadline_seconds:g} s; is the broker up?")
            for found in self._consumer.consume(_BATCH, timeout=_CONSUME_SECONDS):
                if found.error() is None:
                    message = to_message(found)
                    self._read.append(message)
                    self._next = message.offset + 1
        messages, self._read = self._read, []
        return messages

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()
