"""Every topic, once: what it holds, its key, its partitions, how long it is kept."""

from typing import Literal

import msgspec

from schemas.rules import Rules

RAW_EXCHANGE = "raw.exchange.v1"
RAW_ONCHAIN = "raw.onchain.v1"
RAW_SENTIMENT = "raw.sentiment.v1"
EXCHANGE_EVENT = "exchange.event.v1"
ONCHAIN_EVENT = "onchain.event.v1"
SENTIMENT_EVENT = "sentiment.event.v1"
FEATURE_ROW = "feature.row.v1"
MARKET_STATE = "market.state.v1"
FORECAST = "forecast.volatility.v1"
FORECAST_LATEST = "forecast.volatility-latest.v1"
ATTENTION = "forecast.attention.v1"
FORECAST_SCORE = "forecast.score.v1"
CALIBRATION = "forecast.calibration.v1"
LATE_EVENT = "late-event.v1"
DEAD_LETTER = "dead-letter.v1"
OPS_MODEL = "ops.model.v1"
OPS_PARITY = "ops.parity.v1"
OPS_DRIFT = "ops.drift.v1"
INGEST_CHECKPOINT = "ingest.checkpoint.v1"
FEATURIZE_CHECKPOINT = "featurize-checkpoint-changelog"
INFER_CHECKPOINT = "infer-checkpoint-changelog"
SCORE_CHECKPOINT = "score-checkpoint-changelog"

RAW_TOPICS = (RAW_EXCHANGE, RAW_ONCHAIN, RAW_SENTIMENT)
EVENT_TOPICS = (EXCHANGE_EVENT, ONCHAIN_EVENT, SENTIMENT_EVENT)
FED_BY = dict(zip(EVENT_TOPICS, RAW_TOPICS, strict=True))
"""Canonical topic to the raw topic that feeds it."""
FEEDS = dict(zip(RAW_TOPICS, EVENT_TOPICS, strict=True))

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_FOREVER_MS = -1

_RAW_BYTES = 8 << 20
"""Whole book snapshots come in one frame: the largest recorded one has 5.1 MB."""

