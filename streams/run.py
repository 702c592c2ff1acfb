"""Runs the processes of a pipeline on one machine, and starts again what ended."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec

from schemas.errors import SettingsError
from streams.settings import Settings
from streams.targets import Targets

STAGES = ("ingest", "featurize", "infer", "score")
_COMMANDS = {"store": ("store", "run")}
"""The command of a process where it is not its name alone."""
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_HEALTHY_SECONDS = 30.0
_STOP_SECONDS = 8.0
_LOOK_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 2_000


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One process: its name, its command, and what its environment has more than ours.

    `once`: it ends by itself, and is not started again when it ended with code 0.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    once: bool = False


def foreshock(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs `foreshock ARGUMENTS` in a process of its own."""
    return (sys.executable, "-c", "from streams.cli import main; main()", *arguments)


def stage_pieces(
    settings: Settings, stages: Sequence[str] = STAGES, workers: Mapping[str, int] | None = None
) -> list[Piece]:
    """Return `settings.workers` processes of each stage (or `workers[stage]`), each with a metrics port of its own."""
    names = [(stage, worker) for stage in stages for worker in range((workers or {}).get(stage, settings.workers))]
    return [
        Piece(
            name=f"{stage}-{worker}",
            command=foreshock(*_COMMANDS.get(stage, (stage,))),
            environment=settings.environment()
            | {
                "FORESHOCK_WORKER": str(worker),
                "FORESHOCK_METRICS_PORT": str(settings.metrics_port + index if settings.metrics_port else 0),
            },
        )
        for index, (stage, worker) in enumerate(names)
    ]


class _Running:
    """A piece, its present process, and how it went so far."""

    def __init__(self, piece: Piece, log: Path) -> None:
        self.piece = piece
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.exits: list[int] = []
        self.starts = 0
        self.started = 0.0
        self.pause = _FIRST_PAUSE_SECONDS
        self.again_at: float | None = 0.0

    def start(self) -> None:
        self.started, self.again_at = time.monotonic(), None
        self.starts += 1
        with self.log.open("ab") as log:
            # The parent's end of the log is closed at once: the child keeps its own.
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                self.piece.command,
                env=os.environ | self.piece.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - calls nothing but prctl
            )

    def look(self) -> int | None:
        """Take note of an end, and start again when it is time; return the exit code of a new end."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self.exits.append(code)
            if not (self.piece.once and code == 0):
                self._plan()
            return code
        if self.process is None and self.again_at is not None and time.monotonic() >= self.again_at:
            self.start()
        return None

    def _plan(self) -> None:
        if time.monotonic() - self.started > _HEALTHY_SECONDS:
            self.pause = _FIRST_PAUSE_SECONDS
        self.again_at = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, _LONGEST_PAUSE_SECONDS)

    def tail(self) -> str:
        """Return the last line that it wrote."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Ask the kernel to end this child when the thread that started it is gone, however that ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Starts pieces and keeps them running; every process logs to `<state_dir>/logs/<name>.log`.

    Call `look` a few times a second from one thread, or `run` to do nothing else. Leaving the
    `with` block stops all. `said`: called with a line for people when a process ends.
    """

    def __init__(
        self, settings: Settings, pieces: Iterable[Piece], said: Callable[[str], None] = lambda _: None
    ) -> None:
        self.logs = settings.state_dir / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._said = said
        self._running: dict[str, _Running] = {}
        self._targets = Targets(settings)
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        """Take one more piece; it starts at the next `look`."""
        if piece.name in self._running:
            raise SettingsError(f"two processes would be called {piece.name}")
        self._running[piece.name] = _Running(piece, self.logs / f"{piece.name}.log")
        if piece.environment.get("FORESHOCK_WORKER", "-1") != "-1":  # a source beside the stages serves nothing
            self._targets.add(piece.name, int(piece.environment.get("FORESHOCK_METRICS_PORT", "0")))

    def __enter__(self) -> Self:
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def look(self) -> None:
        """Start what should run and does not, each time after a longer pause."""
        for running in self._running.values():
            code = running.look()
            if code is not None and not (running.piece.once and code == 0):
                self._said(f"{running.piece.name} ended with code {code}: {running.tail()}")

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep all running until `until()`, SIGTERM or SIGINT; then stop all."""
        ended: list[int] = []
        before = {number: signal.signal(number, _note(ended)) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not ended and not until():
                self.look()
                time.sleep(_LOOK_SECONDS)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.stop()

    def stop(self, names: Iterable[str] | None = None) -> None:
        """End processes with SIGTERM, and with SIGKILL those that do not end in time; none is started again."""
        chosen = [self._running[name] for name in (self._running if names is None else names)]
        for running in chosen:
            running.again_at = None
            if running.process is not None:
                running.process.terminate()
        give_up = time.monotonic() + _STOP_SECONDS
        for running in chosen:
            if running.process is not None:
                running.exits.append(_end(running.process, give_up - time.monotonic()))
                running.process = None
        if names is None:
            self._targets.clear()

    def start(self, names: Iterable[str]) -> None:
        """Start again what `stop` ended."""
        for name in names:
            self._running[name].again_at = 0.0
        self.look()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process; it is started again when it ends."""
        process = self._running[name].process
        if process is not None:
            process.send_signal(number)

    def pid(self, name: str) -> int | None:
        """Return the process id, None where it does not run now."""
        process = self._running[name].process
        return None if process is None else process.pid

    def exits(self, name: str) -> list[int]:
        """Return the codes with which the process ended so far; a signal is negative."""
        return list(self._running[name].exits)

    def starts(self, name: str) -> int:
        """Return how often the process was started so far."""
        return self._running[name].starts

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self._running[name].log

    @property
    def names(self) -> list[str]:
        """The names of all pieces."""
        return list(self._running)

    def finished(self, name: str) -> bool:
        """Return whether a piece with `once` has ended well."""
        running = self._running[name]
        return running.piece.once and running.process is None and running.exits[-1:] == [0]


def _note(ended: list[int]) -> Callable[[int, FrameType | None], None]:
    def note(number: int, _: FrameType | None) -> None:
        ended.append(number)

    return note


def _end(process: subprocess.Popen[bytes], seconds: float) -> int:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, seconds))
    process.kill()
    return process.wait()


def pieces_of(settings: Settings) -> list[Piece]:
    """Return `settings.workers` processes of every stage, and one of store and of parity if asked."""
    asked = {"store": settings.store == "on", "parity": settings.parity_share > 0}
    return stage_pieces(settings, (*STAGES, *(name for name in asked if asked[name])), dict.fromkeys(asked, 1))
