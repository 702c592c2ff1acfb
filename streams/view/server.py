"""The server of the page: its files, its events, and answers about one forecast."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from confluent_kafka import KafkaException

from schemas.errors import ForeshockError
from streams.reading import LogReader
from streams.settings import Settings
from streams.stage import Message
from streams.version import app_version
from streams.view.computing import KINDS, Computing
from streams.view.guard import guard, is_loopback, set_headers
from streams.view.health import Stack, health
from streams.view.past import older
from streams.view.pushing import Pages
from streams.view.reading import Reading
from streams.view.receipt import receipt_of
from streams.view.state import ViewState
from streams.view.telling import Wish

STATIC = Path(__file__).parent / "static"
_LONGEST_ID = 200
_TAKE_SECONDS = 1.0
_Answer = TypeVar("_Answer")


class ViewServer:
    """Reads the topics while the application runs, and answers pages."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings = settings
        self._host = host
        self.state = ViewState(settings)
        self._reading = Reading(settings, self._take_in_loop, self._anew_in_loop)
        self._stack = Stack(settings, self._looked)
        self._pages = Pages(self.state, lambda: health(self._stack, self._reading, self.state))
        self._computing = Computing(settings)
        self._asking = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def application(self) -> web.Application:
        """Return the application; starting it starts the threads, cleaning it up ends them."""
        application = web.Application(middlewares=[guard(only_loopback=is_loopback(self._host))])
        application.on_response_prepare.append(set_headers)
        application.cleanup_ctx.append(self._running)
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/events", self._events),
                web.get("/about", self._about),
                web.get("/older", self._older),
                web.get("/forecast", self._forecast),
                web.post("/compute/{kind}", self._compute),
                web.static("/static", STATIC),
            ]
        )
        return application

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._reading.start()
        self._stack.start()
        yield
        self._loop = None
        await asyncio.to_thread(self._reading.stop)
        await asyncio.to_thread(self._stack.stop)

    # Called in the threads; the state changes in the event loop alone.

    def _take_in_loop(self, messages: list[Message]) -> None:
        if (loop := self._loop) is None:
            return
        taken = asyncio.run_coroutine_threadsafe(self._take(messages), loop)
        # A machine that has no time for the loop is no reason to lose what was read.
        while self._loop is not None and not taken.done():
            with suppress(TimeoutError):
                taken.result(_TAKE_SECONDS)

    def _anew_in_loop(self) -> None:
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self.state.reset)

    def _looked(self) -> None:
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self._pages.wake_for_health)

    async def _take(self, messages: list[Message]) -> None:
        for message in messages:
            self.state.take(message)
        self._pages.wake()

    # Answers.

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def _about(self, _: web.Request) -> web.StreamResponse:
        about = {
            "version": app_version(),
            "profile": self._settings.profile,
            "horizons": self.state.horizons,
            "row_interval_ms": self._settings.rules.row_interval_ns // 1_000_000,
            "servers": self._settings.bootstrap_servers,
            "computes": is_loopback(self._host),
        }
        return _json(about)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        horizon = self._horizon(request)
        return await self._pages.serve(request, Wish(horizon, request.query.get("instrument", "")[:_LONGEST_ID]))

    async def _older(self, request: web.Request) -> web.StreamResponse:
        horizon, instrument = self._horizon(request), request.query.get("instrument", "")[:_LONGEST_ID]
        before = request.query.get("before", "")
        if not before.isascii() or not before.isdecimal() or len(before) > 19:  # noqa: PLR2004 - digits of nanoseconds
            raise web.HTTPBadRequest(text="before: expected nanoseconds")
        interval = self._settings.rules.row_interval_ns
        return _json(await self._asked(lambda reader: older(reader, instrument, horizon, int(before), interval)))

    async def _forecast(self, request: web.Request) -> web.StreamResponse:
        forecast_id = request.query.get("id", "")[:_LONGEST_ID]
        return _json(await self._asked(lambda reader: receipt_of(reader, forecast_id)))

    async def _compute(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if kind not in KINDS:
            raise web.HTTPNotFound(text=f"expected one of {', '.join(KINDS)}")
        if not is_loopback(self._host):
            raise web.HTTPForbidden(text="a page that others can open computes nothing: use the command line")
        try:
            status, out, problem = await self._computing.run(kind, request.query.get("id", "")[:_LONGEST_ID])
        except ForeshockError as error:
            return _json({"problem": str(error)}, 409)
        return _json({"status": status, "out": out, "problem": problem})

    def _horizon(self, request: web.Request) -> str:
        horizon = request.query.get("horizon", self.state.horizons[0])
        if horizon not in self.state.horizons:
            raise web.HTTPBadRequest(text=f"horizon: expected one of {', '.join(self.state.horizons)}")
        return horizon

    async def _asked(self, question: Callable[[LogReader], _Answer]) -> Any:
        """Return what the log says, read in a thread; one question at a time."""
        async with self._asking:
            try:
                return await asyncio.to_thread(self._ask, question)
            except (ForeshockError, KafkaException) as error:
                text = str(error) if isinstance(error, ForeshockError) else error.args[0].str()
                raise web.HTTPNotFound(text=text) from None

    def _ask(self, question: Callable[[LogReader], _Answer]) -> _Answer:
        with LogReader(self._settings) as reader:
            return question(reader)


def _json(value: Any, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=headers
    )
