"""The whole job on one machine: a private stack, all stages, a source, and a look at what comes out."""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, TopicPartition

from deploy.ports import free_range
from deploy.stack import default_folder, private_stack
from deploy.triton import repository_models
from schemas.errors import StackError
from schemas.metrics import EVENTS_RECEIVED, FRAMES, OFFSET_LAG
from schemas.rules import SECOND_NS
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, FORECAST, MARKET_STATE, RAW_TOPICS
from streams.kafka import consumer, partition_counts, read_topic
from streams.pipeline import prepare
from streams.report import Report, make_report
from streams.run import Piece, Supervisor, foreshock, stage_pieces
from streams.scrape import Samples, by_label, reads_all, rows_are_written, scrape, total
from streams.settings import Settings
from streams.watch import Watch

READ = (*EVENT_TOPICS, MARKET_STATE, FEATURE_ROW, FORECAST)
"""Topics that the stages read: a run begins when each partition of them has its reader."""
QUIET_SECONDS = 3.0
"""So long nothing may come, with no lag anywhere, before a run counts as done."""
PATIENCE_SECONDS = 120.0
"""So long nothing may come, lag or not, before a run counts as stuck."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a demo plays: captures, or `market_seconds` of the built-in market."""

    paths: tuple[Path, ...] = ()
    market_seconds: int = 600
    seed: int = 7
    speed: str = "max"

    def command(self) -> tuple[str, ...]:
        """Return the command that puts it on the raw topics."""
        arguments = ("replay", "--speed", self.speed)
        if self.paths:
            return foreshock(*arguments, *map(str, self.paths))
        return foreshock(*arguments, "--market", str(self.market_seconds), "--seed", str(self.seed))


class Situation(msgspec.Struct):
    """Where a running demo is, for whoever draws it."""

    phase: str = "starting"
    seconds: float = 0.0
    raw_records: int = 0
    frames: int = 0
    events: int = 0
    lag: int = 0
    troubles: list[str] = []


Draw = Callable[[Situation, Watch], None]


class Demo:
    """One run, from an empty stack to its report."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.source = source
        self._settings = settings
        self._situation = Situation()

    def run(self, draw: Draw) -> tuple[Report, Watch]:
        """Run the job to its end, calling `draw` a few times a second.

        Raises:
            StackError: a stage did not come up, or the run stands still.
        """
        with self._stack() as settings:
            prepare(settings)
            pieces = stage_pieces(settings)
            ports = [int(piece.environment["FORESHOCK_METRICS_PORT"]) for piece in pieces]
            with Supervisor(settings, pieces, self._situation.troubles.append) as supervisor:
                watch = Watch(settings)
                self._wait_for_stages(supervisor, watch, ports, draw)
                replay = Piece(
                    name="replay", command=self.source.command(), environment=settings.environment(), once=True
                )
                supervisor.add(replay)
                started = time.monotonic()
                samples = self._follow(supervisor, watch, ports, settings, draw)
                seconds = time.monotonic() - started - QUIET_SECONDS
                watch.close()
                frames_in = _frames(settings)
        frames = by_label(samples, FRAMES, "outcome")
        return make_report(watch, frames_in, frames, int(total(samples, EVENTS_RECEIVED)), seconds), watch

    @contextmanager
    def _stack(self) -> Iterator[Settings]:
        folder = default_folder(f"demo-{os.getpid()}")  # two demos may run at once
        repository = Path(self._settings.model_repository)
        served = [name for name in repository_models(repository) if name.endswith(f"-{self._settings.profile}")]
        with private_stack(folder, repository=repository, models=served) as stack:
            yield dataclasses.replace(
                self._settings,
                bootstrap_servers=stack.bootstrap_servers,
                triton_url=stack.triton_grpc,
                heartbeat_writer="replay",
                metrics_port=free_range(16),
                checkpoint_seconds=min(self._settings.checkpoint_seconds, 5.0),
                state_dir=stack.folder / "state",
            )
        shutil.rmtree(folder, ignore_errors=True)  # after a failure its logs stay

    def _wait_for_stages(self, supervisor: Supervisor, watch: Watch, ports: Sequence[int], draw: Draw) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not reads_all(scrape(ports), READ, self._settings.partitions):
            supervisor.look()
            draw(self._situation, watch)
            if time.monotonic() > give_up:
                raise StackError(f"a stage did not start: {_last(self._situation.troubles)}; logs in {supervisor.logs}")
            time.sleep(0.2)

    def _follow(
        self, supervisor: Supervisor, watch: Watch, ports: Sequence[int], settings: Settings, draw: Draw
    ) -> Samples:
        """Watch until the source is played and nothing is on its way any more; return the last metrics."""
        situation, started, moved = self._situation, time.monotonic(), time.monotonic()
        raw = _RawTopics(settings)
        samples: Samples = {}
        while True:
            supervisor.look()
            taken = watch.read(0.1)
            now = time.monotonic()
            played = supervisor.finished("replay")
            situation.phase = "finishing" if played else "playing"
            situation.seconds, situation.raw_records = now - started, raw.records()
            samples = scrape(ports) or samples
            frames = by_label(samples, FRAMES, "outcome")
            changed = taken > 0 or sum(frames.values()) != situation.frames
            situation.frames = sum(frames.values())
            situation.events, situation.lag = int(total(samples, EVENTS_RECEIVED)), int(total(samples, OFFSET_LAG))
            draw(situation, watch)
            moved = now if changed else moved
            done = (
                played
                and situation.lag == 0
                and rows_are_written(samples, settings.partitions, settings.rules.row_interval_ns / SECOND_NS)
                and watch.statuses.total() >= watch.rows
            )
            if done and now - moved > QUIET_SECONDS:
                raw.close()
                return samples
            if now - moved > PATIENCE_SECONDS:
                raise StackError(f"nothing moves any more: {_last(situation.troubles)}; logs in {supervisor.logs}")


class _RawTopics:
    """How many records the raw topics hold."""

    def __init__(self, settings: Settings) -> None:
        self._reader: Consumer = consumer(settings, "foreshock-demo")
        counts = partition_counts(settings, RAW_TOPICS)
        self._places = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(count)]

    def records(self) -> int:
        return sum(self._reader.get_watermark_offsets(place, timeout=5)[1] for place in self._places)

    def close(self) -> None:
        self._reader.close()


def _frames(settings: Settings) -> int:
    """Count what lies on the raw topics and is no heartbeat."""
    records = (message for topic in RAW_TOPICS for message in read_topic(settings, topic))
    return sum(message.headers.get("format") != b"heartbeat" for message in records)


def _last(troubles: Sequence[str]) -> str:
    return troubles[-1] if troubles else "no process has ended"


def rate(count: int, seconds: float) -> float:
    """Return count per second, 0 before any time has passed.

    >>> rate(10, 2.0)
    5.0
    """
    return count / seconds if seconds > 0 else 0.0
