"""Spans of sampled messages to an OpenTelemetry receiver (OTLP over HTTP), where FORESHOCK_OTLP_ENDPOINT names one.

Needs the extra `otel`. A span says when a message was sent, with the ids of its `traceparent`; it is told by the wall
clock, and no record knows of it. Spans wait in a bounded queue, and are lost where the receiver is not there.
"""

import atexit
import re
import time
from typing import Any

from schemas.errors import SettingsError

_SAMPLED = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-01")
"""A sampled `traceparent`; a record of others may bear anything."""


class Spans:
    """Sends spans in batches from a thread of its own; `tell` never blocks."""

    def __init__(self, endpoint: str, process: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise SettingsError(
                "FORESHOCK_OTLP_ENDPOINT needs OpenTelemetry: install the extra `otel`, or leave it empty"
            ) from None
        self._process = process
        self._resource = Resource({"service.name": "foreshock", "service.instance.id": process})
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._processor = BatchSpanProcessor(exporter)
        atexit.register(self._processor.shutdown)

    def tell(self, topic: str, partition: int | None, traceparent: bytes) -> None:
        """Tell that a message was sent now, if its trace is sampled."""
        if found := _SAMPLED.fullmatch(traceparent):
            self._processor.on_end(self._span(topic, partition, int(found[1], 16), int(found[2], 16)))

    def flush(self, seconds: float) -> None:
        """Send what waits."""
        self._processor.force_flush(int(seconds * 1_000))

    def _span(self, topic: str, partition: int | None, trace: int, span: int) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

        now_ns = time.time_ns()
        about: dict[str, str | int] = {"messaging.system": "kafka", "messaging.destination.name": topic}
        if partition is not None:
            about["messaging.destination.partition.id"] = str(partition)
        return ReadableSpan(
            name=f"{self._process} {topic}",
            context=SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(1)),
            resource=self._resource,
            attributes=about,
            kind=SpanKind.PRODUCER,
            start_time=now_ns,
            end_time=now_ns,
        )


def spans_of(endpoint: str, process: str) -> Spans | None:
    """Return where spans go; None where no receiver is named."""
    return Spans(endpoint, process) if endpoint else None
