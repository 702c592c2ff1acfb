"""What late events would have changed, so that the lateness setting can be chosen from data.

An event's lateness is how far it lies behind the greatest watermark that its raw partition had before
it, allowed lateness left out: under a setting of at least that much it is not late. It does not depend
on the setting, so one reading under no allowed lateness at all tells of every setting.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from featurestore.spans import HeldEvents
from schemas import EVENTS, Rules, base_asset, partition_of
from schemas.batches import decode_batch, encode_batch, field_names
from schemas.forecasts import LateEvent, decode_json
from schemas.rules import SECOND_NS
from schemas.topics import LATE_EVENT
from streams.backfill.compare import Changes
from streams.backfill.tasks import (
    CanonicalSpan,
    Normalised,
    Numbering,
    Place,
    RawSpan,
    normalise,
    staged,
)
from streams.backfill.topics import RawRecord
from streams.ingest.normaliser import Tally
from streams.kafka import read_topic
from streams.settings import Settings

CANDIDATES_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Settings of the allowed lateness that a report compares."""
EDGES_NS: NDArray[np.int64] = np.unique(
    np.concatenate([np.geomspace(1e6, 6e10, 160), np.array(CANDIDATES_SECONDS) * SECOND_NS]).astype(np.int64)
)
"""Settings of a curve, in nanoseconds: 1 ms to a minute, and the candidates."""

Kind = tuple[str, str]
"""Venue and record type."""


class Lateness(msgspec.Struct):
    """How late the events of one venue and record type came: `late[i]` of them by more than `EDGES_NS[i]`."""

    events: int = 0
    late: list[int] = msgspec.field(default_factory=lambda: [0] * len(EDGES_NS))

    def add(self, needed_ns: NDArray[np.int64]) -> None:
        """Count events by the setting that each of them needs."""
        rank = np.searchsorted(EDGES_NS, needed_ns, side="left")
        counts = np.bincount(rank, minlength=len(EDGES_NS) + 1)
        above = np.cumsum(counts[::-1])[::-1][1:]
        self.late = (np.array(self.late) + above).tolist()

    def merge(self, other: "Lateness") -> None:
        """Add what another has counted."""
        self.events += other.events
        self.late = (np.array(self.late) + np.array(other.late)).tolist()


class LateReport(msgspec.Struct, kw_only=True):
    """What there was of late events under one setting, and what they would have changed."""

    allowed_lateness_seconds: float
    late: dict[str, int] = {}
    """Events left out, by "venue record reason"."""
    lateness: dict[str, Lateness] = {}
    """By "venue record"; of what was read in raw form only."""
    candidates: dict[str, tuple[int, float]] = {}
    """By setting in seconds: events that would be late, and their share."""
    changes: Changes


