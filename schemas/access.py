"""Who reads and writes which topics: what a stage needs to start, and what a broker has to allow it."""

from typing import NamedTuple

from schemas.topics import (
    ATTENTION,
    CALIBRATION,
    DEAD_LETTER,
    EVENT_TOPICS,
    FEATURE_ROW,
    FEATURIZE_CHECKPOINT,
    FORECAST,
    FORECAST_LATEST,
    FORECAST_SCORE,
    INFER_CHECKPOINT,
    INGEST_CHECKPOINT,
    LATE_EVENT,
    MARKET_STATE,
    OPS_DRIFT,
    OPS_MODEL,
    OPS_PARITY,
    RAW_TOPICS,
    SCORE_CHECKPOINT,
)

READERS_GROUP = "foreshock-"
"""Prefix of the groups of those who read topics without committing anything."""


class Access(NamedTuple):
    """What one user of the broker does; `groups` are prefixes of consumer groups."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    groups: tuple[str, ...] = (READERS_GROUP,)

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics, each once."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))


def _stage(name: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Access:
    return Access(reads, (*writes, DEAD_LETTER), (name, READERS_GROUP))


ACCESS = {
    # Live, ingest writes heartbeats on the raw topics.
    "ingest": _stage(
        "ingest", (*RAW_TOPICS, INGEST_CHECKPOINT), (*RAW_TOPICS, *EVENT_TOPICS, LATE_EVENT, INGEST_CHECKPOINT)
    ),
    "featurize": _stage(
        "featurize",
        (*EVENT_TOPICS, MARKET_STATE, OPS_MODEL, FEATURIZE_CHECKPOINT),
        (FEATURE_ROW, MARKET_STATE, FEATURIZE_CHECKPOINT),
    ),
    "infer": _stage(
        "infer",
        (FEATURE_ROW, CALIBRATION, FORECAST, OPS_MODEL, INFER_CHECKPOINT),
        (FORECAST, FORECAST_LATEST, ATTENTION, INFER_CHECKPOINT),
    ),
    "score": _stage(
        "score", (FEATURE_ROW, FORECAST, SCORE_CHECKPOINT), (FORECAST_SCORE, CALIBRATION, OPS_DRIFT, SCORE_CHECKPOINT)
    ),
    "store": _stage(
        "store",
        # Of the exchange only `foreshock store tiles` reads the events.
        (*EVENT_TOPICS, FEATURE_ROW, FORECAST, ATTENTION, FORECAST_SCORE, LATE_EVENT),
        (),
    ),
    "parity": Access((*EVENT_TOPICS, MARKET_STATE, FEATURE_ROW, OPS_MODEL), (OPS_PARITY,), ("parity", READERS_GROUP)),
    "replay": Access((), RAW_TOPICS, ()),
    "consumer": Access(
        (FORECAST, FORECAST_LATEST, ATTENTION, FORECAST_SCORE, CALIBRATION), (), ("consumer", READERS_GROUP)
    ),
}
"""By user, which is the stage's name; `replay` and feed handlers write raw records, `consumer` reads forecasts."""
