"""One history: processes, log, groups and Triton of a seed, from the first raw record until all is at rest."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from featurestore.announced import announcement_of
from featurestore.catalogue import Catalogue
from schemas.forecasts import encode_json
from schemas.topics import FEATURE_ROW, OPS_MODEL, RAW_TOPICS
from streams.announcements import ANNOUNCED
from streams.chaos.logs import Sample, Truth
from streams.chaos.reading import truth_of
from streams.featurize.stage import FeaturizeStage
from streams.infer.models import Models
from streams.infer.stage import InferStage
from streams.kafka import DeliveryError
from streams.metrics_server import Metrics
from streams.score.stage import ScoreStage
from streams.settings import Settings
from streams.simulation import triton
from streams.simulation.broker import Broker, Delays
from streams.simulation.clients import Surroundings
from streams.simulation.clock import START_SECONDS, Network, Process, VirtualLoop, here
from streams.simulation.faults import LAST_SECONDS, STAGES, Fault
from streams.simulation.groups import Group
from streams.simulation.hosts import StageHost, run_ingest
from streams.simulation.raw import raw_log
from streams.simulation.strikes import STRIKES
from streams.stage import Message, Stage
from streams.watchdog import STUCK

FEED_SECONDS = 2.0
"""Virtual time in which the raw log comes."""
REST_SECONDS = 40.0
"""Virtual time after the last fault in which all must be done."""
SETTINGS = Settings(
    partitions=2,
    raw_exchange_partitions=2,
    tile_interval_seconds=5,
    row_interval_seconds=10,
    checkpoint_seconds=0.3,
    session_timeout_seconds=1.0,
    delivery_timeout_seconds=4.0,
    inference_deadline_seconds=0.2,
    breaker_open_seconds=0.3,
    batch_ms=120,
    batch_events=20,
    explain_every=0,
    metrics_port=0,
)
FEATURES = (
    "realised_variance_1m",
    "realised_variance_5m",
    "realised_variance_1h",
    "realised_variance_1d",
    "market_volatility_5m",
    "market_posts_5m",
    "quote_intensity_1m",
    *triton.PINNED,
)
_UNWINDING_TURNS = 20
_NOWHERE = Path("/nonexistent")
_HARMLESS = (DeliveryError, TimeoutError, ConnectionError)
"""What may end a process: what Kafka has not acknowledged. Anything else is a finding."""
_Unit = TypeVar("_Unit")


@cache
def catalogue() -> Catalogue:
    """Return the features of all histories: each kind of tile, one over all instruments, what models read."""
    return Catalogue.discover(SETTINGS.rules).subset(FEATURES)


@cache
def _models() -> Models:
    return triton.small_models(catalogue(), SETTINGS.rules)


@cache
def _metrics() -> Metrics:
    return Metrics()


class World:
    """Everything around the stages. `trace`: what happened, with virtual times."""

    def __init__(self, seed: int, faults: Sequence[Fault]) -> None:
        self.seed = seed
        self.faults = faults
        self.trace: list[tuple[float, str]] = []
        self.problems: list[str] = []
        self.samples: list[Sample] = []
        self.draw = Random(f"world {seed}")
        self.network = Network()
        self.loop = VirtualLoop(self.network, lambda: self.draw.uniform(0.001, 0.02))
        self.broker = Broker(SETTINGS.rules, self.network, self.loop.time, self._delays)
        self.groups: dict[str, Group[Any]] = {name: self._group(name) for name in STAGES}
        self.hosts: dict[Process, StageHost] = {}
        self.slots: dict[tuple[str, int], Process | None] = {}
        self.mood: triton.Mood = "well"
        self.slow_until = 0.0
        self.deaf: dict[Process, int] = {}
        """Processes whose next records are never acknowledged."""
        self._numbers = count(1)
        self._rows: set[tuple[int, int]] = set()
        """Partitions and times of the rows that are written."""
        self.truth: Truth
        """What the pure code makes of the raw log, once all of it has come."""
        self.broker.watchers.append(self._written)

    # What stand-ins ask.

    @property
    def surroundings(self) -> Surroundings:
        """Return what clients find around them."""
        return Surroundings(
            self.loop,
            self.broker,
            self.groups["ingest"],
            lambda: self.draw.randint(1, 40),
            SETTINGS.delivery_timeout_seconds,
        )

    @property
    def served(self) -> triton.Served:
        """Return how Triton answers."""
        return triton.Served(lambda: self.mood, lambda: self.draw.uniform(0.002, 0.03))

    @property
    def models(self) -> Models:
        """Return the networks that there are."""
        return _models()

    def ended(self, code: int, reason: str, error: BaseException | None) -> None:
        """Take in that the process that runs has ended itself."""
        why = f"ended itself with {code}: {reason}{'' if error is None else f': {error!r}'}"
        if code != STUCK and not isinstance(error, _HARMLESS):
            self.problems.append(f"{here().name} {why}")
        here().die(why)

    def _delays(self, process: Process | None) -> Delays:
        slow = 40.0 if self.loop.now < self.slow_until else 1.0
        there, back = self.draw.uniform(0.0003, 0.003) * slow, self.draw.uniform(0.0003, 0.003) * slow
        if process is not None and self.deaf.get(process, 0) > 0:
            self.deaf[process] -= 1
            return Delays(there, None)
        return Delays(there, back)

    def _group(self, name: str) -> Group[Any]:
        units: list[Any] = (
            [(topic, p) for topic, n in SETTINGS.rules.raw_partitions.items() for p in range(n)]
            if name == "ingest"
            else list(range(SETTINGS.partitions))
        )
        group: Group[Any] = Group(
            name, units, self.network, self.loop.time, self._share, SETTINGS.session_timeout_seconds
        )
        group.on_commit = self._committed
        return group

    def _share(self, units: Sequence[_Unit], members: int) -> list[list[_Unit]]:
        mixed = self.draw.sample(units, len(units))
        return [mixed[number::members] for number in range(members)]

    def _committed(self, *_: Any) -> None:
        commits = {
            (name, *place): offset for name, group in self.groups.items() for place, offset in group.committed.items()
        }
        ends = {place: len(log) for place, log in self.broker.written.items() if log and place[0] not in RAW_TOPICS}
        self.samples.append(Sample(commits, ends))

    def _written(self, message: Message, _: Process | None) -> None:
        if message.topic == FEATURE_ROW:
            self._rows.add((message.partition, int(message.headers["row_time_ns"])))
        for host in self.hosts.values():
            host.wake_topic(message.topic)

    # What happens.

    def say(self, what: str) -> None:
        """Write into the trace."""
        self.trace.append((round(self.loop.now - START_SECONDS, 4), what))

    async def play(self) -> None:
        """Let the history run until all is at rest, or its time is over."""
        self._feed()
        for name in STAGES:
            for number in range(self.draw.randint(1, 2)):
                self.slots[name, number] = None
                self.begin(name, number)
        for fault in self.faults:
            self.network.at(START_SECONDS + fault.at, partial(self._strike, fault))
        await asyncio.sleep(max(FEED_SECONDS, LAST_SECONDS if self.faults else 0) + 0.3)
        self.truth = truth_of(SETTINGS, catalogue())
        give_up = self.loop.now + REST_SECONDS
        while (missing := self._unfinished()) and self.loop.now < give_up:  # noqa: ASYNC110 - many things end at once
            await asyncio.sleep(0.2)
        if missing:
            self.problems.append(f"never came to rest: {missing}")
        for process in list(filter(None, self.slots.values())):
            process.died = lambda _: None
            process.die("the history is over")
        for _ in range(_UNWINDING_TURNS):
            await asyncio.sleep(0)

    def _feed(self) -> None:
        announcement = encode_json(announcement_of(catalogue()))
        self.broker.append(Message(OPS_MODEL, 0, -1, ANNOUNCED, {}, announcement, 0))
        for (topic, partition), frames in raw_log(self.seed, SETTINGS.rules).items():
            first, last = frames[0].received_ns, max(frame.received_ns for frame in frames)
            lag, at = self.draw.choice((0.0, 0.0, 0.3, 1.0)), 0.0
            for frame in frames:
                share = (frame.received_ns - first) / (last - first)
                at = max(at, lag + share * (FEED_SECONDS - lag) + self.draw.uniform(0, 0.02))
                plain = {name: value or b"" for name, value in frame.headers}
                message = Message(topic, partition, -1, frame.key, plain, frame.value, 0, frame.headers)
                self.network.at(START_SECONDS + at, partial(self.broker.append, message))

    def begin(self, stage: str, number: int) -> None:
        """Start a process, unless its place was given up."""
        if (stage, number) not in self.slots:
            return
        process = Process(f"{stage}-{number}.{next(self._numbers)}", stage)
        process.died = lambda reason: self._died(process, number, reason)
        self.slots[stage, number] = process
        self.say(f"{process.name} starts")
        draw = Random(self.draw.getrandbits(64))
        self.loop.begin(process, self._run(process, draw))

    async def _run(self, process: Process, draw: Random) -> None:
        if process.stage == "ingest":
            return await run_ingest(SETTINGS, _metrics(), draw)
        group: Group[int] = self.groups[process.stage]
        host = StageHost(process, self._stage(process.stage), SETTINGS, _metrics(), self.broker, group, draw)
        self.hosts[process] = host
        process.positions = host.runner.positions
        return await host.run()

    def _stage(self, name: str) -> Stage:
        makers: dict[str, Callable[[], Stage]] = {
            "featurize": lambda: FeaturizeStage(catalogue(), self.loop.time),
            "infer": lambda: InferStage(_NOWHERE, self.loop.time),
            "score": lambda: ScoreStage(_NOWHERE),
        }
        return makers[name]()

    def _died(self, process: Process, number: int, reason: str) -> None:
        self.say(f"{process.name}: {reason}")
        self.hosts.pop(process, None)
        for sender in process.senders:
            self.broker.drop(sender, lambda sent: self.draw.randint(0, sent))
        self.groups[process.stage].watch(process)
        self.slots[process.stage, number] = None
        again = self.loop.now + self.draw.choice((0.05, 0.2, self.draw.uniform(0.3, 1.5)))
        self.network.at(again, lambda: self._restart(process.stage, number))

    def _restart(self, stage: str, number: int) -> None:
        if self.slots.get((stage, number), ...) is None:
            self.begin(stage, number)

    def _strike(self, fault: Fault) -> None:
        self.say(f"fault: {fault}")
        STRIKES[fault.kind](self, fault)

    # When it is over.

    def _unfinished(self) -> str:
        """Say what is not done yet, "" where all is at rest."""
        if rows := self.truth.rows.keys() - self._rows:
            return f"{len(rows)} rows are not written"
        read = {
            (process.stage, *place): offset
            for process in self.slots.values()
            if process is not None and not process.frozen
            for place, offset in process.positions().items()
        }
        for stage, topic in _INPUTS:
            for partition in range(self.broker.partitions[topic]):
                at, end = read.get((stage, topic, partition), -1), self.broker.end((topic, partition))
                if at < end:
                    return f"{stage} has read {topic}[{partition}] up to {at} of {end}"
        for partition in range(SETTINGS.partitions):
            done = self.groups["infer"].committed.get((FEATURE_ROW, partition))
            end = self.broker.end((FEATURE_ROW, partition))
            if done != end:
                return f"infer has finished rows of partition {partition} up to {done} of {end}"
        return ""


_INPUTS = [
    *(("ingest", topic) for topic in RAW_TOPICS),
    *((stage.name, topic) for stage in (FeaturizeStage, InferStage, ScoreStage) for topic in stage.topics),
]
"""What must have been read to its end."""
