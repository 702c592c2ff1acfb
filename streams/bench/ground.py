"""A private broker for one benchmark: filled topics, running stages, and what they used."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.ports import free_ports
from deploy.stack import Stack, default_folder, private_stack
from featurestore.catalogue import Catalogue
from featurestore.defaults import default_features
from schemas.errors import StackError
from schemas.metrics import OFFSET_LAG
from streams.announcements import announce
from streams.kafka import consumer, create_topics, partition_counts, producer_config
from streams.run import Piece, Supervisor, stage_pieces
from streams.scrape import Samples, reads_all, scrape
from streams.settings import Settings

Say = Callable[[str], None]
"""Is told in a few words what is being done."""

_DEFAULT_FEATURIZE = (sys.executable, "-c", "from streams.bench.process import featurize; featurize()")
_WARM_SHARE = 0.1
"""Of the events; they warm the stages up before the clock runs."""
_SUSPENDED_SECONDS = 300.0
"""For so long may processes be suspended before their group or their watchdog gives them up."""
_FOLLOW_SECONDS = 0.1
"""Between two looks at a run: each is a question to the broker that is measured."""
_START_SECONDS = 90.0
_QUIET_SECONDS = 4.0
"""Longer than the stages take to tell their lag again."""
_STUCK_SECONDS = 60.0

RawRecord = tuple[str, int, bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Topic, partition, key, value, headers."""


@dataclass(frozen=True)
class Ground:
    """A broker of its own, its settings and its processes.

    `by_default`: featurize makes the default features, not the whole catalogue.
    """

    settings: Settings
    stack: Stack
    by_default: bool = False

    @property
    def broker(self) -> psutil.Process:
        """Return the broker's process."""
        pid = self.stack.pid("kafka")
        if pid is None:
            raise StackError("the benchmark's broker has ended")
        return psutil.Process(pid)


@contextmanager
def ground(settings: Settings, *, by_default: bool = False) -> Iterator[Ground]:
    """Run a private broker with all topics and an announced feature set; it ends with the block."""
    folder = default_folder(f"bench-{os.getpid()}")
    with private_stack(folder, ("kafka",)) as stack:
        private = replace(
            settings,
            bootstrap_servers=stack.bootstrap_servers,
            metrics_port=free_ports().kafka,
            state_dir=stack.folder / "state",
            session_timeout_seconds=_SUSPENDED_SECONDS,
            stall_seconds=2 * _SUSPENDED_SECONDS,
            delivery_timeout_seconds=2 * _SUSPENDED_SECONDS,
        )
        create_topics(private)
        whole = Catalogue.discover(private.rules)
        announce(private, default_features(whole) if by_default else whole)
        yield Ground(private, stack, by_default)
    shutil.rmtree(folder, ignore_errors=True)  # after a failure its logs stay


def fill(settings: Settings, records: Iterable[RawRecord], say: Say) -> int:
    """Put records on their topics and return how many; all are acknowledged then."""
    producer = Producer(producer_config(settings, "foreshock-bench") | {"linger.ms": 20.0})
    count, say_at = 0, 0.0
    for topic, partition, key, value, headers in records:
        while True:
            try:
                producer.produce(topic, value, key=key, partition=partition, headers=cast("Any", headers))
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
        if not count % 1_000:
            producer.poll(0)
            if time.monotonic() > say_at:
                say_at = time.monotonic() + 0.2
                say(f"{count:,} records on the topics")
    if producer.flush(60.0):
        raise StackError("the broker did not take the benchmark's records in time")
    return count


@contextmanager
def stages(place: Ground, names: tuple[str, ...], workers: int = 1) -> Iterator["Running"]:
    """Run stages as processes until the block ends."""
    settings = place.settings
    pieces = stage_pieces(settings, names, dict.fromkeys(names, workers))
    if place.by_default:
        pieces = [
            msgspec.structs.replace(piece, command=_DEFAULT_FEATURIZE) if piece.name.startswith("featurize") else piece
            for piece in pieces
        ]
    with Supervisor(settings, pieces) as supervisor:
        yield Running(place, supervisor, pieces)


