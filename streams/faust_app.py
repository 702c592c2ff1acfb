"""The one place where Faust is wired: it assigns partitions, restores tables and runs agents.

`run_stage` runs a `streams.stage.Stage` as this process's whole work. What Faust does not do for us
(measured and read in 0.15.3): its commit can pass an unacknowledged offset, so what it may commit is
only what a checkpoint has covered; its queues drop records under way in a rebalance, so order is
kept by `streams.runner`; it fetches with a wait of 1.5 s that holds up idle partitions; a crashed
agent is restarted silently, so an error ends the process.
"""

import asyncio
import logging
import os
import signal
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.errors import StateError
from schemas.metrics import JOINING, LOOP_LAG, REBALANCES, STATE_RESTORE_DURATION
from streams.checkpoints import CheckpointStore
from streams.connection import faust_credentials
from streams.ends import ends_of
from streams.kafka import Outbox, consumer
from streams.logs import log_to_stderr
from streams.metrics_server import Metrics, MetricsServer
from streams.runner import Place, StageRunner, end_on_error
from streams.settings import Settings
from streams.stage import Message, Stage
from streams.topic_setup import require_topics_of
from streams.watchdog import Pulse, Watchdog, exit_now

__all__ = ["build_app", "run_stage"]

LOGGER = logging.getLogger("foreshock.faust")
_STOP_SECONDS = 1.0
_QUEUE_MESSAGES = 400
_BUNDLE_RECORDS = 50
"""Records of one partition that go through Faust as one message."""
_QUEUE_BUNDLES = 8
_FETCH_BYTES = 8 << 20
_HELD_POLL_SECONDS = 0.1
_TICK_SECONDS = 0.25


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Fetches without Faust's fixed wait; a failed commit is no reason to end."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        created = super()._create_worker_consumer(transport)
        # Faust fixes 1,500 ms, and an idle partition then holds up the others; there is no setting.
        created._fetch_max_wait_ms = _ours(self.app).stage_settings.fetch_wait_ms  # noqa: SLF001
        return created

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        wanted = {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        try:
            await self._ensure_consumer().commit(wanted)
        except KafkaError as error:
            LOGGER.info("offsets not committed, lag may look larger than it is: %r", error)
            return False
        return True


class _Bundle(list[Any]):
    """Consecutive records of one partition: Faust's 70 microseconds for each message are paid once for all."""


class _Consumer(driver.Consumer):
    """Commits what checkpoints cover and nothing else, and seeks where the runner says.

    `covered`: per partition the offset below which everything is in an acknowledged checkpoint.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.covered: dict[TP, int] = {}
        self.held: set[TP] = set()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self.covered) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.covered.get(tp)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's name
        """Leave held partitions out here, before the fetch: later, Faust would drop what it has fetched."""
        if not self.held or active_partitions is None:
            return self._bundled(await super()._getmany(active_partitions, timeout))
        wanted = active_partitions - self.held
        if not wanted:  # an empty set means all partitions to aiokafka
            await asyncio.sleep(_HELD_POLL_SECONDS)
            return {}
        return self._bundled(await super()._getmany(wanted, _HELD_POLL_SECONDS))

    def _bundled(self, found: Mapping[TP, list[Any]]) -> dict[TP, list[Any]]:
        """Bundle the records of the stage's topics; those of the changelog are Faust's own."""
        mine = _ours(self.app).runner.stage.topics
        return {tp: _bundles(records) if tp.topic in mine else records for tp, records in found.items()}

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not isinstance(record, _Bundle):
            return super()._to_message(tp, record)
        message = super()._to_message(tp, record[-1])
        message.bundle = record
        return message

    async def perform_seek(self) -> None:
        """Go where the stage stands: the group's commits are never what is resumed from."""
        assigned = self.assignment()
        positions = {TP(*place): offset for place, offset in _ours(self.app).runner.positions().items()}
        positions = {tp: offset for tp, offset in positions.items() if tp in assigned}
        if positions:
            await self.seek_wait(positions)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        _ours(self.app).waiting_since = time.monotonic()
        await _ours(self.app).runner.revoke_all()
        self.covered.clear()
        self.held.clear()
        await super().on_partitions_revoked(revoked)


def _bundles(records: list[Any]) -> list[Any]:
    return [_Bundle(records[start : start + _BUNDLE_RECORDS]) for start in range(0, len(records), _BUNDLE_RECORDS)]


class _Transport(driver.Transport):
    Consumer = _Consumer


class _App(faust.App):
    """A Faust app that ends the process where Faust would restart a part of it."""

    stage_settings: Settings
    runner: StageRunner
    waiting_since: float | None = None
    restored: tuple[int, float] = (0, 0.0)
    """How much of changelogs is read, and since when it is so much."""

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Tables live in memory and in their changelogs: nothing is kept on disk."""

    def joining_age(self) -> float:
        """Return the seconds since partitions were asked for or state was restored, 0 once they are there."""
        since, now = self.waiting_since, time.monotonic()
        read = sum(offset or 0 for offset in cast("Any", self.tables).recovery.active_offsets.copy().values())
        if read != self.restored[0]:
            self.restored = (read, now)
        return 0.0 if since is None else now - max(since, self.restored[1])

    def waiting_age(self) -> float:
        """Return the seconds since partitions were asked for, 0 once they are read."""
        since = self.waiting_since
        return 0.0 if since is None else time.monotonic() - since

    def _crash(self, reason: BaseException) -> None:
        if not self.should_stop:
            exit_now(1, "Faust crashed", reason)
        super()._crash(reason)


def _ours(app: Any) -> _App:
    return cast("_App", app)


class _TableLog:
    """The checkpoint table of an app: a plain table of bytes in memory, with its changelog topic.

    Faust refuses writes from outside of an agent's event, because it takes the partition from the
    event; ours is in the key, so the changelog is written with the partition named.
    """

    def __init__(self, app: _App) -> None:
        self.app = app
        self.table = app.Table(
            "checkpoint", key_type=bytes, value_type=bytes, store="memory://", partitions=app.conf.topic_partitions
        )

    @property
    def topic(self) -> str:
        return str(self.table.changelog_topic.get_topic_name())

    @property
    def recovery(self) -> Any:
        """Faust's service that reads the changelog."""
        return cast("Any", self.app.tables).recovery

    def _data(self) -> dict[bytes, bytes]:
        store: Any = self.table.data
        return cast("dict[bytes, bytes]", store.data)

    def records(self, partition: int) -> Mapping[bytes, bytes]:
        prefix = b"%d/" % partition
        return {key: value for key, value in self._data().items() if key.startswith(prefix)}

    async def write(self, partition: int, key: bytes, value: bytes | None) -> None:
        # Shielded: a cancelled future would break Faust's producer when the acknowledgement comes.
        await asyncio.shield(self.table.send_changelog(partition, key, value))
        if value is None:
            self._data().pop(key, None)
        else:
            self._data()[key] = value

    def forget(self, partition: int) -> None:
        """Make the next assignment of the partition read its changelog from the beginning."""
        for key in self.records(partition):
            self._data().pop(key)
        self.recovery.active_offsets.pop(TP(self.topic, partition), None)


class _Source:
    """The consumer of an app, as the runner sees it."""

    def __init__(self, app: _App, log: _TableLog) -> None:
        self._app = app
        self._log = log

    @property
    def _consumer(self) -> _Consumer:
        return cast("_Consumer", self._app.consumer)

    async def bounds(self, places: Iterable[Place]) -> Mapping[Place, tuple[int, int]]:
        tps = [TP(*place) for place in places]
        low = await self._consumer.earliest_offsets(*tps)
        high = await self._consumer.highwaters(*tps)
        return {(tp.topic, tp.partition): (low[tp], high[tp]) for tp in tps}

    async def seek(self, positions: Mapping[Place, int]) -> None:
        await self._consumer.seek_wait({TP(*place): offset for place, offset in positions.items()})

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        self._consumer.covered.update({TP(*place): offset for place, offset in offsets.items()})
        await self._consumer.commit()

    def hold(self, place: Place) -> None:
        self._consumer.held.add(TP(*place))

    def release(self, place: Place) -> None:
        self._consumer.held.discard(TP(*place))

    def forget(self, partition: int) -> None:
        self._log.forget(partition)

    async def restored(self, partitions: Iterable[int]) -> None:
        """Check that the table holds all that the changelog had: Faust's recovery is not trusted blindly."""
        tps = [TP(self._log.topic, partition) for partition in partitions]
        ends = await self._consumer.highwaters(*tps)
        recovery = self._log.recovery
        for tp in tps:
            have, wanted = recovery.active_offsets.get(tp), recovery.active_highwaters.get(tp, ends[tp] - 1)
            if (-1 if have is None else have) < min(ends[tp] - 1, wanted):
                raise StateError(f"{tp.topic}[{tp.partition}]: restored up to {have} of {wanted}")


def build_app(settings: Settings, stage: Stage, metrics: Metrics, pulse: Pulse) -> tuple[_App, StageRunner]:
    """Return the Faust app that runs `stage`, and its runner; starts nothing."""
    app = _App(stage.name, **_options(settings, stage))
    app.stage_settings = settings
    app.finalize()
    log = _TableLog(app)
    source = _Source(app, log)
    outbox = Outbox(settings, f"foreshock-{stage.name}-{settings.worker}")
    store = CheckpointStore(log, uuid.uuid4().hex[:16])
    app.runner = StageRunner(stage, settings, metrics, outbox, source, store, pulse)
    for topic in stage.topics:
        _add_agent(app, topic)
    app.on_rebalance_complete.connect(_acquirer(app, stage, source), weak=False)
    return app, app.runner


def _options(settings: Settings, stage: Stage) -> dict[str, Any]:
    member = f"{stage.name}-{settings.worker}" if settings.worker >= 0 else f"{stage.name}-{uuid.uuid4().hex[:8]}"
    return {
        "broker": ";".join(f"kafka://{server}" for server in settings.bootstrap_servers.split(",")),
        "broker_credentials": faust_credentials(settings),
        "consumer_group_instance_id": member if settings.worker >= 0 else None,
        # Names the member in the assignment; a static member that comes back must find the same.
        "canonical_url": f"http://{member}:1",
        "topic_partitions": settings.partitions,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "store": "memory://",
        "table_standby_replicas": settings.standby_replicas,
        "processing_guarantee": "at_least_once",
        "broker_session_timeout": settings.session_timeout_seconds,
        "broker_request_timeout": max(90.0, settings.session_timeout_seconds + 10.0),
        "broker_heartbeat_interval": settings.session_timeout_seconds / 4,
        "broker_max_poll_records": _QUEUE_MESSAGES,
        "broker_commit_interval": 3600.0,
        "broker_commit_livelock_soft_timeout": 1e9,
        "stream_processing_timeout": 1e9,
        "stream_buffer_maxsize": _QUEUE_BUNDLES,
        # Records stay unacknowledged until a checkpoint covers them: waiting for them would never end.
        "stream_wait_empty": False,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": _FETCH_BYTES,
        "producer_max_request_size": _FETCH_BYTES,
        "producer_acks": -1,
        "producer_linger": 0.0,
        "worker_redirect_stdouts": False,
    }


def _add_agent(app: _App, name: str) -> None:
    topic = app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
                      acks=False, allow_empty=True)  # fmt: skip

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            for record in event.message.bundle:
                if not await _deliver(app.runner, record):
                    break

    app.agent(topic, name=f"{app.conf.id}-{name}", concurrency=1)(agent)


