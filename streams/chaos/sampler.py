"""Looks every 100 ms at what groups have committed and at what was written by then."""

import threading
from collections.abc import Iterable
from typing import Any, Self

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.topics import EVENT_TOPICS
from streams.chaos.logs import Sample
from streams.chaos.reading import CHECKPOINTS
from streams.chaos.verifier import INGEST
from streams.ends import ends_at_once
from streams.kafka import consumer
from streams.settings import Settings

EVERY_SECONDS = 0.1
_ANSWER_SECONDS = 5.0


class Sampler:
    """A thread that fills `samples` while its block runs.

    Commits are read first, the ends of topics behind them: what a commit needs must be there by then. A
    broker that does not answer gives no sample.
    """

    def __init__(self, settings: Settings) -> None:
        self.samples: list[Sample] = []
        self._admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
        partitions = range(settings.partitions)
        # Not the admin client: librdkafka ends the process where a broker goes while it is asked for offsets.
        self._reader = consumer(settings, "foreshock-reader")
        self._places = [
            (topic, partition) for topic in (*EVENT_TOPICS, *CHECKPOINTS.values()) for partition in partitions
        ]
        self._groups = (INGEST, *CHECKPOINTS)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        last: Sample | None = None
        while not self._ending.wait(EVERY_SECONDS):
            try:
                sample = self._sample()
            except KafkaException:
                continue
            if sample != last:  # the same again can break nothing new
                self.samples.append(sample)
            last = sample

    def _sample(self) -> Sample:
        commits = {
            (group, place.topic, place.partition): place.offset
            for group in self._groups
            for place in self._committed(group)
            if place.offset >= 0
        }
        return Sample(commits, ends_at_once(self._reader, self._places))

    def _committed(self, group: str) -> Iterable[Any]:
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=_ANSWER_SECONDS
        )
        found: list[Any] = asked[group].result().topic_partitions or []
        return found