class LateLog:
    """The late events of a log, and how late all its events were."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.events: list[LateEvent] = []
        self.lateness: dict[Kind, Lateness] = {}

    def held(self) -> dict[int, list[HeldEvents]]:
        """Return the late events by partition, as engines hold them; those that are not believed stay out."""
        found: dict[tuple[int, str], list[LateEvent]] = {}
        for event in self.events:
            if event.reason == "late":
                partition = partition_of(base_asset(event.instrument_id), self._rules.partitions)
                found.setdefault((partition, event.record), []).append(event)
        held: dict[int, list[HeldEvents]] = {}
        for (partition, record), events in sorted(found.items()):
            held.setdefault(partition, []).append(HeldEvents(record, _batch(record, events)))
        return held

    def report(self, changes: Changes) -> LateReport:
        """Return all that there is to say; `changes` are those of the rows."""
        lateness = {f"{venue} {record}": each for (venue, record), each in sorted(self.lateness.items())}
        late = Counter(f"{event.venue} {event.record} {event.reason}" for event in self.events)
        return LateReport(
            allowed_lateness_seconds=self._rules.allowed_lateness_ns / SECOND_NS,
            late=dict(sorted(late.items())),
            lateness=lateness,
            candidates=candidates(lateness.values()),
            changes=changes,
        )


def candidates(lateness: Iterable[Lateness]) -> dict[str, tuple[int, float]]:
    """Return, by setting in seconds, the number and the share of events that would be late."""
    every = list(lateness)
    total = sum(each.events for each in every)
    found = {}
    for seconds in CANDIDATES_SECONDS if total else ():
        place = int(np.searchsorted(EDGES_NS, round(seconds * SECOND_NS)))
        count = sum(each.late[place] for each in every)
        found[f"{seconds:g}"] = count, count / total
    return found


def _batch(record: str, events: Sequence[LateEvent]) -> pa.RecordBatch:
    kind = {field.name: field for field in msgspec.structs.fields(EVENTS[record])}
    columns: dict[str, list[object]] = {}
    for name in field_names(record):
        absent = np.nan if kind[name].type is float else kind[name].default
        columns[name] = [absent if event.event.get(name) is None else event.event[name] for event in events]
    columns["receive_time_ns"] = [event.receive_time_ns for event in events]
    columns["tile_time_ns"] = [event.event_time_ns for event in events]
    for name in ("raw_partition", "raw_offset", "raw_index"):
        columns[name] = [getattr(event, name) for event in events]
    return decode_batch(encode_batch(record, columns)).to_arrow()


def late_events(settings: Settings, log: LateLog) -> None:
    """Take the late events from their topic; of what ingest told twice the first counts."""
    first: dict[tuple[str, int, int, int], LateEvent] = {}
    for message in read_topic(settings, LATE_EVENT):
        if message.value is not None:
            event = decode_json(message.value, LateEvent)
            first.setdefault((event.raw_topic, event.raw_partition, event.raw_offset, event.raw_index), event)
    log.events += first.values()


def measured(
    spans: Iterable[RawSpan], rules: Rules, executor: Executor, log: LateLog, account: Callable[[Tally], None]
) -> Iterator[CanonicalSpan]:
    """Yield canonical messages of raw records by partition; put into `log` what is late, and how late all is."""
    number = Numbering()
    for span in staged(spans, executor, partial(_measure, rules)):
        for _, (made, lateness) in sorted(span.items()):
            account(made.tally)
            log.events += [decode_json(value, LateEvent) for value in made.late]
            for kind, each in lateness.items():
                log.lateness.setdefault(kind, Lateness()).merge(each)
        yield number({place: made for place, (made, _) in span.items()}, rules.partitions)


def _measure(
    rules: Rules, place: Place, state: tuple[bytes, bytes] | None, records: Sequence[RawRecord]
) -> tuple[tuple[bytes, bytes], tuple[Normalised, dict[Kind, Lateness]]]:
    first, second = state or (None, None)
    first, made = normalise(rules, place, first, records)
    # Without allowed lateness, how far an event is late is how much it needs.
    second, strict = normalise(msgspec.structs.replace(rules, allowed_lateness_ns=0), place, second, records)
    return (first, second), (made, _lateness(strict))


def _lateness(made: Normalised) -> dict[Kind, Lateness]:
    """Return how late the events were that carry a time of their own; `made` under no allowed lateness."""
    found: dict[Kind, Lateness] = {}
    needed: dict[Kind, list[int]] = {}
    for _, _, headers, value in made.messages:
        record = headers["record"].decode()
        if value and not EVENTS[record].known_time:
            batch = decode_batch(value)
            codes, venues = batch.codes("venue")
            counts = np.bincount(codes[batch.numbers("event_time_ns") > 0], minlength=len(venues))
            for venue, count in zip(venues, counts.tolist(), strict=True):
                found.setdefault((venue, record), Lateness()).events += count
    for value in made.late:
        event = decode_json(value, LateEvent)
        if event.reason == "late":
            found.setdefault((event.venue, event.record), Lateness()).events += 1
            needed.setdefault((event.venue, event.record), []).append(event.by_ns)
    for kind, each in needed.items():
        found[kind].add(np.array(each))
    return {kind: each for kind, each in found.items() if each.events}