@dataclass
class Running:
    """Stages at work."""

    place: Ground
    supervisor: Supervisor
    pieces: list[Piece]

    def samples(self) -> Samples | None:
        """Return their metrics; None while one does not answer."""
        return _scraped(self.pieces)

    def wait_until_reading(self, topics: Mapping[str, int]) -> None:
        """Wait until every partition of `topics` has a reader; raises StackError."""
        give_up = time.monotonic() + _START_SECONDS
        while True:
            found = self.samples()
            if all(reads_all(found, [topic], count) for topic, count in topics.items()):
                return
            self._look(give_up, "a stage did not start")
            time.sleep(0.1)

    def processes(self) -> dict[str, psutil.Process]:
        """Return the processes by name, the broker's too."""
        pids = {name: self.supervisor.pid(name) for name in self.supervisor.names}
        found = {name: psutil.Process(pid) for name, pid in pids.items() if pid is not None}
        return found | {"broker": self.place.broker}

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time that each process has used."""
        return {name: sum(process.cpu_times()[:2]) for name, process in self.processes().items()}

    def pace(self, records: Iterable[tuple[RawRecord, int]], events: int, topic: str, say: Say) -> "Pace":
        """Return how fast the stages turn `records` into messages on `topic`.

        `records`: each with its number of events; `events`: of all of them. The first ones start the
        stages and warm them up. While the others are put on their topics the stages are suspended;
        the clock runs from when they go on to the last message on `topic`.
        """
        records, ends = iter(records), _Ends(self.place.settings, topic)
        done = 0

        def until(limit: float) -> Iterator[RawRecord]:
            nonlocal done
            for record, count in records:
                done += count
                yield record
                if done >= limit:
                    break

        try:
            fill(self.place.settings, until(_WARM_SHARE * events), say)
            self._last_growth(ends, 0, say)
            written, warm = ends.total(), done
            with self._suspended():
                fill(self.place.settings, until(float("inf")), say)
                begin, before = time.monotonic(), self.cpu_seconds()
            end, after = self._last_growth(ends, written, say)
        finally:
            ends.close()
        events = done - warm
        millions = events / 1e6
        cpu = {name: (seconds - before.get(name, 0.0)) / millions for name, seconds in after.items()}
        return Pace(events / (end - begin), cpu)

    @contextmanager
    def _suspended(self) -> Iterator[None]:
        """Suspend the stages' processes for the block; their sessions have to outlive it."""
        processes = [psutil.Process(pid) for name in self.supervisor.names if (pid := self.supervisor.pid(name))]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _last_growth(self, ends: "_Ends", written: int, say: Say) -> tuple[float, dict[str, float]]:
        """Wait until a topic of `written` messages has grown, grows no more and nothing waits to be read.

        Returns when it last grew, and the CPU seconds by then.
        """
        begun, moved, say_at = False, time.monotonic(), 0.0
        cpu = self.cpu_seconds()
        while not begun or time.monotonic() - moved < _QUIET_SECONDS or not self._all_is_read():
            time.sleep(_FOLLOW_SECONDS)
            total, now = ends.total(), time.monotonic()
            if total > written:
                begun, written, moved, cpu = True, total, now, self.cpu_seconds()
            if now > say_at:
                say_at = now + 0.2
                say(f"{written:,} messages written")
            self._look(moved + _STUCK_SECONDS, "nothing is written")
        return moved, cpu

    def _all_is_read(self) -> bool:
        samples = self.samples()
        return samples is not None and not any(lag for (name, _), lag in samples.items() if name == OFFSET_LAG.name)

    def _look(self, give_up: float, problem: str) -> None:
        self.supervisor.look()
        ended = [name for name in self.supervisor.names if self.supervisor.exits(name)]
        if ended or time.monotonic() > give_up:
            logs = self.supervisor.logs
            raise StackError(f"{problem}{f': {ended[0]} ended' if ended else ''}; logs in {logs}")


def _scraped(pieces: Iterable[Piece]) -> Samples | None:
    return scrape(int(piece.environment["FORESHOCK_METRICS_PORT"]) for piece in pieces)


@dataclass(frozen=True)
class Pace:
    """Events per second, and CPU seconds per million events by process."""

    rate: float
    cpu: dict[str, float]


class _Ends:
    """How many records a topic holds."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._reader: Consumer = consumer(settings, "foreshock-bench")
        count = partition_counts(settings, [topic])[topic]
        self._places = [TopicPartition(topic, partition) for partition in range(count)]

    def total(self) -> int:
        return sum(self._reader.get_watermark_offsets(place, timeout=5.0)[1] for place in self._places)

    def close(self) -> None:
        self._reader.close()
