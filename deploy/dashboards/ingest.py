"""Ingest and data quality: what venues send, what is wrong with it, and what becomes of it."""

from deploy.dashboards.frame import Dashboard
from deploy.dashboards.limits import limit
from deploy.dashboards.panels import Chart, Query
from deploy.dashboards.promql import count, gauge, increase, or_zero, quantile, rate
from schemas.metrics import (
    BOOK_CHANGES,
    BOOK_GAPS,
    BOOKS,
    DEAD_LETTERS,
    EVENT_TIME_LAG,
    EVENTS_RECEIVED,
    FEATURE_NULL,
    FRAMES,
    INGEST_DELAY,
    LATE_EVENTS,
    PARITY_BEHIND,
    PARITY_CHECKED,
    PARITY_MISMATCH,
    REPEATED_EVENTS,
    SOURCE_LAST_EVENT,
    VENUE_CLOCK_AHEAD,
)

_VENUE = {"venue": "$venue"}

_COMES_IN = (
    Chart(
        title="Raw frames by what became of them",
        description="Frames read from the raw topics. All that is not decoded is left out for a named reason or is a "
        "dead letter: nothing is lost silently.",
        unit="ops",
        stacked=True,
        queries=(Query(rate(FRAMES, "outcome"), "{{outcome}}"),),
    ),
    Chart(
        title="Events accepted by topic",
        description="Canonical events written. A topic that falls to 0 while others go on: its venues are silent.",
        unit="ops",
        stacked=True,
        queries=(Query(rate(EVENTS_RECEIVED, "topic"), "{{topic}}"),),
    ),
    Chart(
        title="Time in ingest",
        description="From raw frames read to their events acknowledged by Kafka, of a sample of the batches.",
        unit="s",
        queries=tuple(Query(quantile(q, INGEST_DELAY), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
    ),
)

_VENUES = (
    Chart(
        title="Age of each venue's last event",
        description="Now minus the event time of the last event of a venue and stream. In a replay it is the age of "
        "the recording.",
        unit="s",
        limits=(limit("source_silence"),),
        alerts=("SourceSilent",),
        queries=(
            Query(
                f"time() - {gauge('max', SOURCE_LAST_EVENT, 'venue', 'stream', **_VENUE)}",
                "{{venue}} {{stream}}",
            ),
        ),
    ),
    Chart(
        title="Event to receipt",
        description="Receive time minus event time of the last event of a topic: the way from the exchange to the "
        "capture.",
        unit="s",
        limits=(limit("event_time_lag"),),
        alerts=("EventTimeLagHigh",),
        minimum=None,
        queries=(Query(gauge("max", EVENT_TIME_LAG, "topic"), "{{topic}}"),),
    ),
    Chart(
        title="How far venues' clocks are ahead",
        description="Event time minus receive time. Below 0 is the way of the message; above 0 the venue's clock or "
        "ours is wrong.",
        unit="s",
        limits=(limit("clock_ahead"),),
        alerts=("ClockSkew",),
        minimum=None,
        queries=(Query(gauge("max", VENUE_CLOCK_AHEAD, "venue", **_VENUE), "{{venue}}"),),
    ),
    Chart(
        title="Events outside the lateness bound",
        description="By venue and reason. They are written to the late topics and are in no row.",
        unit="ops",
        queries=(Query(or_zero(rate(LATE_EVENTS, "venue", "reason", **_VENUE), "reason"), "{{venue}} {{reason}}"),),
    ),
    Chart(
        title="Share of late events",
        description="Late events of a venue by all events accepted.",
        unit="percentunit",
        limits=(limit("late_ratio"),),
        alerts=("LateRatioHigh",),
        queries=(
            Query(
                f"({or_zero(rate(LATE_EVENTS, 'venue', **_VENUE), 'venue')}) / on() group_left() "
                f"{rate(EVENTS_RECEIVED)}",
                "{{venue}}",
            ),
        ),
    ),
    Chart(
        title="Events seen again",
        description="Events that ingest wrote again after a restart, recognised by their stamps and skipped.",
        unit="ops",
        queries=(Query(or_zero(rate(REPEATED_EVENTS, "topic"), "topic"), "{{topic}}"),),
    ),
)

_BOOKS = (
    Chart(
        title="Order books by what is known",
        width=12,
        description="known; lost since a gap, until the next good snapshot; unknown: no snapshot has come yet.",
        unit="none",
        stacked=True,
        queries=(Query(gauge("sum", BOOKS, "venue", "standing", **_VENUE), "{{venue}} {{standing}}"),),
    ),
    Chart(
        title="Share of order books lost",
        width=12,
        description="Books that wait for a snapshot after a gap, by all books of the venue.",
        unit="percentunit",
        limits=(limit("books_lost_ratio"),),
        alerts=("BooksLost",),
        queries=(
            Query(
                f"{gauge('sum', BOOKS, 'venue', standing='lost', **_VENUE)} / "
                f"clamp_min({gauge('sum', BOOKS, 'venue', **_VENUE)}, 1)",
                "{{venue}}",
            ),
        ),
    ),
    Chart(
        title="Gaps in order books",
        width=12,
        description="Books found wrong, by venue and reason, in each step.",
        unit="none",
        queries=(Query(or_zero(increase(BOOK_GAPS, "venue", "reason", **_VENUE), "reason"), "{{venue}} {{reason}}"),),
    ),
    Chart(
        title="Changes of order books by what became of them",
        width=12,
        description="waiting: for a snapshot that has not come.",
        unit="ops",
        stacked=True,
        queries=(Query(rate(BOOK_CHANGES, "venue", "outcome", **_VENUE), "{{venue}} {{outcome}}"),),
    ),
)

PARITY = Chart(
    title="Rows that parity found different",
    description="Rows that the canonical log does not give again, by reason, since the process started. There must "
    "be none.",
    unit="none",
    alerts=("ParityMismatch",),
    queries=(Query(or_zero(count(PARITY_MISMATCH, "reason"), "reason"), "{{reason}}"),),
)

_QUALITY = (
    Chart(
        title="Dead letters by second",
        description="Records that could not be read, by stage and reason. `foreshock dead-letter list` shows them.",
        unit="ops",
        limits=(limit("dead_letters_per_second"),),
        alerts=("DlqRateHigh",),
        queries=(Query(or_zero(rate(DEAD_LETTERS, "stage", "reason"), "stage"), "{{stage}} {{reason}}"),),
    ),
    Chart(
        title="Dead letters so far",
        description="Records that could not be read, by stage and reason, since the processes started.",
        unit="none",
        queries=(Query(or_zero(count(DEAD_LETTERS, "stage", "reason"), "stage"), "{{stage}} {{reason}}"),),
    ),
    Chart(
        title="Masked values of features",
        description="The ten features with the largest share of masked values in the last row. Some are masked until "
        "their window is full.",
        unit="percentunit",
        maximum=1.0,
        queries=(Query(f"topk(10, {gauge('max', FEATURE_NULL, 'feature')})", "{{feature}}"),),
    ),
    Chart(
        title="Row messages recomputed by parity",
        description="Rows made again from the canonical log and held against those written, per second.",
        unit="ops",
        queries=(Query(rate(PARITY_CHECKED, "partition"), "partition {{partition}}"),),
    ),
    PARITY,
    Chart(
        title="How far parity is behind",
        description="Event time between what parity has recomputed and the last row message.",
        unit="s",
        queries=(Query(gauge("max", PARITY_BEHIND, "partition"), "partition {{partition}}"),),
    ),
)

BOARD = Dashboard(
    uid="foreshock-ingest",
    title="Foreshock / Ingest and data quality",
    description="What venues send, how late, with which gaps, and whether rows are what the log says.",
    variables=("venue",),
    rows=(
        ("What comes in", _COMES_IN),
        ("Venues", _VENUES),
        ("Order books", _BOOKS),
        ("Quality", _QUALITY),
    ),
)
