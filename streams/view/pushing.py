"""Server-sent events: each open page is sent what changed, soon after it changed."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from streams.view.state import ViewState
from streams.view.telling import Wish, encoded, news

MOST_PAGES = 16
"""Open pages; each costs the server as much as the first."""
_TOGETHER_SECONDS = 0.02
"""Partitions write within milliseconds of each other: one event for all of them."""
_SIGN_OF_LIFE_SECONDS = 2.0
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Pages:
    """The open pages, woken when something changed; for one event loop."""

    def __init__(self, state: ViewState, tell_health: Callable[[], dict[str, Any]]) -> None:
        self._state, self._tell_health = state, tell_health
        self._waiting: set[asyncio.Event] = set()
        self._health_version = 0

    def wake(self) -> None:
        """Tell all that records came."""
        for page in self._waiting:
            page.set()

    def wake_for_health(self) -> None:
        """Tell all that the stack was looked at."""
        self._health_version += 1
        self.wake()

    async def serve(self, request: web.Request, wish: Wish) -> web.StreamResponse:
        """Send events until the page goes away or the server ends."""
        if len(self._waiting) >= MOST_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MOST_PAGES} pages are open already: close one")
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            await self._send(response, wish, woken)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._waiting.discard(woken)
        return response

    async def _send(self, response: web.StreamResponse, wish: Wish, woken: asyncio.Event) -> None:
        since, epoch, told_health = 0, self._state.epoch, -1
        while True:
            woken.clear()
            if epoch != self._state.epoch:
                since, epoch = 0, self._state.epoch
            events = []
            if (told := news(self._state, wish, since)) is not None:
                since = self._state.version
                events.append(encoded("news", told))
            if told_health != self._health_version:
                told_health = self._health_version
                events.append(encoded("health", self._tell_health()))
            await response.write(b"".join(events) or encoded("alive", {}))
            try:
                await asyncio.wait_for(woken.wait(), _SIGN_OF_LIFE_SECONDS)
                await asyncio.sleep(_TOGETHER_SECONDS)
            except TimeoutError:
                continue
