"""Whether a process lives and is ready, as whoever runs it asks over HTTP: `/live` and `/ready` beside its metrics."""

from collections.abc import Callable, Iterable
from socketserver import BaseServer
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.exposition import ThreadingWSGIServer

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""What WSGI calls an application."""


class _Quiet(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has in the standard library
        """Say nothing."""


def with_health(others: Application, unready: Callable[[], str]) -> Application:
    """Return an application that answers `/live` and `/ready` itself; `unready`: why not, "" where it is.

    Being answered at all is what `/live` tells: a process whose loop or reading stands still ends by itself, and
    one that is stopped as a whole, or has no thread left to run, does not answer.
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in {"/live", "/ready"}:
            return others(environ, start_response)
        reason = unready() if path == "/ready" else ""
        status = "503 Service Unavailable" if reason else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{reason or path[1:]}\n".encode()]

    return application


def bind(application: Application, address: str, port: int) -> BaseServer:
    """Return a server of `application` that `serve_forever` runs; raises OSError where it cannot listen."""
    return cast("BaseServer", make_server(address, port, cast("Any", application), ThreadingWSGIServer, _Quiet))
