"""The processes: what `streams.faust_app` and `run_ingest` are live, without Faust, threads and signals.

`StageHost` gives a StageRunner what Faust gives it: partitions that come and go, restored checkpoints,
records that may be read twice or dropped on the way, and an offset store.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from random import Random
from typing import Any

from streams import watchdog
from streams.checkpoints import CheckpointStore
from streams.ingest import process as ingest_process
from streams.kafka import Outbox
from streams.metrics_server import Metrics
from streams.runner import Place, StageRunner, end_on_error
from streams.settings import Settings
from streams.simulation.broker import Broker
from streams.simulation.clock import Process, here
from streams.simulation.groups import Group, Member
from streams.stage import Message, Stage
from streams.watchdog import Pulse

_BEAT_SECONDS = 0.25
_POLL_SECONDS = 0.05
_MOST_AT_ONCE = 12
"""Records of a place that one read brings at most."""


async def beat_forever(pulse: Pulse) -> None:
    """Do what the thread of the watchdog does."""
    while True:
        pulse.beat()
        await asyncio.sleep(_BEAT_SECONDS)


async def run_ingest(settings: Settings, metrics: Metrics, draw: Random) -> None:
    """Be one process of ingest, until it is ended from outside."""
    ingest = ingest_process.Ingest(settings, metrics)
    beating = asyncio.create_task(beat_forever(Pulse(settings.session_timeout_seconds)), name="pulse")
    beating.add_done_callback(end_on_error)
    ingest.join()
    process = here()
    process.positions = ingest.positions
    while True:
        try:
            if process.stopping:
                ingest.leave()
                process.die("stopped")
            ingest.step()
        except Exception as error:  # noqa: BLE001 - as `run_ingest` does
            watchdog.exit_now(1, "ingest failed", error)
        await asyncio.sleep(draw.uniform(0.002, 0.03))


class _TableLog:
    """The checkpoint table of one process: what it restored and what it wrote since."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._known: dict[int, dict[bytes, bytes]] = {}
        self._read: dict[int, int] = {}
        self._process = here()
        self._sender = broker.sender()
        self._process.senders.append(self._sender)

    def restore(self, partition: int) -> None:
        """Read the changelog on, up to its end: from its beginning where nothing of it is known."""
        known = self._known.setdefault(partition, {})
        place = self._topic, partition
        for message in self._broker.read(place, self._read.get(partition, 0), self._broker.end(place)):
            if message.value is None:
                known.pop(message.key or b"", None)
            else:
                known[message.key or b""] = message.value
        self._read[partition] = self._broker.end(place)

    def records(self, partition: int) -> Mapping[bytes, bytes]:
        return dict(self._known.get(partition, {}))

    async def write(self, partition: int, key: bytes, value: bytes | None) -> None:
        self._process.step()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def acknowledge(written: Message | None) -> None:
            if not future.done():
                future.set_result(written is not None)

        message = Message(self._topic, partition, -1, key, {}, value, -1)
        self._broker.send(self._process, self._sender, message, acknowledge)
        await asyncio.shield(future)
        known = self._known.setdefault(partition, {})
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value

    def forget(self, partition: int) -> None:
        """Have the next assignment read it from its beginning."""
        self._known.pop(partition, None)
        self._read.pop(partition, None)