async def _deliver(runner: StageRunner, message: Any) -> bool:
    pairs = _pairs(message.headers)
    record = Message(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        {name: value or b"" for name, value in pairs},
        message.value,
        message.timestamp or 0,
        pairs,
    )
    try:
        return await runner.deliver(record)
    except Exception as error:  # noqa: BLE001 - any error of a stage ends the process
        exit_now(1, f"{record.topic}[{record.partition}]@{record.offset}", error)


def _pairs(headers: Any) -> Sequence[tuple[str, bytes | None]]:
    return list(headers.items()) if isinstance(headers, Mapping) else headers or ()


def _acquirer(app: _App, stage: Stage, source: _Source) -> Any:
    """Return what Faust calls when tables are restored and before it lets records flow."""

    async def acquire(*_: Any, **__: Any) -> None:
        assigned = app.consumer.assignment()
        partitions = {tp.partition for tp in assigned if tp.topic in stage.topics}
        rebalance = app.waiting_since
        try:
            await source.restored(partitions)
            if app.waiting_since == rebalance:
                await app.runner.acquire(partitions)
        except Exception as error:  # noqa: BLE001 - any error here leaves a partition that nobody serves
            if app.waiting_since == rebalance:
                exit_now(1, f"{stage.name}: partitions {sorted(partitions)} could not be taken over", error)
            LOGGER.info("the next rebalance came before the last was done: %r", error)
        if app.waiting_since == rebalance:
            _tell_joined(app)
            app.waiting_since = None

    return acquire


