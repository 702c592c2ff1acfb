"""Looks every 100 ms at what groups have committed and at what was written by then."""

import threading
from collections.abc import Iterable
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import StackError
from schemas.rules import Rules
from schemas.topics import CALIBRATION, EVENT_TOPICS, FEATURE_ROW, FORECAST, MARKET_STATE, RAW_TOPICS, topics
from streams.chaos.logs import Place, Sample
from streams.chaos.reading import CHECKPOINTS
from streams.chaos.verifier import INGEST
from streams.ends import ends_at_once
from streams.kafka import consumer
from streams.settings import Settings

EVERY_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_COMMITS = {
    INGEST: RAW_TOPICS,
    "featurize": (*EVENT_TOPICS, MARKET_STATE),
    "infer": (FEATURE_ROW, CALIBRATION),
    "score": (FEATURE_ROW, FORECAST),
}
"""What each group reads, and commits."""


class Sampler:
    """A thread that fills `samples` while its block runs.

    Commits are read first, the ends of topics behind them: what a commit needs must be there by then. A
    broker that does not answer gives no sample.
    """

    def __init__(self, settings: Settings) -> None:
        self.samples: list[Sample] = []
        # No admin client: librdkafka ends the process where a broker goes while one is asked (its once-only
        # references are released twice, an assertion). These consumers join nothing.
        self._readers = {group: consumer(settings, group) for group in _COMMITS}
        self._committable = {group: _places(settings.rules, names) for group, names in _COMMITS.items()}
        self._written = _places(settings.rules, (*EVENT_TOPICS, *CHECKPOINTS.values()))
        self._error: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for reader in self._readers.values():
            reader.close()
        if self._error is not None:
            raise StackError(f"commits are not sampled any more: {self._error!r}") from self._error

    def _run(self) -> None:
        last: Sample | None = None
        while not self._ending.wait(EVERY_SECONDS):
            try:
                sample = self._sample()
            except KafkaException:
                continue
            except Exception as error:  # noqa: BLE001 - it is raised when the block ends
                self._error = error
                return
            if sample != last:  # the same again can break nothing new
                self.samples.append(sample)
            last = sample

    def _sample(self) -> Sample:
        commits = {
            (group, place.topic, place.partition): place.offset
            for group, reader in self._readers.items()
            for place in _committed(reader, self._committable[group])
            if place.offset >= 0
        }
        return Sample(commits, ends_at_once(self._readers[INGEST], self._written, _ANSWER_SECONDS))


def _places(rules: Rules, names: Iterable[str]) -> list[Place]:
    declared = topics(rules)
    return [(name, partition) for name in names for partition in range(declared[name].partitions)]


def _committed(reader: Consumer, places: Iterable[Place]) -> list[TopicPartition]:
    found = reader.committed([TopicPartition(*place) for place in places], timeout=_ANSWER_SECONDS)
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found
