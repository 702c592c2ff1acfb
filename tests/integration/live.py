"""The stages as real processes on real Kafka, driven by a test: started, killed, waited for, read."""

import hashlib
import json
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace

from confluent_kafka.admin import AdminClient
from msgspec import structs

from deploy.ports import free_ports
from schemas.metrics import FRAMES, OFFSET_LAG
from schemas.rows import decode_rows
from schemas.rules import SECOND_NS
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, FORECAST, MARKET_STATE, RAW_TOPICS, topics
from streams.kafka import create_topics, read_topic, watermarks
from streams.pipeline import prepare, raw_producer
from streams.run import STAGES, Supervisor, stage_pieces
from streams.scrape import by_label, reads_all, rows_are_written, scrape, total
from streams.settings import Settings
from streams.sources.replay import replay

TICK_MODELS = ("lstm-ticks", "performer-ticks")
"""All that the default profile asks for: each model that Triton loads imports torch."""
QUIET_SECONDS = 2.5
READ_BY = {
    "ingest": (),
    "featurize": (*EVENT_TOPICS, MARKET_STATE),
    "infer": (FEATURE_ROW,),
    "score": (FEATURE_ROW, FORECAST),
}
PATIENCE_SECONDS = 90.0


class Live:
    """Stages of one pipeline under a supervisor, looked after by a thread of its own."""

    def __init__(self, settings: Settings, stages: Iterable[str] = STAGES, workers=None, environment=None) -> None:
        self.settings = settings
        self._stages = tuple(stages)
        pieces = [
            structs.replace(piece, environment=piece.environment | (environment or {}))
            for piece in stage_pieces(settings, self._stages, workers)
        ]
        self.ports = [int(piece.environment["FORESHOCK_METRICS_PORT"]) for piece in pieces]
        self.said: list[str] = []
        self.supervisor = Supervisor(settings, pieces, self.said.append)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        with self.supervisor:
            while not self._ending.wait(0.1):
                self.supervisor.look()

    def __enter__(self):
        self._thread.start()
        self._until(self._reads_all, 60.0, "the stages to start")
        return self

    def __exit__(self, *_) -> None:
        self._ending.set()
        self._thread.join()

    def _reads_all(self) -> bool:
        return self._knows_its_lag(scrape(self.ports))

    def _knows_its_lag(self, samples) -> bool:
        read = [topic for stage in self._stages for topic in READ_BY[stage]]
        return reads_all(samples, read, self.settings.partitions)

    def _until(self, condition, seconds, what) -> None:
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                logs = {name: self.supervisor.log(name).read_text()[-1500:] for name in self.supervisor.names}
                raise AssertionError(f"waited {seconds:.0f} s for {what}; {self.said}; {json.dumps(logs, indent=1)}")
            time.sleep(0.1)

    def wait_until_done(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every raw record went through all stages: no lag anywhere and no output any more."""
        last, since = None, time.monotonic()

        def done() -> bool:
            nonlocal last, since
            if not self._has_read_all():
                last, since = None, time.monotonic()
                return False
            now = ends(self.settings)
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_SECONDS

        self._until(done, seconds, "the run to end")

    def _has_read_all(self) -> bool:
        samples = scrape(self.ports)
        if samples is None or not self._knows_its_lag(samples) or total(samples, OFFSET_LAG) > 0:
            return False
        raw = self.settings.rules.raw_partitions if "ingest" in self._stages else {}
        if not all(reads_all(samples, [topic], count) for topic, count in raw.items()):
            return False
        interval = self.settings.rules.row_interval_ns / SECOND_NS
        return "featurize" not in self._stages or rows_are_written(samples, self.settings.partitions, interval)

    def frames(self):
        """Raw frames by what became of them, over all processes."""
        return by_label(scrape(self.ports), FRAMES, "outcome")


def ends(settings: Settings) -> dict[tuple[str, int], int]:
    """End offsets of all topics that are not checkpoints."""
    names = [name for name in topics(settings.rules) if "checkpoint" not in name]
    return {(name, p): high for name in names for p, (_, high) in watermarks(settings, name).items()}


def fill(settings: Settings, messages) -> None:
    """Put raw messages and their heartbeats on the raw topics, as fast as it goes."""
    create_topics(settings)
    replay(messages, raw_producer(settings), settings.rules)


def reset(settings: Settings, *, keep=RAW_TOPICS) -> None:
    """Forget all but the raw topics, so that the same raw log can be processed anew; `keep=()`: these too."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    doomed = [name for name in topics(settings.rules) if name not in keep]
    existing = [name for name in admin.list_topics(timeout=10).topics if name in doomed]
    for future in (admin.delete_topics(existing, operation_timeout=20) if existing else {}).values():
        future.result()
    groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
    if groups:
        for future in admin.delete_consumer_groups(groups).values():
            future.exception(timeout=20)
    give_up = time.monotonic() + 20
    while set(admin.list_topics(timeout=10).topics) & set(doomed):
        assert time.monotonic() < give_up, "topics are not deleted"
        time.sleep(0.1)
    prepare(settings)


def settings_for(stack, folder, **changes) -> Settings:
    """Settings of a pipeline on `stack`, quick to notice and to checkpoint."""
    base = Settings(
        bootstrap_servers=stack.bootstrap_servers,
        triton_url=stack.triton_grpc,
        state_dir=folder,
        heartbeat_writer="replay",
        metrics_port=free_ports().kafka,
        checkpoint_seconds=2.0,
        session_timeout_seconds=6.0,
    )
    return replace(base, **changes)


@contextmanager
def pipeline(settings: Settings, stages=STAGES, workers=None, environment=None):
    """Run stages until the block ends; `environment`: what theirs has more than ours."""
    with Live(settings, stages, workers, environment) as live:
        yield live


def first_rows(settings: Settings) -> dict[tuple[int, int], bytes]:
    """{(partition, row time): bytes of the first message}; asserts that repeats say the same."""
    found: dict[tuple[int, int], bytes] = {}
    for message in read_topic(settings, FEATURE_ROW):
        key = (message.partition, int(message.headers["row_time_ns"]))
        assert found.setdefault(key, message.value) == message.value, f"row {key} was written with other bytes"
    return found


def rows_hash(rows: dict[tuple[int, int], bytes]) -> str:
    """One hash over all rows, in order."""
    digest = hashlib.sha256()
    for key in sorted(rows):
        digest.update(repr(key).encode() + rows[key])
    return digest.hexdigest()


def scheduled(rows: dict[tuple[int, int], bytes]) -> set[tuple[str, int]]:
    """(instrument, origin time) of every forecast that must exist."""
    return {(name, time_ns) for (_, time_ns), value in rows.items() for name in decode_rows(value).instruments}


def forecasts(settings: Settings) -> dict[str, dict]:
    """First forecast record by id."""
    found: dict[str, dict] = {}
    for message in read_topic(settings, FORECAST):
        record = json.loads(message.value)
        found.setdefault(record["id"], record)
    return found
