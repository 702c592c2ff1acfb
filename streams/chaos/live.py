"""The stages as real processes on real Kafka: started, killed, waited for, read."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from confluent_kafka import KafkaException
from msgspec import structs

from schemas.errors import StackError
from schemas.metrics import FRAMES, OFFSET_LAG
from schemas.rows import decode_rows
from schemas.rules import SECOND_NS
from schemas.topics import (
    EVENT_TOPICS,
    FEATURE_ROW,
    FORECAST,
    MARKET_STATE,
    topics,
)
from streams.ends import ends_at_once
from streams.kafka import consumer, create_topics, read_topic
from streams.pipeline import raw_producer
from streams.run import STAGES, Supervisor, stage_pieces
from streams.scrape import Samples, by_label, reads_all, rows_are_written, scrape, total
from streams.settings import Settings
from streams.sources import RawMessage
from streams.sources.replay import replay

QUIET_SECONDS = 2.5
"""So long nothing may be written, with no lag anywhere, before a run counts as done."""
PATIENCE_SECONDS = 90.0
_ADMIN_SECONDS = 20.0
READ_BY: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "featurize": (*EVENT_TOPICS, MARKET_STATE),
    "infer": (FEATURE_ROW,),
    "score": (FEATURE_ROW, FORECAST),
}
_LOOK_SECONDS = 0.1
_TAIL_CHARACTERS = 1_500


class Live:
    """Stages of one pipeline under a supervisor, looked after by a thread of its own.

    `said`: what the supervisor told of processes that ended. `starting_seconds`: how long the stages
    may take until each partition has its reader; 0 does not wait for it. `commands`: by stage, what is
    run instead of `foreshock STAGE`.
    """

    def __init__(
        self,
        settings: Settings,
        stages: Iterable[str] = STAGES,
        workers: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        starting_seconds: float = 60.0,
        commands: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.settings = settings
        self._stages = tuple(stages)
        self._starting_seconds = starting_seconds
        pieces = [
            structs.replace(
                piece,
                environment=piece.environment | dict(environment or {}),
                command=(commands or {}).get(piece.name.rpartition("-")[0], piece.command),
            )
            for piece in stage_pieces(settings, self._stages, workers)
        ]
        self.ports = [int(piece.environment["FORESHOCK_METRICS_PORT"]) for piece in pieces]
        self.said: list[str] = []
        self.supervisor = Supervisor(settings, pieces, self.said.append)
        self._ending = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        with self.supervisor:
            while not self._ending.wait(_LOOK_SECONDS):
                with self._looking:
                    self.supervisor.look()

    def stop(self, name: str) -> None:
        """End a process with SIGTERM; it stays away until `start`."""
        with self._looking:
            self.supervisor.stop([name])

    def start(self, name: str) -> None:
        """Start a process that has ended, without the pause that a crash loop gets."""
        with self._looking:
            self.supervisor.start([name])

    def kill_for_now(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Kill a process and start it again at once: many kills on purpose are no crash loop.

        `meanwhile` is called when it has ended.
        """
        ended = len(self.exits(name))
        self.supervisor.kill(name)
        self.wait(lambda: len(self.exits(name)) > ended, PATIENCE_SECONDS, f"{name} to end")
        meanwhile()
        self.start(name)

    def exits(self, *names: str) -> list[int]:
        """Return the codes with which these processes, or all, have ended so far; a signal is negative."""
        return [code for name in names or self.supervisor.names for code in self.supervisor.exits(name)]

    def __enter__(self) -> Self:
        self._thread.start()
        if self._starting_seconds:
            try:
                self.wait(self.reads_all, self._starting_seconds, "the stages to start")
            except BaseException:
                self.__exit__()  # nobody else would end what did not start well
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def reads_all(self) -> bool:
        """Return whether every partition that the stages read has a reader."""
        return self._knows_its_lag(scrape(self.ports))

    def _knows_its_lag(self, samples: Samples | None) -> bool:
        read = [topic for stage in self._stages for topic in READ_BY[stage]]
        return reads_all(samples, read, self.settings.partitions)

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until `condition`; raises StackError with the ends of all logs when it does not come."""
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                names = self.supervisor.names
                logs = {name: self.supervisor.log(name).read_text()[-_TAIL_CHARACTERS:] for name in names}
                told = json.dumps(logs, indent=1)
                raise StackError(f"waited {seconds:.0f} s for {what}; {self.said}; {told}")
            time.sleep(_LOOK_SECONDS)

    def wait_until_done(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every raw record went through all stages: no lag anywhere and no output any more."""
        last: dict[tuple[str, int], int] | None = None
        since = time.monotonic()

        def done() -> bool:
            nonlocal last, since
            if not self.has_read_all():
                last, since = None, time.monotonic()
                return False
            now = ends(self.settings)
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_SECONDS

        self.wait(done, seconds, "the run to end")

    def has_read_all(self) -> bool:
        """Return whether nothing waits to be read, and the last row's time has come."""
        samples = scrape(self.ports)
        if samples is None or not self._knows_its_lag(samples) or total(samples, OFFSET_LAG) > 0:
            return False
        raw = self.settings.rules.raw_partitions if "ingest" in self._stages else {}
        if not all(reads_all(samples, [topic], count) for topic, count in raw.items()):
            return False
        interval = self.settings.rules.row_interval_ns / SECOND_NS
        knows_borders = {"ingest", "featurize"} <= set(self._stages)
        return not knows_borders or rows_are_written(samples, self.settings.partitions, interval)

    def frames(self) -> Mapping[str, int]:
        """Return the raw frames by what became of them, over all processes."""
        samples = scrape(self.ports)
        if samples is None:
            raise StackError("a stage does not tell its metrics")
        return by_label(samples, FRAMES, "outcome")


