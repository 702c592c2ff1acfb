"""What a scenario is, and what it may do: a function of a `Trial`, found by its decorator."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Self

import msgspec

from deploy.stack import Stack
from schemas.errors import SettingsError
from schemas.topics import RAW_TOPICS
from streams.chaos.emptying import reset
from streams.chaos.live import Live, fill, pipeline
from streams.chaos.logs import Logs, Truth
from streams.chaos.reading import read_logs, truth_of
from streams.chaos.sampler import Sampler
from streams.chaos.verifier import Finding, repeats, verify
from streams.pipeline import raw_producer
from streams.run import STAGES
from streams.settings import Settings
from streams.sources import RawMessage
from streams.sources.market import market
from streams.sources.replay import replay

START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00Z, when the built-in market of every trial opens."""
QUICK_OUTAGE_SECONDS = 10.0
ROWS_ONLY = ("ingest", "featurize")
_AGES_SECONDS = 1e6


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Something measured in a trial; above `limit` (or below it with `at_least`) the trial has failed."""

    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value is within its limit."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Outcome(msgspec.Struct, kw_only=True):
    """One trial: what was measured and what was found wrong."""

    scenario: str
    seed: int
    quick: bool
    seconds: float = 0.0
    figures: list[Figure] = []
    findings: list[Finding] = []
    error: str = ""
    """Why the trial could not be finished."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found and every figure is within its limit."""
        return not self.findings and not self.error and all(figure.holds for figure in self.figures)