def _tell_joined(app: _App) -> None:
    """Count that partitions were given to us, and how long it took until they are read on."""
    metrics, stage = app.runner.metrics, app.runner.stage.name
    metrics[REBALANCES].labels(stage).inc()
    if app.waiting_since is not None:
        metrics[STATE_RESTORE_DURATION].labels(stage).observe(time.monotonic() - app.waiting_since)


def run_stage(settings: Settings, stage: Stage) -> None:
    """Run `stage` until SIGTERM; then the process ends, with code 0. Raises StateError before it starts."""
    log_to_stderr(settings, stage.name)
    require_topics_of(settings, stage.name)
    asyncio.run(_run(settings, stage))


async def _run(settings: Settings, stage: Stage) -> None:
    metrics = Metrics(stage.name)
    metrics.tell_live(live=settings.heartbeat_writer == "ingest")
    MetricsServer(metrics, settings.metrics_port, settings.metrics_address)
    pulse = Pulse(settings.session_timeout_seconds)
    app, runner = build_app(settings, stage, metrics, pulse)
    stop = _stop_signal()
    clock = _LoopClock(metrics, stage.name)
    await stage.started(runner)
    app.waiting_since = time.monotonic()
    metrics[JOINING].labels(stage.name).set_function(app.waiting_age)
    work = {
        "Faust": app.start(),
        "checkpoints": runner.checkpoint_forever(),
        "acknowledgements": runner.poll_forever(),
        "clock": clock.tick_forever(),
    }
    tasks = [asyncio.create_task(each, name=f"{stage.name}: {name}") for name, each in work.items()]
    for task in tasks:
        task.add_done_callback(end_on_error)
    ends = _Ends(settings, runner)
    watchdog = Watchdog(pulse, settings.stall_seconds, runner.watched, ends.read, clock.age, app.joining_age)
    watchdog.start()
    await stop.wait()
    watchdog.stop()
    for task in tasks:
        task.remove_done_callback(end_on_error)
    await _stop(app, runner, stage)
    os._exit(0)  # Faust's threads may take their time; all that matters is acknowledged


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _stop(app: _App, runner: StageRunner, stage: Stage) -> None:
    """Save, then leave the group; a wait that does not end is cut short, since a kill is harmless too."""
    await runner.revoke_all(commit=True)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await stage.stopped()
            await app.stop()
    except TimeoutError:
        LOGGER.info("stopped without leaving the group")


class _LoopClock:
    """When the event loop last ran."""

    def __init__(self, metrics: Metrics, stage: str) -> None:
        self._last = time.monotonic()
        self._lag = metrics[LOOP_LAG].labels(stage)

    def age(self) -> float:
        """Return the seconds since the loop ran."""
        return time.monotonic() - self._last

    async def tick_forever(self) -> None:
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self._lag.set(max(0.0, self.age() - _TICK_SECONDS))


class _Ends:
    """Asks the broker how far the input topics go, through a connection that Faust has no part in."""

    def __init__(self, settings: Settings, runner: StageRunner) -> None:
        self._reader = consumer(settings, f"{runner.stage.name}-watchdog")
        self._runner = runner

    def read(self) -> Mapping[Place, int] | None:
        """Return the next offset of each place that is read, or None where the broker does not answer."""
        ends = ends_of(self._reader, self._runner.positions())
        if ends is not None:
            self._runner.report_lag(ends)
        return ends
