"""One verifier, five invariants, for every scenario.

I1 nothing lost: what readers take of the canonical topics, and the rows, are what the pure code makes of the raw log.
I2 effective uniqueness: after the rules of de-duplication nothing is there twice, and repeats say the same.
I3 order: per key nothing goes back in time, and the latest forecast never gets older.
I4 commit safety: no commit is ahead of what was acknowledged.
I5 no silent gap: each scheduled forecast exists; dead letters and late events are those of the pure code, each once.

Every function returns findings; none means that the invariant holds.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.topics import FED_BY, RAW_TOPICS
from streams.chaos.logs import (
    Logs,
    Place,
    RowMessage,
    Sample,
    Stamps,
    Stream,
    Truth,
    Written,
    accepted,
    raw_offsets,
    raw_partitions,
    stamp_text,
)

MOST_TOLD = 5
"""Findings of one kind that are told in full; the others are counted."""
INGEST = "ingest"


class Finding(msgspec.Struct, frozen=True):
    """What one invariant was broken by."""

    invariant: str
    text: str


class Repeats(NamedTuple):
    """What readers have to leave out: harmless, but bounded."""

    events: int
    rows: int
    forecasts: int


def verify(logs: Logs, truth: Truth) -> list[Finding]:
    """Return all findings, in the order of the invariants."""
    checks = {"I1": _lost, "I2": _twice, "I3": _backwards, "I4": _ahead, "I5": _gaps}
    return [Finding(name, text) for name, check in checks.items() for text in _bounded(check(logs, truth))]


def repeats(logs: Logs) -> Repeats:
    """Count the records that readers leave out."""
    return Repeats(
        events=sum(int((~accepted(stamps)).sum()) for stamps in logs.events.values()),
        rows=len(logs.rows) - len({(row.partition, row.row_time_ns) for row in logs.rows}),
        forecasts=len(logs.forecasts) - len({each.forecast.id for each in logs.forecasts}),
    )


def _bounded(texts: Iterable[str]) -> Iterator[str]:
    more = 0
    for count, text in enumerate(texts):
        if count < MOST_TOLD:
            yield text
        more += count >= MOST_TOLD
    if more:
        yield f"and {more} more"


def _lost(logs: Logs, truth: Truth) -> Iterator[str]:
    for stream in sorted(truth.events.keys() | logs.events.keys()):
        wanted = truth.events.get(stream, np.empty(0, dtype=np.int64))
        written = logs.events.get(stream, np.empty(0, dtype=np.int64))
        for stamp in np.setdiff1d(wanted, written)[: MOST_TOLD + 1]:
            yield f"{_name(stream)}: the event of {stamp_text(int(stamp))} is not there"
    found = _first_rows(logs.rows)
    for key in sorted(truth.rows.keys() | found.keys()):
        if found.get(key) != truth.rows.get(key):
            yield f"row of partition {key[0]} at {key[1]}: {_difference(found.get(key), truth.rows.get(key))}"


def _first_rows(rows: Iterable[RowMessage]) -> dict[tuple[int, int], bytes]:
    found: dict[tuple[int, int], bytes] = {}
    for row in rows:
        found.setdefault((row.partition, row.row_time_ns), row.value)
    return found


def _difference(found: bytes | None, wanted: bytes | None) -> str:
    if found is None:
        return "is not there"
    if wanted is None:
        return "should not be there"
    differing = sum(a != b for a, b in zip(found, wanted, strict=False)) + abs(len(found) - len(wanted))
    return f"{differing} of its bytes differ from those of the backfill"


def _twice(logs: Logs, truth: Truth) -> Iterator[str]:
    for stream, stamps in sorted(logs.events.items()):
        taken = stamps[accepted(stamps)]
        for stamp in np.setdiff1d(taken, truth.events.get(stream, np.empty(0, dtype=np.int64)))[: MOST_TOLD + 1]:
            yield f"{_name(stream)}: the event of {stamp_text(int(stamp))} is not one of the raw log"
    rows: dict[tuple[int, int], bytes] = {}
    for row in logs.rows:
        if rows.setdefault((row.partition, row.row_time_ns), row.value) != row.value:
            yield f"row of partition {row.partition} at {row.row_time_ns}: was written again with other bytes"
    ids: dict[tuple[str, int], tuple[str, int]] = {}
    for each in logs.forecasts:
        forecast = each.forecast
        mine = (forecast.id, each.partition)
        first = ids.setdefault((forecast.instrument_id, forecast.origin_time_ns), mine)
        if first != mine:
            yield f"{forecast.id}[{each.partition}]: is the forecast {first[0]}[{first[1]}] once more"


def _backwards(logs: Logs, _: Truth) -> Iterator[str]:
    for stream, stamps in sorted(logs.events.items()):
        left_out = stamps[~accepted(stamps)]
        taken = stamps[accepted(stamps)]
        for stamp in np.setdiff1d(left_out, taken)[: MOST_TOLD + 1]:
            yield f"{_name(stream)}: the event of {stamp_text(int(stamp))} stands behind later ones: no reader takes it"
    last_row: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for row in logs.rows:
        key = (row.partition, row.row_time_ns)
        if key not in seen and row.row_time_ns < last_row.get(row.partition, row.row_time_ns):
            yield f"row of partition {row.partition} at {row.row_time_ns}: stands behind a later one"
        seen.add(key)
        last_row[row.partition] = max(row.row_time_ns, last_row.get(row.partition, row.row_time_ns))
    yield from _forecasts_backwards(logs.forecasts)
    yield from _latest_backwards(logs)


def _forecasts_backwards(forecasts: Iterable[Written]) -> Iterator[str]:
    last: dict[str, int] = {}
    seen: set[str] = set()
    for each in forecasts:
        forecast = each.forecast
        before = last.get(forecast.instrument_id, forecast.origin_time_ns)
        if forecast.id not in seen and forecast.origin_time_ns < before:
            yield f"{forecast.id}: stands behind a later forecast"
        seen.add(forecast.id)
        last[forecast.instrument_id] = max(forecast.origin_time_ns, before)


def _latest_backwards(logs: Logs) -> Iterator[str]:
    last: dict[str, int] = {}
    for each in logs.latest:
        forecast = each.forecast
        before = last.get(forecast.instrument_id, forecast.origin_time_ns)
        if forecast.origin_time_ns < before:
            yield f"latest of {forecast.instrument_id}: went back from {before} to {forecast.origin_time_ns}"
        last[forecast.instrument_id] = forecast.origin_time_ns
    newest: dict[str, int] = {}
    for each in logs.forecasts:
        name, origin_ns = each.forecast.instrument_id, each.forecast.origin_time_ns
        newest[name] = max(origin_ns, newest.get(name, origin_ns))
    for name, origin_ns in sorted(newest.items()):
        if last.get(name) != origin_ns:
            yield f"latest of {name}: ends at {last.get(name)}, the last forecast is of {origin_ns}"


def _ahead(logs: Logs, _: Truth) -> Iterator[str]:
    written, covered = _written(logs), _covered(logs)
    # Of a checkpoint that does not tell what it covers nothing can be said.
    untold = {(each.group, each.place[1]) for each in logs.covered if logs.has_earlier and not each.resume}
    for number, sample in enumerate(logs.samples):
        for problem in (*_ingest_ahead(written, sample), *_stage_ahead(covered, sample, untold)):
            yield f"sample {number}: {problem}"


class _Taken(NamedTuple):
    """What readers take of one raw partition in one stream, all in rising order."""

    place: Place
    stamps: Stamps
    raw_offsets: NDArray[np.int64]
    offsets: NDArray[np.int64]


def _written(logs: Logs) -> dict[Place, list[_Taken]]:
    """Return by raw topic and partition where its events stand: once, for hours of samples are asked of it."""
    found: dict[Place, list[_Taken]] = defaultdict(list)
    for stream, stamps in logs.events.items():
        sources, is_taken = raw_partitions(stamps), accepted(stamps)
        for source in np.unique(sources):
            mine = is_taken & (sources == source)
            taken = stamps[mine]
            found[FED_BY[stream[0]], int(source)].append(
                _Taken(stream[:2], taken, raw_offsets(taken), logs.event_offsets[stream][mine])
            )
    return found


def _ingest_ahead(written: Mapping[Place, list[_Taken]], sample: Sample) -> Iterator[str]:
    """Every event of a raw record below the commit has to stand below the ends that were read after it."""
    for (group, raw_topic, raw_partition), committed in sample.commits.items():
        if group != INGEST:
            continue
        for taken in written.get((raw_topic, raw_partition), ()):
            needed = int(np.searchsorted(taken.raw_offsets, committed))
            there = int(np.searchsorted(taken.offsets, sample.ends.get(taken.place, 0)))
            if there < needed:
                yield (
                    f"{raw_topic}[{raw_partition}]: {committed} was committed, the event of "
                    f"{stamp_text(int(taken.stamps[there]))} was not yet on {taken.place[0]}"
                )


class _Checkpoints(NamedTuple):
    """Offsets of the manifests of a partition, rising, and how far each or one before it covers an input."""

    place: Place
    offsets: list[int]
    most: list[int]


def _covered(logs: Logs) -> dict[tuple[str, str, int], _Checkpoints]:
    """Return what checkpoints cover, by group, input topic and partition."""
    found: dict[tuple[str, str, int], _Checkpoints] = {}
    for each in sorted(logs.covered, key=lambda covered: covered.offset):
        for topic, resume in each.resume.items():
            known = found.setdefault((each.group, topic, each.place[1]), _Checkpoints(each.place, [], []))
            known.offsets.append(each.offset)
            known.most.append(max(resume, *known.most[-1:], 0))
    return found


def _stage_ahead(
    covered: Mapping[tuple[str, str, int], _Checkpoints], sample: Sample, untold: Container[tuple[str, int]]
) -> Iterator[str]:
    """What a stage commits has to be covered by a checkpoint that the changelog held by then."""
    for (group, topic, partition), committed in sample.commits.items():
        if group == INGEST or committed <= 0 or (group, partition) in untold:
            continue
        known = covered.get((group, topic, partition))
        count = bisect_left(known.offsets, sample.ends.get(known.place, 0)) if known else 0
        most = known.most[count - 1] if known and count else 0
        if committed > most:
            yield f"{group} committed {topic}[{partition}]@{committed}; checkpoints cover {most}"


def _gaps(logs: Logs, truth: Truth) -> Iterator[str]:
    have = {(each.forecast.instrument_id, each.forecast.origin_time_ns) for each in logs.forecasts}
    for name, origin_ns in sorted(logs.scheduled - have):
        yield f"{name}@{origin_ns}: there is no forecast, not even an unavailable one"
    for name, origin_ns in sorted(have - logs.scheduled):
        yield f"{name}@{origin_ns}: a forecast without a row"
    dead = {each for each in logs.dead if each[0] in RAW_TOPICS}
    for topic, partition, offset in sorted(truth.dead - dead):
        yield f"{topic}[{partition}]@{offset}: cannot be read and is no dead letter"
    for topic, partition, offset in sorted(dead - truth.dead):
        yield f"{topic}[{partition}]@{offset}: is a dead letter and can be read"
    for topic, partition, offset in sorted(each for each in logs.dead if each[0] not in RAW_TOPICS):
        yield f"{topic}[{partition}]@{offset}: a record of our own is a dead letter"
    late = set(logs.late)
    for topic, stamp in sorted(truth.late - late):
        yield f"{topic}: the late event of {stamp_text(stamp)} is not told"
    for topic, stamp in sorted(late - truth.late):
        yield f"{topic}: the event of {stamp_text(stamp)} is told late and is not"


def _name(stream: Stream) -> str:
    topic, partition, record = stream
    return f"{topic}[{partition}] {record}"
