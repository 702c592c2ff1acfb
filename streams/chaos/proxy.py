"""A TCP proxy that misbehaves when told: late, narrow, silent, or cut off."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

from deploy.ports import LOOPBACK
from schemas.errors import StackError

_CHUNK_BYTES = 16 << 10
_QUEUED_CHUNKS = 256
_START_SECONDS = 5.0

_Due = tuple[float, bytes]


class Proxy:
    """Passes connections on to `target` (a port of this machine) from a port of its own, in a thread of its own.

    `latency_seconds` and `bytes_per_second` may be set at any time and hold for each direction.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.latency_seconds = 0.0
        self.bytes_per_second = float("inf")
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._links: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._end = asyncio.Event()

    @property
    def address(self) -> str:
        """Where to connect instead of to the target."""
        return f"{LOOPBACK}:{self.port}"

    def hold(self) -> None:
        """Pass nothing on any more, and say nothing of it: a black hole."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def release(self) -> None:
        """Pass on again, first what was held."""
        self._loop.call_soon_threadsafe(self._passing.set)

    def cut(self) -> None:
        """End all connections at once with a reset."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for link in self._links:
            link.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise StackError(f"the proxy for port {self.target} did not start; is port {self.port} free?")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        self._cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        if link is not None:
            self._links.add(link)
        there: asyncio.StreamWriter | None = None
        try:
            await self._passing.wait()
            back, there = await asyncio.open_connection(LOOPBACK, self.target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, there))
                group.create_task(self._pass_on(back, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # either end has gone, or the connection was cut: the other end is told below
        finally:
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()
            if link is not None:
                self._links.discard(link)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one direction on until it ends, each piece when it is due."""
        queue: asyncio.Queue[_Due] = asyncio.Queue(_QUEUED_CHUNKS)
        await _both(self._take(reader, queue.put), self._give(queue, writer))

    async def _take(self, reader: asyncio.StreamReader, put: Callable[[_Due], Coroutine[Any, Any, None]]) -> None:
        while True:
            chunk = await reader.read(_CHUNK_BYTES)
            await put((self._loop.time() + self.latency_seconds, chunk))
            if not chunk:
                return

    async def _give(self, queue: asyncio.Queue[_Due], writer: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._passing.wait()
            if not chunk:
                raise ConnectionResetError
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(len(chunk) / self.bytes_per_second)


async def _both(*work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
