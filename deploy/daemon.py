"""One server process that outlives its starter: pid file, log, readiness, stop.

A pid alone may have been given to a stranger since. The pid file therefore also holds when the process
started, and nothing is ever signalled that does not match.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from schemas.errors import StackError

POLL_SECONDS = 0.05
ANSWER_SECONDS = 10.0
# The fields of /proc/PID/stat after the program's name: state, parent, group, session, ..., start time.
STATE, SESSION, STARTED = 0, 3, 19


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may itself hold blanks; empty if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Return the identity of the running process `pid`."""
        fields = _stat(pid)
        if not fields:
            raise StackError(f"process {pid} ended while it was started")
        return cls(pid, int(fields[STARTED]), _boot_id())

    def is_running(self) -> bool:
        """Say whether this very process still runs; a zombie does not."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # where it is our child, let it go
        fields = _stat(self.pid)
        return bool(fields) and fields[STATE] not in "ZX" and self._matches(fields)

    def session(self) -> list[int]:
        """Return the pids of its session: what it started and what may have outlived it."""
        holder = _stat(self.pid)
        if self.boot_id != _boot_id() or (holder and not self._matches(holder)):
            return []  # the pid was given out again, which happens only after its session has emptied
        stats = ((int(entry.name), _stat(int(entry.name))) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid, fields in stats if fields and int(fields[SESSION]) == self.pid and fields[STATE] != "Z"]

    def _matches(self, fields: list[str]) -> bool:
        return int(fields[STARTED]) == self.started_ticks and self.boot_id == _boot_id()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Daemon:
    """A server process known by its pid file in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"

    def identity(self) -> Identity | None:
        """Return who was started last, running or not."""
        try:
            return Identity(**json.loads(self._pid_file.read_text())["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_running(self) -> bool:
        """Say whether the process started last still runs."""
        identity = self.identity()
        return identity is not None and identity.is_running()

    def runs_with(self, configuration: str) -> bool:
        """Say whether it runs and was started with this very `configuration`."""
        return self.is_running() and json.loads(self._pid_file.read_text())["configuration"] == configuration

    def serves(self, configuration: str, is_ready: Callable[[], bool]) -> bool:
        """Say whether it runs as configured and answers within some seconds; if not it has to be started anew."""
        if self.runs_with(configuration):
            _wait(is_ready, ANSWER_SECONDS)
            return is_ready()
        return False

    def start(self, command: Sequence[str], environment: Mapping[str, str], configuration: str = "") -> None:
        """Start `command` in a session of its own, its output in the log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        process.returncode = 0  # it outlives us on purpose: no warning when the handle is dropped
        record = {"identity": asdict(Identity.of(process.pid)), "configuration": configuration}
        part = self._pid_file.with_suffix(".part")
        part.write_text(json.dumps(record))
        part.replace(self._pid_file)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Return when it is ready. Raises StackError if it ends first, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.is_running():
                raise StackError(f"{self.name} ended while it started: {self.last_words()}\nThe log is {self.log}")
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} was not ready after {seconds:.0f} s.\nThe log is {self.log}")
            time.sleep(POLL_SECONDS)

    def stop(self, grace_seconds: float) -> None:
        """End it and all that it started: SIGTERM, and SIGKILL after `grace_seconds`."""
        identity = self.identity()
        if identity is None:
            return
        if identity.is_running():
            _signal(identity.pid, signal.SIGTERM)
            _wait(lambda: not identity.is_running(), grace_seconds)
        self._kill_session(identity)
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the process as a crash would: SIGKILL to it alone, and no tidying."""
        identity = self.identity()
        if identity is not None and identity.is_running():
            _signal(identity.pid, signal.SIGKILL)
            _wait(lambda: not identity.is_running(), 10)

    def last_words(self) -> str:
        """Return the last line of the log that reads like a reason."""
        lines = self.log.read_text(errors="replace").splitlines()[-200:] if self.log.exists() else []
        reasons = [line for line in lines if any(word in line for word in ("rror", "xception", "FATAL", "failed"))]
        return (reasons or lines or ["it said nothing"])[-1].strip()[:300]

    @staticmethod
    def _kill_session(identity: Identity) -> None:
        for pid in identity.session():
            _signal(pid, signal.SIGKILL)
        _wait(lambda: not identity.session(), 10)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
