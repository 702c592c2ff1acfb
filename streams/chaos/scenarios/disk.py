"""Disks that are full."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.stack import private_stack
from schemas.errors import StackError
from streams.chaos.live import fill, row_messages
from streams.chaos.scenario import Trial, scenario, since

_BROKER_MB = 256
_LOGS_MB = 2
_SECONDS = 240
_QUICK_SECONDS = 90
_NOTICED_SECONDS = 30
_DONE_SECONDS = 240.0
_CHUNK = bytes(1 << 20)


@scenario(
    "F17",
    "the disk is full under the broker and under the workers' logs, then has room again",
    services=("kafka",),
    seconds=150,
)
def fill_disks(trial: Trial) -> None:
    """Run on a broker whose disk is small, fill it and that of the logs while rows are made, and make room again.

    The disks are tmpfs mounts, which takes root. Workers keep no state on a disk: a full one of theirs loses log
    lines alone, and they have to go on. The broker ends, and comes back to logs that must hold all it acknowledged.
    """
    folder = trial.settings.state_dir
    with (
        _small_disk(folder / "broker", _BROKER_MB) as broker_disk,
        _small_disk(folder / "workers", _LOGS_MB) as logs_disk,
        private_stack(broker_disk, ("kafka",)) as stack,
    ):
        trial.settings = replace(trial.settings, bootstrap_servers=stack.bootstrap_servers, state_dir=logs_disk)
        trial.reset(keep=())
        fill(trial.settings, trial.market(_QUICK_SECONDS if trial.quick else _SECONDS))
        with trial.running() as live:
            with _full(logs_disk):
                live.wait(lambda: row_messages(trial.settings) > 0, _DONE_SECONDS, "rows while the logs' disk is full")
                trial.require(not live.said, f"processes ended of a full disk under their logs: {live.said}")
                with _full(broker_disk):
                    full = time.monotonic()
                    live.wait(lambda: not stack.is_running("kafka"), _DONE_SECONDS, "the broker to notice")
                    trial.figure("the broker has ended after", since(full), "s", limit=_NOTICED_SECONDS)
            trial.say("there is room again")
            room = time.monotonic()
            stack.start("kafka")
            live.wait_until_done(seconds=_DONE_SECONDS)
            trial.figure("all done after there is room", since(room), "s", limit=120)
            trial.figure("ends of workers", len(live.said))
            unsaid = [line for line in live.said if line.endswith("it said nothing")]
            trial.require(not unsaid, f"processes ended without a reason: {unsaid}")
        trial.verify()


@contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size; raises StackError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    except OSError as error:
        raise StackError(f"`{' '.join(command)}`: {error}") from None
    if done.returncode:
        raise StackError(f"`{' '.join(command)}`: {done.stderr.strip()}; a small disk takes root and mount")


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Leave no room on a disk while the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            if file.write(_CHUNK) < len(_CHUNK):
                os.write(file.fileno(), b"0" * 4096)
    try:
        yield
    finally:
        ballast.unlink()
