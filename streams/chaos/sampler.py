"""Looks every 100 ms at what groups have committed and at what was written by then."""

from collections.abc import Iterable

from confluent_kafka import KafkaException

from schemas.rules import Rules
from schemas.topics import CALIBRATION, EVENT_TOPICS, FEATURE_ROW, FORECAST, MARKET_STATE, RAW_TOPICS, topics
from streams.chaos.logs import Place, Sample
from streams.chaos.looking import Looking
from streams.chaos.reading import CHECKPOINTS
from streams.chaos.verifier import INGEST
from streams.ends import committed, ends_at_once
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


class Sampler(Looking):
    """Fills `samples` while its block runs.

    Commits are read first, the ends of topics behind them: what a commit needs must be there by then. A
    broker that does not answer gives no sample.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(EVERY_SECONDS)
        self.samples: list[Sample] = []
        # No admin client: librdkafka ends the process where a broker goes while one is asked (its once-only
        # references are released twice, an assertion). These consumers join nothing.
        self._readers = {group: consumer(settings, group) for group in _COMMITS}
        self._committable = {group: _places(settings.rules, names) for group, names in _COMMITS.items()}
        self._written = _places(settings.rules, (*EVENT_TOPICS, *CHECKPOINTS.values()))
        self._last: Sample | None = None

    def look(self) -> None:
        """Keep a sample."""
        try:
            sample = self._sample()
        except KafkaException:
            return
        if sample != self._last:  # the same again can break nothing new
            self.samples.append(sample)
        self._last = sample

    def __exit__(self, *error: object) -> None:
        try:
            super().__exit__(*error)
        finally:
            for reader in self._readers.values():
                reader.close()

    def _sample(self) -> Sample:
        commits = {
            (group, *place): offset
            for group, reader in self._readers.items()
            for place, offset in committed(reader, self._committable[group], _ANSWER_SECONDS).items()
        }
        return Sample(commits, ends_at_once(self._readers[INGEST], self._written, _ANSWER_SECONDS))


def _places(rules: Rules, names: Iterable[str]) -> list[Place]:
    declared = topics(rules)
    return [(name, partition) for name in names for partition in range(declared[name].partitions)]
