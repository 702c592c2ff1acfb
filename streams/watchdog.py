"""Ends a process that only looks alive: crash-only, since a restart from the log is always safe."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn

STUCK = 70
"""Exit code of a process that stood still."""
_TICK_SECONDS = 0.25


def exit_now(code: int, reason: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once, with its reason as the last line on stderr; runs no clean-up that could hang."""
    if error is not None:
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"foreshock: {reason}{f': {error}' if error is not None else ''}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


class Pulse:
    """Notices that the whole process was stopped for longer than its session may last.

    After SIGSTOP and SIGCONT the group has given our partitions to others, but our own code runs on
    as if nothing had been until the broker tells the consumer. So every send asks the pulse first.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._last = time.monotonic()

    def begin(self) -> None:
        """Count from now on: before it has partitions a process may take its time, as for a Triton that loads."""
        self._last = time.monotonic()

    def check(self) -> None:
        """End the process if it stood still for longer than the limit."""
        stood = time.monotonic() - self._last
        if stood > self._limit:
            exit_now(STUCK, f"the process stood still for {stood:.1f} s: its partitions are somebody else's by now")

    def beat(self) -> None:
        """Say that the process runs; called by the watchdog's thread."""
        self.check()
        self._last = time.monotonic()


class Watchdog:
    """A thread that ends the process when its event loop or its reading stands still.

    `positions`: next offset per topic and partition that should move; `ends`: the topics' next
    offsets, None where the broker does not answer. `loop_age`: seconds since the event loop ran.
    `joining_age`: seconds since the process asked for partitions, without an answer or restoring any state.
    """

    def __init__(
        self,
        pulse: Pulse,
        stall_seconds: float,
        positions: Callable[[], Mapping[tuple[str, int], int]],
        ends: Callable[[], Mapping[tuple[str, int], int] | None],
        loop_age: Callable[[], float],
        joining_age: Callable[[], float],
    ) -> None:
        self._pulse = pulse
        self._stall = stall_seconds
        self._positions = positions
        self._ends = ends
        self._loop_age = loop_age
        self._joining_age = joining_age
        self._moved: dict[tuple[str, int], tuple[int, float]] = {}
        self._silent_at = float("-inf")
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start watching."""
        self._pulse.begin()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching: the process is ending by itself."""
        self._stopped.set()

    def _beat(self) -> None:
        while not self._stopped.wait(_TICK_SECONDS):
            self._pulse.beat()

    def _watch(self) -> None:
        while not self._stopped.wait(min(5.0, self._stall / 4)):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave nobody to watch
                if not self._stopped.is_set():
                    exit_now(STUCK, "the watchdog failed", error)

    def _look(self) -> None:
        """End the process if something stands still."""
        self._pulse.check()
        if self._loop_age() > self._stall:
            exit_now(STUCK, f"the event loop did not run for {self._loop_age():.0f} s")
        ends, now = self._ends(), time.monotonic()
        stuck = self.stuck(self._positions(), ends, now) or self.outside(self._joining_age(), now)
        if stuck is not None and not self._stopped.is_set():
            exit_now(STUCK, stuck)

    def stuck(
        self, positions: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int] | None, now: float
    ) -> str | None:
        """Return what stands still, or None. Without the broker's answer nothing can be told."""
        if ends is None:
            self._moved.clear()
            self._silent_at = now
            return None
        self._moved = {place: seen for place, seen in self._moved.items() if place in positions}
        for place, position in positions.items():
            last, since = self._moved.get(place, (-1, now))
            if position != last or ends.get(place, position) <= position:
                self._moved[place] = (position, now)
            elif now - since > self._stall:
                topic, partition = place
                return (
                    f"{topic}[{partition}]: stands at {position} for {now - since:.0f} s "
                    f"while the log goes to {ends[place]}"
                )
        return None

    def outside(self, joining_age: float, now: float) -> str | None:
        """Return that the process waits for partitions for too long, the broker's own silence not counted."""
        age = min(joining_age, now - self._silent_at)
        return f"waiting for partitions for {age:.0f} s" if age > self._stall else None
