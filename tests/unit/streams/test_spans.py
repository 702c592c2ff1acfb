"""Spans arrive at a receiver of OTLP over HTTP, with the ids that the messages carry."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.spans import spans_of

TRACE, SPAN = "7388d535c1b9a3c2cb8525b40e605f5e", "3371acf9a5c8e52e"


@pytest.fixture
def receiver():
    """A receiver on a free port: its address, and the spans that it was sent."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", got
        server.shutdown()
        thread.join()


def test_a_sampled_message_is_a_span_and_another_is_not(receiver):
    address, got = receiver
    spans = spans_of(address, "infer")
    spans.tell("forecast.volatility.v1", 2, f"00-{TRACE}-{SPAN}-01".encode())
    spans.tell("forecast.volatility.v1", 2, f"00-{TRACE}-{SPAN}-00".encode())
    spans.flush(10)
    ((path, request),) = got
    (resource,) = request.resource_spans
    (span,) = resource.scope_spans[0].spans
    assert path == "/v1/traces"
    assert (span.trace_id.hex(), span.span_id.hex(), span.name) == (TRACE, SPAN, "infer forecast.volatility.v1")
    assert {each.key: each.value.string_value for each in span.attributes} == {
        "messaging.system": "kafka",
        "messaging.destination.name": "forecast.volatility.v1",
        "messaging.destination.partition.id": "2",
    }
    assert ("service.name", "foreshock") in {
        (each.key, each.value.string_value) for each in resource.resource.attributes
    }


def test_without_a_receiver_there_are_no_spans():
    assert spans_of("", "infer") is None