class StageHost:
    """One process of a stage: the `Source` of its runner, and its place in the group."""

    def __init__(
        self,
        process: Process,
        stage: Stage,
        settings: Settings,
        metrics: Metrics,
        broker: Broker,
        group: Group[int],
        draw: Random,
    ) -> None:
        self.process = process
        self.stage = stage
        self.settings = settings
        self._broker = broker
        self._group = group
        self._draw = draw
        self._member: Member[int] = Member(process)
        self._log = _TableLog(broker, f"{stage.name}-checkpoint-changelog")
        self._fetch: dict[Place, int] = {}
        self._held: set[Place] = set()
        self._more: dict[str, asyncio.Event] = {topic: asyncio.Event() for topic in stage.topics}
        self._rebalance = 0
        self._pulse = Pulse(settings.session_timeout_seconds)
        self._outbox = outbox = Outbox(settings, f"foreshock-{process.name}")
        store = CheckpointStore(self._log, process.name)
        self.runner = StageRunner(stage, settings, metrics, outbox, self, store, self._pulse)
        self._kept_tasks: list[asyncio.Task[Any]] = []

    async def run(self) -> None:
        """Work until ended from outside."""
        await self.stage.started(self.runner)
        for name, work in (
            ("checkpoints", self.runner.checkpoint_forever()),
            ("acknowledgements", self._poll_forever()),
            ("pulse", beat_forever(self._pulse)),
            *((f"agent {topic}", self._agent(topic)) for topic in self.stage.topics),
        ):
            self._begin(name, work)
        self._group.join(self._member)
        while not self.process.stopping:
            await self._member.changed.wait()
            self._member.changed.clear()
            await self._follow()
        await self.runner.revoke_all(commit=True)
        await self.stage.stopped()
        self._group.leave(self._member)
        self.process.die("stopped")

    def stop(self) -> None:
        """Save and leave, when the event loop comes to it."""
        self.process.stopping = True
        self._member.tell()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"{self.stage.name}: {name}")
        task.add_done_callback(end_on_error)
        self._kept_tasks.append(task)

    async def _follow(self) -> None:
        """Do what the group says: give all up, come back, take over."""
        if self._member.must_rejoin or self._member.lost:
            self._rebalance += 1
            await self.runner.revoke_all()
            self._fetch.clear()
            self._held.clear()
            self._group.join(self._member)
        given = self._member.take()
        if given is not None:
            self._begin("acquire", self._acquire(given, self._rebalance))

    async def _acquire(self, partitions: list[int], rebalance: int) -> None:
        """Restore, take over and read; another rebalance may come meanwhile."""
        try:
            await asyncio.sleep(self._draw.uniform(0.001, 0.05))
            for partition in partitions:
                if self._rebalance == rebalance:
                    self._log.restore(partition)
            if self._rebalance == rebalance:
                await self.runner.acquire(partitions)
        except Exception as error:  # noqa: BLE001 - as the app does: nobody would serve the partition
            if self._rebalance == rebalance:
                watchdog.exit_now(1, f"{self.stage.name}: partitions could not be taken over", error)
        if self._rebalance == rebalance:
            self._fetch = dict(self.runner.positions())
            self.wake()

    def wake(self) -> None:
        """Have all agents look for records."""
        for event in self._more.values():
            event.set()

    def wake_topic(self, topic: str) -> None:
        """Have the agent of one topic look."""
        if topic in self._more:
            self._more[topic].set()

    async def _poll_forever(self) -> None:
        """Hear of what was not delivered; acknowledgements come by themselves."""
        while True:
            self._outbox.poll()
            await asyncio.sleep(_POLL_SECONDS)

    async def _agent(self, topic: str) -> None:
        more = self._more[topic]
        while True:
            await more.wait()
            more.clear()
            await asyncio.sleep(self._draw.uniform(0.001, 0.02))
            for place in [place for place in self._fetch if place[0] == topic and place not in self._held]:
                await self._read(place, more)

    async def _read(self, place: Place, more: asyncio.Event) -> None:
        position = self._fetch.get(place)
        if position is None:
            return
        records = self._broker.read(place, position, self._draw.randint(1, _MOST_AT_ONCE))
        if records:
            self._fetch[place] = records[-1].offset + 1
            more.set()
        for record in records:
            if not await self._deliver(record):
                break

    async def _deliver(self, record: Message) -> bool:
        try:
            return await self.runner.deliver(record)
        except Exception as error:  # noqa: BLE001 - any error of a stage ends the process, as in the app
            watchdog.exit_now(1, f"{record.topic}[{record.partition}]@{record.offset}", error)

    def skip(self, records: int) -> None:
        """Drop what was fetched of one place, as Faust's queues do."""
        for place, position in self._fetch.items():
            if position + records < self._broker.end(place):
                self._fetch[place] = position + records
                return

    # What the runner asks of the consumer.

    async def bounds(self, places: Iterable[Place]) -> Mapping[Place, tuple[int, int]]:
        """Return the offsets of places, after a while."""
        await asyncio.sleep(self._draw.uniform(0.001, 0.01))
        return {place: (0, self._broker.end(place)) for place in places}

    async def seek(self, positions: Mapping[Place, int]) -> None:
        """Fetch from these offsets."""
        await asyncio.sleep(self._draw.uniform(0.0005, 0.005))
        self._fetch.update({place: offset for place, offset in positions.items() if place in self._fetch})
        self.wake()

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Commit, as far as the group lets us."""
        self.process.step()
        self._group.commit(self._member, offsets)

    def hold(self, place: Place) -> None:
        """Stop fetching."""
        self._held.add(place)

    def release(self, place: Place) -> None:
        """Fetch again."""
        self._held.discard(place)
        self.wake_topic(place[0])

    def forget(self, partition: int) -> None:
        """Have the checkpoints read anew."""
        self._log.forget(partition)