class Trial:
    """One scenario with one seed, on a broker whose topics are empty.

    Choices are drawn from `draw` alone, so that a seed names a trial. `quick`: outages last 10 s.
    """

    def __init__(self, settings: Settings, stack: Stack, outcome: Outcome, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.stack = stack
        self.outcome = outcome
        self.say = say
        self.draw = random.Random(f"{outcome.scenario}/{outcome.seed}")
        self._samplers: list[Sampler] = []
        self._stages: set[str] = set()
        """Of all that ran since the last verification."""

    @property
    def quick(self) -> bool:
        """Whether outages are shortened."""
        return self.outcome.quick

    def outage_seconds(self, full: float) -> float:
        """Return how long an outage lasts that the table gives `full` seconds."""
        return min(full, QUICK_OUTAGE_SECONDS) if self.quick else full

    def market(self, seconds: int, intensity: float = 1.0) -> Iterator[RawMessage]:
        """Return the built-in market of this trial's seed."""
        return market(self.outcome.seed, START_NS, seconds, intensity=intensity)

    def reset(self, *, keep: Iterable[str] = RAW_TOPICS) -> None:
        """Empty all topics but `keep` for another run of this trial: what was committed before is over."""
        reset(self.settings, keep=keep)
        self._samplers.clear()
        self._stages.clear()

    def fill(self, messages: Iterable[RawMessage]) -> None:
        """Put all of `messages` on the raw topics."""
        self.say("filling the raw topics")
        fill(self.settings, messages)

    @contextmanager
    def running(
        self,
        stages: Sequence[str] = STAGES,
        workers: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        starting_seconds: float = 60.0,
        commands: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Iterator[Live]:
        """Run stages while the block runs, and sample what they commit; `commands`: see `Live`."""
        self.say("starting the stages")
        with (
            Sampler(self.settings) as sampler,
            pipeline(self.settings, stages, workers, environment, starting_seconds, commands) as live,
        ):
            self._samplers.append(sampler)
            self._stages.update(stages)
            self.say("running")
            yield live

    def figure(
        self, name: str, value: float, unit: str = "", *, limit: float | None = None, at_least: bool = False
    ) -> None:
        """Keep a measurement; outside its limit, or where it is no finite number, the trial has failed."""
        if math.isfinite(value):
            figure = Figure(name=name, value=float(value), unit=unit, limit=limit, at_least=at_least)
            self.outcome.figures.append(figure)
        else:  # JSON has no such number: the report could not be read again.
            self.require(False, f"{name}: what was to be measured never came")

    def require(self, holds: bool, otherwise: str) -> None:
        """Note a finding where a condition does not hold."""
        if not holds:
            self.outcome.findings.append(Finding("accept", otherwise))

    def verify(self, truth: Truth | None = None, *, with_earlier: bool = False) -> tuple[Logs, Truth]:
        """Check all five invariants over what is on the topics now, and count the repeats.

        `with_earlier`: release 0.1.0 took part, of whose partitions I4 says nothing.
        """
        self.say("verifying")
        logs = read_logs(self.settings)
        logs.has_earlier = with_earlier
        if self._stages and "infer" not in self._stages:
            logs.scheduled.clear()  # nobody was there to forecast
        logs.samples = [sample for sampler in self._samplers for sample in sampler.samples]
        is_sampled = any(sample.commits for sample in logs.samples)
        self.require(is_sampled or not self._samplers, "no commit was sampled while stages ran")
        self._samplers.clear()
        wanted = truth if truth is not None else truth_of(self.settings)
        self.outcome.findings += verify(logs, wanted)
        found = repeats(logs)
        self.figure("raw records", wanted.inputs)
        self.figure("row messages", len(wanted.rows))
        self.figure("forecasts", len(logs.scheduled))
        for name, value in found._asdict().items():
            self.figure(f"repeated {name}", value)
        return logs, wanted


class Playing:
    """A thread that replays messages at a speed until they end, or until it is told to stop.

    The first `ahead_seconds` of them, and the heartbeats that end a run, go as fast as they can: models
    have then seen enough at once, and nobody waits for silence. Leaving its block stops it and raises
    what went wrong in it.
    """

    def __init__(
        self, settings: Settings, messages: Iterable[RawMessage], speed: float = 1.0, ahead_seconds: float = 0.0
    ) -> None:
        self.ahead_ms = 0.0
        """What a receive time of capture has to be moved by to be the time at which it is played, at speed 1."""
        self._ahead = ahead_seconds
        self._jump = 0.0
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._arguments = (settings, messages, speed)
        self._thread = threading.Thread(target=self._play, daemon=True)

    def _play(self) -> None:
        settings, messages, speed = self._arguments
        try:
            replay(self._until_ended(messages), raw_producer(settings), settings.rules, speed=speed, clock=self._clock)
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told: half a log is another log
            self._error = error

    def _clock(self) -> float:
        """Return seconds of a clock that the replay is late by, where it should not wait."""
        return time.monotonic() + self._jump + (_AGES_SECONDS if self._ended.is_set() else 0.0)

    def _until_ended(self, messages: Iterable[RawMessage]) -> Iterator[RawMessage]:
        for number, message in enumerate(messages):
            if self._ended.is_set():
                return
            if number == 0:
                self.ahead_ms = time.time_ns() / 1e6 - message.receive_time_ns / 1e6 - 1e3 * self._ahead
            else:
                self._jump = self._ahead
            yield message
        self._ended.set()

    @property
    def is_ending(self) -> bool:
        """Whether the last message is played; heartbeats follow it."""
        return self._ended.is_set() or self.is_over

    @property
    def is_over(self) -> bool:
        """Whether all is played, heartbeats included."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the run, and wait until Kafka has all of it."""
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: its fault, what it needs and how it is run."""

    name: str
    fault: str
    run: Callable[[Trial], None]
    services: tuple[str, ...] = ("kafka",)
    seeds: int = 10
    """Of a full run."""
    seconds: int = 60
    """About how long one trial takes on two cores, for the progress."""


_FOUND: dict[str, Scenario] = {}


def scenario(
    name: str, fault: str, *, services: Sequence[str] = ("kafka",), seeds: int = 10, seconds: int = 60
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Declare the decorated function as scenario `name`; one that returns has passed unless it noted a finding."""

    def declare(run: Callable[[Trial], None]) -> Callable[[Trial], None]:
        if name in _FOUND:
            raise SettingsError(f"two scenarios are called {name}")
        _FOUND[name] = Scenario(name=name, fault=fault, run=run, services=tuple(services), seeds=seeds, seconds=seconds)
        return run

    return declare


def scenarios() -> dict[str, Scenario]:
    """Return all scenarios of `streams.chaos.scenarios`, in the order of their numbers."""
    package = import_module("streams.chaos.scenarios")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_FOUND.items(), key=lambda item: _number(item[0])))


def _number(name: str) -> tuple[int, str]:
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits or 0), name


def since(started: float) -> float:
    """Return the seconds since `started`, by the clock that never goes back."""
    return time.monotonic() - started
