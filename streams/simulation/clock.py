"""Virtual time: an event loop that never waits, and processes that can be killed or stopped between any two steps.

Nothing here reads a clock, starts a thread or opens a socket: what runs when follows from the timers
alone, and these from the draws of a seed.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

START_SECONDS = 1_000.0
"""Virtual time begins here, far from 0, so that "0: never" stays what it is."""


class Gone(BaseException):
    """The process that this code belongs to is dead: nothing of it may happen, and no stage may catch this."""


class Stalled(Exception):  # noqa: N818 - it is what a history reports
    """Nothing is left to run and the history is not over."""


class Event(NamedTuple):
    """Something that happened to the world, for the trace."""

    at: float
    what: str


class Process:
    """One simulated process: all callbacks that its root task led to are its own.

    `fuse`: steps until it is killed; a step is a callback of the loop, a record sent, or a sleep.
    """

    def __init__(self, name: str, stage: str) -> None:
        self.name = name
        self.stage = stage
        self.alive = True
        self.frozen = False
        self.stopping = False
        """Asked to save and leave."""
        self.fuse: int | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.thawing: list[asyncio.Handle] = []
        """Callbacks that came while it was stopped."""
        self.senders: list[int] = []
        """Its producers, as the log knows them."""
        self.consumer: Any = None
        """Its consumer in a group, where it has one."""
        self.positions: Callable[[], Mapping[tuple[str, int], int]] = dict
        """Up to where it has read its inputs."""
        self.died: Callable[[str], None] = lambda _: None
        """Called once, with the reason."""

    def step(self) -> None:
        """Count a step; raises Gone where there is none any more."""
        if self.alive and self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.die("killed")
        if not self.alive:
            raise Gone(self.name)

    def die(self, reason: str) -> None:
        """End here, whatever is under way: its tasks are unwound, and nothing of that leaves the process."""
        if not self.alive:
            return
        self.alive = self.frozen = False
        self.thawing.clear()
        self.died(reason)
        for task in list(self.tasks):
            task.cancel()


current: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process whose code runs; None: the world around it."""


def here() -> Process:
    """Return the process whose code runs; for stand-ins that only stages call."""
    process = current.get()
    if process is None:
        raise LookupError("no simulated process runs this")
    return process


class Network:
    """What is on its way, by the time at which it arrives; runs also while a process sleeps in one callback."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Have `what` done at a time."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, what))

    @property
    def next(self) -> float | None:
        """When the next one arrives."""
        return self._heap[0][0] if self._heap else None

    def deliver(self, now: float) -> None:
        """Do all that is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to the next timer.

    `delay`: gives how long work that stages send to a thread takes; it runs here, at once, when that has passed.
    """

    def __init__(self, network: Network, delay: Callable[[], float]) -> None:
        super().__init__()
        self.network = network
        self.now = START_SECONDS
        self._delay = delay
        self._ready: Any
        self._scheduled: list[asyncio.TimerHandle]
        self._stopping: bool
        self._timer_cancelled_count: int
        self.set_task_factory(_task)
        self.set_exception_handler(self._unhandled)
        self.problems: list[str] = []

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now

    def pass_time(self, seconds: float) -> None:
        """Sleep within a callback: only what is on its way goes on."""
        self.now += seconds
        self.network.deliver(self.now)

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Run `func` when a thread's answer would be there."""
        future = self.create_future()
        self.call_later(self._delay(), _answer, future, func, args)
        return future

    def _write_to_self(self) -> None:
        """Nothing waits in another thread."""

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _unhandled(self, _: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Gone | asyncio.CancelledError):
            self.problems.append(f"{context.get('message')}: {error!r}")

    def _run_once(self) -> None:
        self._advance()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle.cancelled():
                continue
            process = handle._context.get(current)  # noqa: SLF001 - asyncio has no name for it
            if process is not None and process.alive:
                if process.frozen:
                    process.thawing.append(handle)
                    continue
                with suppress(Gone):
                    process.step()
            handle._run()  # noqa: SLF001 - as in asyncio's own loop

    def _advance(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as in asyncio
        if not self._ready and not self._stopping:
            times = [when for when in (scheduled[0].when() if scheduled else None, self.network.next) if when]
            if not times:
                raise Stalled("nothing is left to run")
            self.now = max(self.now, min(times))
        self.network.deliver(self.now)
        while scheduled and scheduled[0].when() <= self.now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as in asyncio
            self._ready.append(handle)

    def begin(self, process: Process, work: Coroutine[Any, Any, None]) -> None:
        """Run the root task of a process."""
        context = copy_context()
        context.run(current.set, process)
        context.run(self.create_task, work)

    def freeze(self, process: Process) -> None:
        """Stop a process as SIGSTOP does."""
        process.frozen = process.alive

    def thaw(self, process: Process) -> None:
        """Let it go on: what came meanwhile comes at once."""
        process.frozen = False
        self._ready.extend(process.thawing)
        process.thawing.clear()


def _task(loop: Any, work: Any, **more: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **more)
    process = current.get()
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None))
        if not process.alive:
            task.cancel()
    return task


def _answer(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        found = func(*args)
    except Exception as error:  # noqa: BLE001 - as a thread hands it back
        future.set_exception(error)
    except Gone as error:
        future.set_exception(error)
    else:
        future.set_result(found)