Content = Literal["bytes", "arrow", "json"]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic. `retention_ms` -1 keeps for ever; a compacted topic keeps the last of each key."""

    name: str
    meaning: str
    key: str
    content: Content
    records: tuple[str, ...]
    partitions: int
    retention_ms: int = 7 * _DAY_MS
    compacted: bool = False
    max_message_bytes: int = 4 << 20

    def config(self) -> dict[str, str]:
        """Return the Kafka settings of the topic."""
        cleanup = "compact" if self.compacted else "delete"
        settings = {
            "cleanup.policy": cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "CreateTime",
        }
        if self.compacted:
            settings |= {"delete.retention.ms": str(_DAY_MS), "min.compaction.lag.ms": "60000"}
        else:
            settings["retention.ms"] = str(self.retention_ms)
        return settings


def topics(rules: Rules) -> dict[str, Topic]:
    """Return all topics by name, with the partition counts of `rules`."""
    declared = [*_raw(rules), *_inner(rules.partitions), *_outer(rules.partitions), *_operations()]
    return {topic.name: topic for topic in declared}


def _raw(rules: Rules) -> list[Topic]:
    meanings = {
        RAW_EXCHANGE: "Exchange messages, bytes exactly as a feed handler sent them",
        RAW_ONCHAIN: "Blockchain records, bytes exactly as a node's exporter sent them",
        RAW_SENTIMENT: "News and social posts, bytes exactly as they were fetched",
    }
    return [
        Topic(
            name=name,
            meaning=f"{meanings[name]}; heartbeats in each partition.",
            key="connection",
            content="bytes",
            records=("frame", "heartbeat"),
            partitions=partitions,
            # Replayed records carry old times: a time limit would delete them at once.
            retention_ms=_FOREVER_MS,
            max_message_bytes=_RAW_BYTES,
        )
        for name, partitions in rules.raw_partitions.items()
    ]


def _inner(partitions: int) -> list[Topic]:
    exchange = ("trade", "quote", "depth", "derivative", "liquidation", "option", "bar")
    events = ((EXCHANGE_EVENT, exchange), (ONCHAIN_EVENT, ("flow",)), (SENTIMENT_EVENT, ("score",)))
    inner = [
        Topic(
            name=name,
            meaning="Micro-batches of normalised events of one record type, and progress.",
            key="none (partition by base asset)",
            content="arrow",
            records=(*records, "progress"),
            partitions=partitions,
            retention_ms=_FOREVER_MS,
        )
        for name, records in events
    ]
    return [
        *inner,
        Topic(
            name=FEATURE_ROW,
            meaning="One message per partition and row interval, one row per instrument.",
            key="none (partition of its events)",
            content="arrow",
            records=("row",),
            partitions=partitions,
            retention_ms=_FOREVER_MS,
        ),
        Topic(
            name=MARKET_STATE,
            meaning="Each partition's part of the sums over all instruments, to all partitions.",
            key="none (every partition)",
            content="json",
            records=("part",),
            partitions=partitions,
            retention_ms=_FOREVER_MS,
        ),
        *(
            Topic(
                name=name,
                meaning="Checkpoints of a stage, in chunks under one generation.",
                key="generation and chunk",
                content="bytes",
                records=("chunk", "manifest"),
                partitions=partitions,
                compacted=True,
            )
            for name in (FEATURIZE_CHECKPOINT, INFER_CHECKPOINT, SCORE_CHECKPOINT)
        ),
    ]


def _outer(partitions: int) -> list[Topic]:
    def topic(name: str, record: str, meaning: str, *, compacted: bool = False) -> Topic:
        return Topic(
            name=name,
            meaning=meaning,
            # Compaction keeps the last of each key: calibration has one state a horizon.
            key="instrument_id|horizon" if name == CALIBRATION else "instrument_id",
            content="json",
            records=(record,),
            partitions=partitions,
            retention_ms=_FOREVER_MS,
            compacted=compacted,
        )

    return [
        topic(FORECAST, "forecast", "Forecasts of realised variance: the first by id counts."),
        topic(FORECAST_LATEST, "forecast", "The latest forecast of each instrument.", compacted=True),
        topic(ATTENTION, "attention", "What the Performer looked at, for each forecast."),
        topic(FORECAST_SCORE, "forecast-score", "Each forecast against what then happened."),
        topic(
            CALIBRATION,
            "calibration",
            "Calibration state of each instrument and horizon.",
            compacted=True,
        ),
    ]


def _operations() -> list[Topic]:
    def topic(name: str, records: str, key: str, meaning: str, *, compacted: bool = False) -> Topic:
        return Topic(
            name=name,
            meaning=meaning,
            key=key,
            content="bytes" if name == DEAD_LETTER else "json",
            records=tuple(records.split()),
            partitions=1,
            retention_ms=_FOREVER_MS,
            compacted=compacted,
            max_message_bytes=2 * _RAW_BYTES if name == DEAD_LETTER else 4 << 20,
        )

    return [
        topic(LATE_EVENT, "late-event", "instrument_id", "Events that came too late or too early."),
        topic(
            DEAD_LETTER,
            "dead-letter",
            "that of the record",
            "Records that could not be read: key, value and headers untouched, and the reason.",
        ),
        topic(OPS_MODEL, "announcement model-decision", "kind", "Feature sets, and versions of models."),
        topic(OPS_PARITY, "parity", "partition", "Rows recomputed and compared."),
        topic(OPS_DRIFT, "drift", "kind|horizon|partition", "Drift of skill, coverage and inputs: alarms."),
        topic(
            INGEST_CHECKPOINT,
            "ingest-checkpoint",
            "raw topic and partition",
            "Where ingest resumes, with its clocks as of that offset.",
            compacted=True,
        ),
    ]
