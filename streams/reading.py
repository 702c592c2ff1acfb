"""Pieces of topics by offset, through one consumer: for those who look here and there in a long log."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, TopicPartition

from schemas.errors import StateError
from streams.kafka import DEADLINE_SECONDS, bounds, consumer, partition_counts, to_message
from streams.settings import Settings
from streams.stage import Message

_BATCH = 500
_LITTLE = {
    "enable.partition.eof": True,
    # What is read ahead is thrown away with each jump.
    "queued.min.messages": _BATCH,
    "queued.max.messages.kbytes": 8 << 10,
    "fetch.queue.backoff.ms": 1,
}


class LogReader:
    """Reads one piece at a time; for one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = consumer(settings, "foreshock-reader", overrides=_LITTLE)
        self._counts: dict[str, int] = {}

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where there is no such topic."""
        if topic not in self._counts:
            self._counts |= partition_counts(self._settings, [topic])
        return self._counts.get(topic, 0)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the earliest offset and the one that the next record gets; raises StateError."""
        return bounds(self._consumer, topic, partition)

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Message]:
        """Yield the records with offsets in [start, stop), `stop` None: all that are there now.

        The next call ends this one. Raises StateError where nothing comes.
        """
        low, high = self.bounds(topic, partition)
        place, stop = max(start, low), high if stop is None else min(stop, high)
        if place >= stop:
            return
        self._consumer.assign([TopicPartition(topic, partition, place)])
        give_up = time.monotonic() + DEADLINE_SECONDS
        while place < stop:
            # For more than there are `consume` waits out its time.
            for found in self._consumer.consume(min(_BATCH, stop - place), timeout=0.5):
                error = found.error()
                if error is None:
                    message = to_message(found)
                    place = message.offset + 1
                    if message.offset >= stop:
                        return
                    yield message
                    give_up = time.monotonic() + DEADLINE_SECONDS
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent-kafka's own name
                    return
                elif not error.retriable():
                    raise StateError(f"{topic}[{partition}]: cannot be read: {error.str()}")
            if time.monotonic() > give_up:
                raise StateError(f"{topic}: nothing came for {DEADLINE_SECONDS:g} s; is the broker up?")

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()