@contextmanager
def pipeline(
    settings: Settings,
    stages: Iterable[str] = STAGES,
    workers: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    starting_seconds: float = 60.0,
    commands: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[Live]:
    """Run stages until the block ends; `environment`: what theirs has more than ours."""
    with Live(settings, stages, workers, environment, starting_seconds, commands) as live:
        yield live


def ends(settings: Settings) -> dict[tuple[str, int], int]:
    """Return the end offsets of all topics that are not checkpoints, in one question to the broker.

    Asks again while partitions are between two leaders; raises StackError when that lasts.
    """
    declared = {name: topic.partitions for name, topic in topics(settings.rules).items() if "checkpoint" not in name}
    places = [(name, partition) for name, count in declared.items() for partition in range(count)]
    reader = consumer(settings, "foreshock-reader")
    give_up = time.monotonic() + _ADMIN_SECONDS
    try:
        while True:
            try:
                return ends_at_once(reader, places)
            except KafkaException as error:
                if time.monotonic() > give_up:
                    raise StackError(f"the broker does not say how far its topics go: {error.args[0].str()}") from None
                time.sleep(_LOOK_SECONDS)
    finally:
        reader.close()


def row_messages(settings: Settings) -> int:
    """Return how many messages feature.row holds."""
    return sum(end for (topic, _), end in ends(settings).items() if topic == FEATURE_ROW)


def fill(settings: Settings, messages: Iterable[RawMessage]) -> None:
    """Put raw messages and their heartbeats on the raw topics, as fast as it goes."""
    create_topics(settings)
    replay(messages, raw_producer(settings), settings.rules)


def first_rows(settings: Settings) -> dict[tuple[int, int], bytes]:
    """Return {(partition, row time): bytes of the first message}; raises StackError where a repeat says otherwise."""
    found: dict[tuple[int, int], bytes] = {}
    for message in read_topic(settings, FEATURE_ROW):
        key = (message.partition, int(message.headers["row_time_ns"]))
        if found.setdefault(key, message.value or b"") != message.value:
            raise StackError(f"row {key} was written with other bytes")
    return found


def rows_hash(rows: Mapping[tuple[int, int], bytes]) -> str:
    """Return one hash over all rows, in order."""
    digest = hashlib.sha256()
    for key in sorted(rows):
        digest.update(repr(key).encode() + rows[key])
    return digest.hexdigest()


def scheduled(rows: Mapping[tuple[int, int], bytes]) -> set[tuple[str, int]]:
    """Return (instrument, origin time) of every forecast that must exist."""
    return {(name, time_ns) for (_, time_ns), value in rows.items() for name in decode_rows(value).instruments}


def forecasts(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the first forecast record by id."""
    found: dict[str, dict[str, Any]] = {}
    for message in read_topic(settings, FORECAST):
        record = json.loads(message.value or b"")
        found.setdefault(record["id"], record)
    return found
