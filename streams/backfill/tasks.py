"""A backfill as tasks of any `concurrent.futures.Executor`: cores of this machine, or a Dask cluster.

Three stages follow each other span by span: raw records to canonical messages, one task for each raw
partition; canonical messages to closed tiles and market parts; tiles and all parts to rows, one task
for each partition. A task gets all that it needs and returns all that it made, so that it may run
anywhere. While one stage works on a span, the stage before it works on the next one.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from featurestore.backfill import CanonicalMessage, rows_table
from featurestore.spans import EventState, HeldEvents, Job, RowState, close_tiles, make_rows, tell_parts
from featurestore.stored_tiles import TileSpan
from schemas import Rules
from schemas.rows import decode_rows
from schemas.topics import EVENT_TOPICS, LATE_EVENT
from streams.backfill.topics import RawRecord
from streams.ingest.normaliser import Normaliser, Tally
from streams.ingest.state import NormaliserState

Place = tuple[str, int]
"""A raw topic and a partition."""

RawSpan = Mapping[Place, Sequence[RawRecord]]
CanonicalSpan = Mapping[int, Sequence[CanonicalMessage]]
TileSpans = Mapping[int, tuple[TileSpan | None, list[bytes]]]
"""By partition, its tiles and its parts of the market."""

_BATCH_EVENTS = 5_000

_Key = TypeVar("_Key")
_State = TypeVar("_State")
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Inline(Executor):
    """Does each task at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that is done; an exception of the task is raised here."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Normalised(NamedTuple):
    """What became of a span of one raw partition."""

    messages: list[tuple[str, int, dict[str, bytes], bytes | None]]
    tally: Tally
    late: list[bytes]


class RowsMade(NamedTuple):
    """The rows of one partition that a span completed: a table, and (row time, row id, SHA-256) of each message."""

    table: pa.Table | None
    messages: list[tuple[int, str, bytes]]


def staged(
    upstream: Iterable[Mapping[_Key, _In]],
    executor: Executor,
    step: Callable[[_Key, _State | None, _In], tuple[_State, _Out]],
    states: dict[_Key, _State] | None = None,
) -> Iterator[dict[_Key, _Out]]:
    """Yield what `step(key, state, input)` makes of each span, each key's state handed on from span to span."""
    states = {} if states is None else states
    running: dict[_Key, Future[tuple[_State, _Out]]] | None = None
    for span in upstream:
        done = None if running is None else _collected(running, states)
        running = {key: executor.submit(step, key, states.get(key), given) for key, given in span.items()}
        if done is not None:
            yield done
    if running is not None:
        yield _collected(running, states)


def _collected(running: Mapping[_Key, "Future[tuple[_State, _Out]]"], states: dict[_Key, _State]) -> dict[_Key, _Out]:
    done = {}
    for key, future in running.items():
        states[key], done[key] = future.result()
    return done


def canonical_spans(spans: Iterable[RawSpan], rules: Rules, executor: Executor) -> Iterator[dict[Place, Normalised]]:
    """Yield what ingest makes of spans of raw records, by raw partition."""
    return staged(spans, executor, partial(normalise, rules))


def normalise(
    rules: Rules, place: Place, state: bytes | None, records: Sequence[RawRecord]
) -> tuple[bytes, Normalised]:
    """Return what ingest makes of a span of one raw partition, after its state; a task."""
    normaliser = Normaliser(*place, rules, _BATCH_EVENTS)
    if state is not None:
        normaliser.restore(NormaliserState.decode(state))
    for _, _, offset, key, value, headers in records:
        normaliser.feed(offset, key, value, headers)
    messages, late = [], []
    for output in normaliser.flush():
        if output.topic in EVENT_TOPICS:
            messages.append((output.topic, int(output.partition or 0), dict(output.headers), output.value))
        elif output.topic == LATE_EVENT and output.value is not None:
            late.append(output.value)
    return normaliser.state().encode(), Normalised(messages, normaliser.tally, late)


class Numbering:
    """Gives canonical messages the offsets of topics that hold nothing else."""

    def __init__(self) -> None:
        self._offsets: Counter[tuple[str, int]] = Counter()

    def __call__(self, span: Mapping[Place, Normalised], partitions: int) -> CanonicalSpan:
        """Return the messages of a span by partition, those of one raw partition in order."""
        found: dict[int, list[CanonicalMessage]] = {partition: [] for partition in range(partitions)}
        for place in sorted(span):
            for topic, partition, headers, value in span[place].messages:
                offset = self._offsets[topic, partition]
                self._offsets[topic, partition] += 1
                found[partition].append(CanonicalMessage(topic, partition, offset, headers, value))
        return found


def tile_spans(
    spans: Iterable[CanonicalSpan],
    jobs: Sequence[Job],
    executor: Executor,
    held: Mapping[int, Sequence[HeldEvents]] | None = None,
) -> Iterator[TileSpans]:
    """Yield tiles and market parts of spans of canonical messages; `held` are events that are on no topic."""
    states = {job.partition: (EventState(held=tuple((held or {}).get(job.partition, ()))), None) for job in jobs}
    return staged(spans, executor, partial(_tiles, tuple(jobs)), states)  # type: ignore[arg-type]


def _tiles(
    jobs: Sequence[Job],
    partition: int,
    state: tuple[EventState, bytes | None],
    messages: Sequence[CanonicalMessage],
) -> tuple[tuple[EventState, bytes | None], tuple[TileSpan | None, list[bytes]]]:
    job = jobs[partition]
    events, span = close_tiles(job, state[0], messages)
    if span is None:
        return (events, state[1]), (None, [])
    blob, parts = tell_parts(job, state[1], span)
    return (events, blob), (span, parts)


def stored_spans(
    spans: Iterable[Mapping[int, TileSpan]], jobs: Sequence[Job], executor: Executor
) -> Iterator[TileSpans]:
    """Yield stored tiles with the market parts that follow from them."""
    return staged(spans, executor, partial(_parts, tuple(jobs)))


def _parts(
    jobs: Sequence[Job], partition: int, blob: bytes | None, span: TileSpan
) -> tuple[bytes | None, tuple[TileSpan | None, list[bytes]]]:
    blob, parts = tell_parts(jobs[partition], blob, span)
    return blob, (span, parts)


def row_spans(spans: Iterable[TileSpans], jobs: Sequence[Job], executor: Executor) -> Iterator[dict[int, RowsMade]]:
    """Yield the rows of spans of tiles, by partition."""
    return staged(_with_all_parts(spans, len(jobs)), executor, partial(_rows, tuple(jobs)))


def _with_all_parts(
    spans: Iterable[TileSpans], partitions: int
) -> Iterator[dict[int, tuple[TileSpan | None, list[bytes]]]]:
    for span in spans:
        parts = [part for partition in sorted(span) for part in span[partition][1]]
        yield {partition: (span.get(partition, (None, []))[0], parts) for partition in range(partitions)}


def _rows(
    jobs: Sequence[Job], partition: int, state: RowState | None, given: tuple[TileSpan | None, list[bytes]]
) -> tuple[RowState, RowsMade]:
    job = jobs[partition]
    after, outputs = make_rows(job, state or RowState(), *given)
    rows = [decode_rows(output.value) for output in outputs]
    names = tuple(spec.name for spec in job.catalogue().features)
    messages = [
        (each.header.row_time_ns, each.header.row_id, hashlib.sha256(output.value).digest())
        for each, output in zip(rows, outputs, strict=True)
    ]
    return after, RowsMade(rows_table(rows, names) if rows else None, messages)
