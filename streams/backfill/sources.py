"""One backfill as it is asked for: where it reads, what it writes, whether it tells of late events."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Literal, NamedTuple

from featurestore.spans import Job
from schemas import Rules
from schemas.forecasts import Announcement
from streams.announcements import announcements
from streams.backfill import (
    Outcome,
    backfill_tiles,
    canonical_from,
    jobs_of,
    message_spans,
    placed,
    raw_spans,
    written,
)
from streams.backfill.compare import Scratch, compare
from streams.backfill.late import LateLog, LateReport, late_events, measured
from streams.backfill.tasks import CanonicalSpan, tile_spans
from streams.backfill.topics import RawRecord, canonical_messages, raw_records
from streams.settings import Settings
from streams.sources.captures import find_captures


class Request(NamedTuple):
    """What is asked for; one of `captures`, `topics` and `stored` says from where."""

    settings: Settings
    rules: Rules
    captures: tuple[Path, ...] = ()
    topics: Literal["", "raw", "canonical"] = ""
    stored: Path | None = None
    tiles: Path | None = None
    rows: Path | None = None
    with_late: bool = False


def run(
    request: Request, executor: Executor, progress: Callable[[str], None] = lambda _: None
) -> tuple[Outcome, LateReport | None]:
    """Do a backfill; return its account, and what there is to say of late events where that is asked for."""
    if request.stored is not None:
        stored = [request.stored]
        return backfill_tiles(stored, request.rules, rows=request.rows, executor=executor, progress=progress), None
    known: list[Announcement] = announcements(request.settings) if request.topics else []
    jobs = jobs_of(request.rules, known)
    outcome, log = Outcome(), LateLog(request.rules)
    spans = _canonical(request, executor, outcome, log)
    if not request.with_late:
        written(
            tile_spans(spans, jobs, executor),
            jobs,
            executor,
            outcome,
            tiles=request.tiles,
            rows=request.rows,
            progress=progress,
        )
        return outcome, None
    return outcome, _with_late(request, spans, jobs, executor, outcome, log, progress)


def _with_late(
    request: Request,
    spans: Iterable[CanonicalSpan],
    jobs: tuple[Job, ...],
    executor: Executor,
    outcome: Outcome,
    log: LateLog,
    progress: Callable[[str], None],
) -> LateReport:
    with Scratch() as scratch:
        written(
            tile_spans(scratch.keep(spans), jobs, executor),
            jobs,
            executor,
            outcome,
            tiles=request.tiles,
            rows=request.rows,
            progress=progress,
            made_rows=scratch.keep_rows,
        )
        if request.topics == "canonical":
            late_events(request.settings, log)
        return log.report(compare(scratch, log.held(), jobs, executor, progress))


def _canonical(request: Request, executor: Executor, outcome: Outcome, log: LateLog) -> Iterable[CanonicalSpan]:
    rules = request.rules
    if request.topics == "canonical":
        return message_spans(canonical_messages(request.settings), rules.partitions)
    spans = raw_spans(_raw(request), rules)
    if request.with_late:
        return measured(spans, rules, executor, log, outcome.account)
    return canonical_from(spans, rules, executor, outcome)


def _raw(request: Request) -> Iterable[RawRecord]:
    if request.topics:
        return raw_records(request.settings)
    return placed(find_captures(request.captures).messages(), request.rules)
