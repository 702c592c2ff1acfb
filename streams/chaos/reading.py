"""Reads what a run left on its topics, and recomputes from its raw log what should be there."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from featurestore.backfill import backfill
from featurestore.catalogue import Catalogue
from schemas.batches import PROGRESS, decode_batch
from schemas.forecasts import Announcement, LateEvent, decode_json
from schemas.rows import decode_rows
from schemas.rules import Rules
from schemas.topics import (
    DEAD_LETTER,
    EVENT_TOPICS,
    FEATURE_ROW,
    FEATURIZE_CHECKPOINT,
    FORECAST,
    FORECAST_LATEST,
    INFER_CHECKPOINT,
    LATE_EVENT,
    RAW_TOPICS,
    SCORE_CHECKPOINT,
)
from streams.announcements import announcements
from streams.backfill.tasks import Normalised, Numbering
from streams.backfill.topics import RawRecord
from streams.chaos.logs import Covered, ForecastRecord, Logs, RowMessage, Stamps, Stream, Truth, Written, pack
from streams.checkpoints import manifests_written
from streams.dead_letters.reading import letters
from streams.ingest.normaliser import HEARTBEAT, Normaliser
from streams.kafka import read_topic
from streams.settings import Settings
from streams.sources import RawMessage
from streams.sources.replay import with_heartbeats

CHECKPOINTS = {"featurize": FEATURIZE_CHECKPOINT, "infer": INFER_CHECKPOINT, "score": SCORE_CHECKPOINT}
"""Group of a stage to the topic of its checkpoints."""


def read_logs(settings: Settings) -> Logs:
    """Return what the topics hold now; raises StateError where they cannot be read."""
    events, offsets = _events(
        (topic, message.partition, message.offset, message.headers["record"].decode(), message.value)
        for topic in EVENT_TOPICS
        for message in read_topic(settings, topic)
    )
    rows, scheduled = [], set()
    for message in read_topic(settings, FEATURE_ROW):
        row_time_ns = int(message.headers["row_time_ns"])
        rows.append(RowMessage(message.partition, row_time_ns, message.value or b""))
        scheduled |= {(name, row_time_ns) for name in decode_rows(message.value or b"").instruments}
    return Logs(
        events=events,
        event_offsets=offsets,
        rows=rows,
        scheduled=scheduled,
        forecasts=_forecasts(settings, FORECAST),
        latest=_forecasts(settings, FORECAST_LATEST),
        dead=[letter.origin for letter in letters(settings)],
        late=[_late(message.value or b"") for message in read_topic(settings, LATE_EVENT)],
        covered=[each for group in CHECKPOINTS for each in _covered(settings, group)],
    )


def _forecasts(settings: Settings, topic: str) -> list[Written]:
    return [
        Written(message.partition, message.offset, message.timestamp_ms, decode_json(message.value, ForecastRecord))
        for message in read_topic(settings, topic)
        if message.value is not None
    ]


def dead_place(headers: dict[str, bytes]) -> tuple[str, int, int]:
    """Return the topic, partition and offset of the record that a dead letter is of."""
    topic, partition, offset = (headers[f"__streams.errors.{name}"] for name in ("topic", "partition", "offset"))
    return topic.decode(), int(partition), int(offset)


def _late(value: bytes) -> tuple[str, int]:
    event = decode_json(value, LateEvent)
    places = (np.array([number]) for number in (event.raw_partition, event.raw_offset, event.raw_index))
    return event.raw_topic, int(pack(*places)[0])


def _covered(settings: Settings, group: str) -> Iterator[Covered]:
    topic = CHECKPOINTS[group]
    for message in read_topic(settings, topic):
        for partition, resume in manifests_written(message.key, message.value):
            yield Covered(group, (topic, partition), message.offset, resume)


def truth_of(settings: Settings, catalogue: Catalogue | None = None) -> Truth:
    """Return what the pure code makes of the raw topics as they are now."""
    places = [(topic, p) for topic in RAW_TOPICS for p in range(settings.rules.raw_partitions[topic])]
    raw = {place: _raw(settings, *place) for place in places}
    return _truth(raw, settings.rules, catalogue, announcements(settings))


def truth_of_messages(messages: Iterable[RawMessage], settings: Settings, catalogue: Catalogue | None = None) -> Truth:
    """Return what the pure code would make of a raw log of these messages and their heartbeats.

    Announcements are those of the broker, as `truth_of` reads them.
    """
    raw: dict[tuple[str, int], list[RawRecord]] = {
        (topic, p): [] for topic in RAW_TOPICS for p in range(settings.rules.raw_partitions[topic])
    }
    for topic, partition, message in with_heartbeats(messages, settings.rules):
        log = raw[topic, partition]
        log.append((topic, partition, len(log), message.key, message.value, message.headers()))
    return _truth(raw, settings.rules, catalogue, announcements(settings))


def _truth(
    raw: Mapping[tuple[str, int], Iterable[RawRecord]],
    rules: Rules,
    catalogue: Catalogue | None,
    announced: Sequence[Announcement],
) -> Truth:
    made: dict[tuple[str, int], Normalised] = {}
    truth = Truth(inputs=0, events={}, rows={}, dead=set(), late=set())
    for (topic, partition), records in raw.items():
        normaliser = Normaliser(topic, partition, rules)
        made[topic, partition] = Normalised(list(_normalised(normaliser, records, truth)), normaliser.tally, [])
    canonical = Numbering()(made, rules.partitions)
    messages = [message for partition in sorted(canonical) for message in canonical[partition]]
    truth.events, _ = _events((m.topic, m.partition, m.offset, m.headers["record"].decode(), m.value) for m in messages)
    for output in backfill(messages, rules, catalogue or Catalogue.discover(rules), announced):
        header = decode_rows(output.value).header
        truth.rows[header.partition, header.row_time_ns] = output.value
    return truth


def _raw(settings: Settings, topic: str, partition: int) -> Iterator[RawRecord]:
    for message in read_topic(settings, topic, partitions=[partition]):
        yield topic, partition, message.offset, message.key, message.value, message.header_pairs()


def _normalised(
    normaliser: Normaliser, records: Iterable[RawRecord], truth: Truth
) -> Iterator[tuple[str, int, dict[str, bytes], bytes | None]]:
    """Yield canonical messages; put what is late or dead into `truth`."""
    for _, _, offset, key, value, headers in records:
        truth.inputs += dict(headers).get("format") != HEARTBEAT
        normaliser.feed(offset, key, value, headers)
    for output in normaliser.flush():
        if output.topic == LATE_EVENT:
            truth.late.add(_late(output.value or b""))
        elif output.topic == DEAD_LETTER:
            truth.dead.add(dead_place(dict(output.headers)))
        else:
            yield output.topic, int(output.partition or 0), dict(output.headers), output.value


def _events(
    messages: Iterable[tuple[str, int, int, str, bytes | None]],
) -> tuple[dict[Stream, Stamps], dict[Stream, NDArray[np.int64]]]:
    """Return the stamps of all events by stream, and the offsets of their messages."""
    stamps: dict[Stream, list[Stamps]] = defaultdict(list)
    offsets: dict[Stream, list[NDArray[np.int64]]] = defaultdict(list)
    for topic, partition, offset, record, value in messages:
        if record == PROGRESS or not value:
            continue
        batch = decode_batch(value)
        numbers = (batch.numbers(name).astype(np.int64) for name in ("raw_partition", "raw_offset", "raw_index"))
        packed = pack(*numbers)
        stamps[topic, partition, record].append(packed)
        offsets[topic, partition, record].append(np.full(len(packed), offset, dtype=np.int64))
    return _joined(stamps), _joined(offsets)


def _joined(parts: dict[Stream, list[NDArray[np.int64]]]) -> dict[Stream, NDArray[np.int64]]:
    return {stream: np.concatenate(arrays) for stream, arrays in parts.items()}
