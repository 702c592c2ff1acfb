"""Readers fuzzed one after another, each in a process that may die without taking anything with it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from streams.fuzz.seeds import write_seeds
from streams.fuzz.trying import MOST_BYTES, Account

_LOOK_SECONDS = 0.5
_STARTING_SECONDS = 120.0
"""A process that has told nothing for so long, or so long behind its time, is ended."""


class Result(NamedTuple):
    """What came of one reader; `findings` are texts by the name of the file that holds the input."""

    reader: str
    engine: str
    seeds: int
    executions: int
    findings: dict[str, str]
    peak_bytes: int
    slowest_seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing was found, anything was tried, and memory stayed in bounds."""
        return not self.findings and self.executions > 0 and self.peak_bytes <= MOST_BYTES

    def count(self, kind: str) -> int:
        """Return how many findings there are of a kind: crash, hang or memory."""
        return sum(name.startswith(kind) for name in self.findings)


class Plan(NamedTuple):
    """How long, from where, and to where."""

    seconds: float
    corpus: Path
    captures: Path
    seed: int = 1


def fuzzed(reader: str, plan: Plan, said: Callable[[Account], None] = lambda _: None) -> Result:
    """Fuzz one reader; `said` is told now and then how far it is.

    Inputs that did harm are kept in `corpus`/found/<reader>.
    """
    corpus, found = plan.corpus / reader, plan.corpus / "found"
    found.mkdir(parents=True, exist_ok=True)
    told = plan.corpus / f"{reader}.json"
    told.unlink(missing_ok=True)
    seeds = write_seeds(reader, plan.captures, corpus)
    total = Account()
    ends = time.monotonic() + plan.seconds
    for attempt in range(100):
        left = max(ends - time.monotonic(), 1.0)
        command = [reader, str(left), str(plan.seed + attempt), str(corpus), str(found), str(told)]
        status = _followed(command, told, left, partial(_say, said, total))
        total = _sum(total, _read(told))
        if status == 0:
            break
        text = f"its process ended with {status}: a C library crashed, or stood still"
        total.findings[f"{'hang' if status in {70, None} else 'crash'}-process-{attempt}"] = text
        if time.monotonic() >= ends:
            break
    return Result(
        reader, total.engine, seeds, total.executions, total.findings, total.peak_bytes, total.slowest_seconds
    )


def _say(said: Callable[[Account], None], before: Account, account: Account) -> None:
    said(_sum(before, account))


def _followed(arguments: list[str], told: Path, seconds: float, said: Callable[[Account], None]) -> int | None:
    """Run a worker; return its exit status, None where it had to be ended."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "streams.fuzz.worker", *arguments]
    told.unlink(missing_ok=True)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)  # noqa: S603 - this program itself
    give_up = time.monotonic() + seconds + _STARTING_SECONDS
    while process.poll() is None:
        if time.monotonic() > give_up:
            process.kill()
            process.wait()
            return None
        time.sleep(_LOOK_SECONDS if seconds > _LOOK_SECONDS else 0.05)
        said(_read(told))
    return process.returncode


def _read(told: Path) -> Account:
    return msgspec.json.decode(told.read_bytes(), type=Account) if told.is_file() else Account()


def _sum(one: Account, other: Account) -> Account:
    return Account(
        executions=one.executions + other.executions,
        findings=one.findings | other.findings,
        peak_bytes=max(one.peak_bytes, other.peak_bytes),
        slowest_seconds=max(one.slowest_seconds, other.slowest_seconds),
        engine=other.engine or one.engine,
    )
