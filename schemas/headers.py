"""The Kafka headers of every record: what consumers may rely on beside key and value."""

import msgspec

from schemas.batches import PROGRESS
from schemas.events import EVENTS
from schemas.forecasts import JSON_RECORDS


class Header(msgspec.Struct, frozen=True):
    """One header: its name, what its text says, and whether every message of the record has it."""

    name: str
    meaning: str
    always: bool = True


CLOUD_EVENT = (
    Header("ce_specversion", "1.0: CloudEvents in Kafka's binary mode"),
    Header("ce_id", "Id of the record: a repeat has the same"),
    Header("ce_source", "/foreshock"),
    Header("ce_type", "foreshock.RECORD.v1"),
    Header("ce_time", "The record's own time, RFC 3339 in nanoseconds; not when it was written"),
    Header("ce_subject", "What it is about: most often the instrument"),
    Header("content-type", "application/json"),
)
TRACEPARENT = Header("traceparent", "W3C trace context: deploy/docs/tracing.md says how it is chosen", always=False)

_RECORD = Header("record", "Name of the record type")
_RAW = (
    Header("source", "Venue or feed that sent it"),
    Header("format", "How the value is read: a name of streams/formats, or heartbeat"),
    Header("receive_time_ns", "When the feed handler got it, nanoseconds since 1970"),
)
_STAMP = Header("raw", "Raw partition that its events come from")
_PROGRESS = "PARTITION:OFFSET:WATERMARK_NS: all of this raw partition up to the offset is written"
_OWN = {
    "frame": _RAW,
    "heartbeat": _RAW,
    PROGRESS: (_RECORD, _STAMP, Header(PROGRESS, _PROGRESS)),
    "row": (
        _RECORD,
        Header("row_time_ns", "Border of the row, nanoseconds since 1970"),
        Header("row_id", "PARTITION@TIME/RULES/FEATURE SET: a repeat has the same"),
    ),
    "part": (_RECORD, Header("rules_id", "Hash of the rules of time that it was made under")),
    "late-event": (_RECORD, Header("reason", "late or future")),
    "dead-letter": tuple(
        Header(name, meaning)
        for name, meaning in (
            ("__streams.errors.exception", "Class of the error"),
            ("__streams.errors.message", "Where, what was expected and what was found"),
            ("__streams.errors.topic", "Topic that it stood on"),
            ("__streams.errors.partition", "Its partition"),
            ("__streams.errors.offset", "Its offset"),
            ("x-dlq-reason", "One of a few words, for counting"),
            ("x-dlq-stage", "Stage that could not read it"),
            ("x-dlq-app-version", "Release of that stage"),
            ("x-dlq-attempts", "How often it was tried: 1 and its replays"),
        )
    ),
}
_EVENT = (_RECORD, _STAMP, Header(PROGRESS, _PROGRESS, always=False))
_UNTRACED = {"frame", "heartbeat", "dead-letter", "chunk", "manifest", "ingest-checkpoint"}


def headers_of(record: str) -> tuple[Header, ...]:
    """Return the headers of a record type, by the name that `schemas.topics` gives it.

    >>> [header.name for header in headers_of("part")][:3]
    ['record', 'rules_id', 'ce_specversion']
    """
    own = _EVENT if record in EVENTS else _OWN.get(record, ())
    events = CLOUD_EVENT if record in JSON_RECORDS else ()
    return (*own, *events, *(() if record in _UNTRACED else (TRACEPARENT,)))
