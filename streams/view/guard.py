"""Who may ask: pages of this server alone, and nothing in a page but what this server sent."""

import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    # No script, style or picture but ours, none of them inline: text of records can never become one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example.org")]
    [True, True, True, False, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(request_host: str) -> str:
    """Return the name in a Host header, without its port.

    >>> host_of("127.0.0.1:8750"), host_of("[::1]:8750"), host_of("localhost")
    ('127.0.0.1', '[::1]', 'localhost')
    """
    name, colon, port = request_host.rpartition(":")
    return name if colon and port.isdecimal() else request_host


def guard(*, only_loopback: bool) -> Middleware:
    """Return the middleware. `only_loopback`: whoever asks by another name was led here by a foreign name server."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if only_loopback and not is_loopback(host_of(request.host)):
            raise web.HTTPForbidden(text=f"this page is for this machine alone, not for {request.host[:80]!r}")
        if request.method not in {"GET", "HEAD"} and not _is_own(request):
            raise web.HTTPForbidden(text="asked by another page")
        return await handler(request)

    return guarded


def _is_own(request: web.Request) -> bool:
    """Say whether a page of ours asks: others cannot set this header without being allowed to."""
    return request.headers.get("X-Foreshock-View") == "1" and request.headers.get("Origin", "").endswith(
        f"//{request.host}"
    )


async def set_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of every answer, errors included."""
    response.headers.update(HEADERS)
