"""Runs a stage: leases on partitions, order, acknowledgement, checkpoints. No Faust in here.

The order that makes a kill at any moment harmless: outputs acknowledged by Kafka, then the
checkpoint acknowledged, then its resume offsets committed to the group (which serves lag monitoring
alone: reading resumes from the checkpoint). A lease is one assignment of one partition; whatever
was started under a lease that is gone can emit nothing more.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Protocol

from schemas.errors import StateError
from schemas.metrics import CHECKPOINT_BYTES, CHECKPOINT_DURATION
from streams.checkpoints import CheckpointStore
from streams.kafka import Outbox
from streams.lag import Lag
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.stage import FencedError, Message, Output, Stage
from streams.watchdog import Pulse, exit_now

LOGGER = logging.getLogger("foreshock.runner")
HANDOVER_SECONDS = 1.5
"""Bound on the last checkpoint of a partition that is taken from us."""
_OUTPUT_LIMIT = 20_000
_REREADS_BEFORE_A_HOLE = 3

Place = tuple[str, int]
"""A topic and a partition."""


class Source(Protocol):
    """What the runner asks of the consumer."""

    async def bounds(self, places: Iterable[Place]) -> Mapping[Place, tuple[int, int]]:
        """Return per place the earliest offset and the next one."""

    async def seek(self, positions: Mapping[Place, int]) -> None:
        """Read on from these offsets."""

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Commit these offsets to the group."""

    def hold(self, place: Place) -> None:
        """Stop fetching."""

    def release(self, place: Place) -> None:
        """Fetch again."""

    def forget(self, partition: int) -> None:
        """Drop what was restored of the partition's checkpoints, so that it is restored anew."""


class _Lease:
    """One assignment of one partition to this process."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.alive = True
        self.ready = False
        self.lock = asyncio.Lock()
        self.saving = asyncio.Lock()
        self.emitted = 0

    def check(self) -> None:
        if not self.alive:
            raise FencedError(f"partition {self.partition} was revoked")


_under: ContextVar[_Lease | None] = ContextVar("lease", default=None)


class StageRunner:
    """Drives one stage; the `Outlet` of that stage."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        metrics: Metrics,
        outbox: Outbox,
        source: Source,
        store: CheckpointStore,
        pulse: Pulse,
    ) -> None:
        self.stage = stage
        self.settings = settings
        self.metrics = metrics
        self._outbox = outbox
        self._source = source
        self._store = store
        self._pulse = pulse
        self._leases: dict[int, _Lease] = {}
        self._positions: dict[Place, int] = {}
        self._rereads: dict[tuple[Place, int, int], int] = {}
        self._held: set[Place] = set()
        self._revocations = 0
        self._lag = Lag(metrics)

    # What a stage may do.

    def emit(self, partition: int, output: Output) -> None:
        """See `streams.stage.Outlet.emit`."""
        lease = self._lease(partition)
        self._pulse.check()
        lease.emitted = self._outbox.emit(output)

    async def acknowledged(self, partition: int) -> None:
        """See `streams.stage.Outlet.acknowledged`."""
        lease = self._lease(partition)
        await self._outbox.acknowledged(lease.emitted)
        lease.check()

    def hold(self, topic: str, partition: int) -> None:
        """See `streams.stage.Outlet.hold`."""
        self._lease(partition)
        self._held.add((topic, partition))
        self._source.hold((topic, partition))

    def release(self, topic: str, partition: int) -> None:
        """See `streams.stage.Outlet.release`."""
        self._held.discard((topic, partition))
        self._source.release((topic, partition))

    def _lease(self, partition: int) -> _Lease:
        """Return the lease in force; a task keeps the lease under which it was started."""
        lease = _under.get()
        if lease is None or lease.partition != partition:
            lease = self._leases.get(partition)
        if lease is None:
            raise FencedError(f"partition {partition} is not assigned to this process")
        lease.check()
        return lease

    # Assignment.

    async def acquire(self, partitions: Iterable[int]) -> None:
        """Restore newly assigned partitions and decide where each of their topics is read from."""
        revocations = self._revocations
        for partition in sorted(set(partitions) - self._leases.keys()):
            if self._revocations != revocations:
                return  # While the one before was restored, a rebalance took all of them.
            lease = self._leases[partition] = _Lease(partition)
            async with lease.lock:
                await self._restore(lease)

    async def _restore(self, lease: _Lease) -> None:
        partition = lease.partition
        under = _under.set(lease)
        try:
            blob = self._store.load(partition)
            resume = await self.stage.assigned(partition, blob)
            positions = await self._start(partition, resume)
        finally:
            _under.reset(under)
        if lease.alive:
            lease.ready = True
            self._positions.update(positions)
        else:
            self.stage.revoked(partition)
        LOGGER.info(
            "partition %d: restored from %s, reading from %s",
            partition,
            "nothing" if blob is None else f"a checkpoint of {len(blob)} bytes",
            {topic: offset for (topic, _), offset in positions.items()},
        )

    async def _start(self, partition: int, resume: Mapping[str, int]) -> dict[Place, int]:
        """Return where to read from, and refuse what the log cannot give any more."""
        positions = {}
        for place, (low, high) in (
            await self._source.bounds((topic, partition) for topic in self.stage.topics)
        ).items():
            offset = resume.get(place[0], low)
            if offset < 0:
                offset = high
            if not low <= offset <= high:
                raise StateError(
                    f"{place[0]}[{partition}]: the checkpoint resumes at {offset}, the topic holds {low} to {high}; "
                    "the topic was deleted or kept too short: delete the checkpoint topic to start anew"
                )
            positions[place] = offset
        return positions

    async def revoke_all(self, *, commit: bool = False) -> None:
        """Give all partitions up: save what can be saved in bounded time, then fence."""
        self._revocations += 1
        leases = list(self._leases.values())
        try:
            async with asyncio.timeout(HANDOVER_SECONDS):
                for lease in leases:
                    await self._checkpoint(lease, commit=commit)
        except TimeoutError:
            LOGGER.warning("no last checkpoint: not in time")
        except Exception as error:  # noqa: BLE001 - the one before it will do; a lease that lives on would not
            LOGGER.warning("no last checkpoint: %r", error)
        finally:
            for lease in leases:
                self._revoke(lease)

    def _revoke(self, lease: _Lease) -> None:
        partition = lease.partition
        lease.alive = False
        self._leases.pop(partition, None)
        for place in [place for place in self._positions if place[1] == partition]:
            self._positions.pop(place)
            self.release(*place)
            self._lag.forget(place)
        self._rereads = {seen: count for seen, count in self._rereads.items() if seen[0][1] != partition}
        if lease.ready:
            self.stage.revoked(partition)
        self._source.forget(partition)

    # Records.

    async def deliver(self, message: Message) -> bool:
        """Hand a record to the stage: each offset of a place once, in order.

        Returns False where the reader goes back instead: what it has read behind the record is read again.
        """
        lease = self._leases.get(message.partition)
        place = (message.topic, message.partition)
        expected = self._positions.get(place)
        if lease is None or expected is None or message.offset < expected:
            return True
        if message.offset > expected and not await self._is_hole(place, expected, message.offset):
            return False
        async with lease.lock:
            if lease.alive:
                await self._process(lease, place, message)
        return True

    async def _process(self, lease: _Lease, place: Place, message: Message) -> None:
        under = _under.set(lease)
        try:
            await self.stage.process(message)
        except FencedError:
            if lease.alive:
                raise
        finally:
            _under.reset(under)
        if lease.alive:
            self._positions[place] = message.offset + 1
        if self._outbox.pending > _OUTPUT_LIMIT:
            await self._outbox.acknowledged(self._outbox.sequence - _OUTPUT_LIMIT // 2)

    async def _is_hole(self, place: Place, expected: int, offset: int) -> bool:
        """Say whether the log has no record from `expected` to `offset`.

        Faust may drop records on the way (its queues are cleared and partitions paused while records
        are under way), so a jump is first read again; only a jump that comes back is one of the log.
        """
        jump = (place, expected, offset)
        self._rereads[jump] = self._rereads.get(jump, 0) + 1
        if self._rereads[jump] > _REREADS_BEFORE_A_HOLE:
            LOGGER.warning("%s[%d]: the log has no offsets %d to %d", *place, expected, offset - 1)
            return True
        await self._source.seek({place: expected})
        return False

    def positions(self) -> dict[Place, int]:
        """Return the next offset of each place that is read; a copy, since the watchdog's thread asks too."""
        return dict(self._positions)

    def watched(self) -> dict[Place, int]:
        """Return the positions that must move while the log grows: those that are not held."""
        return {place: offset for place, offset in self.positions().items() if place not in self._held}

    def report_lag(self, ends: Mapping[Place, int]) -> None:
        """Set the metrics of lag from the topics' next offsets."""
        positions = self.positions()
        for place, end in ends.items():
            if place in positions:
                self._lag.tell(place, positions[place], end)
                if place not in self._positions:  # given away while it was told: its metrics would stand for ever
                    self._lag.forget(place)

    # Checkpoints.

    async def checkpoint_forever(self) -> None:
        """Checkpoint every partition once in each interval, spread over it."""
        interval = self.settings.checkpoint_seconds
        while True:
            started = time.monotonic()
            leases = [lease for lease in self._leases.values() if lease.ready]
            for lease in leases:
                await self._checkpoint_or_end(lease)
                await asyncio.sleep(min(0.5, interval / (2 * len(leases))))
            await asyncio.sleep(max(0.02, interval - (time.monotonic() - started)))

    async def _checkpoint_or_end(self, lease: _Lease) -> None:
        try:
            await self._checkpoint(lease, commit=True)
        except FencedError:
            LOGGER.info("partition %d was revoked during its checkpoint", lease.partition)

    async def _checkpoint(self, lease: _Lease, *, commit: bool) -> None:
        """Take one checkpoint from end to end: two of one partition at once would delete each other's chunks."""
        async with lease.saving:
            await self._take_checkpoint(lease, commit=commit)

    async def _take_checkpoint(self, lease: _Lease, *, commit: bool) -> None:
        started = time.monotonic()
        async with lease.lock:
            if not (lease.alive and lease.ready):
                return
            under = _under.set(lease)
            try:
                taken = self.stage.checkpoint(lease.partition)
            finally:
                _under.reset(under)
        if taken is None:
            return
        await self._outbox.acknowledged(lease.emitted)
        lease.check()
        if taken.blob is not None:
            async with asyncio.timeout(self.settings.delivery_timeout_seconds):
                await self._store.save(lease.partition, taken.blob, self._may_write(lease), taken.resume)
        lease.check()
        if commit:
            await self._source.commit({(topic, lease.partition): offset for topic, offset in taken.resume.items()})
        labels = (self.stage.name, str(lease.partition))
        self.metrics[CHECKPOINT_BYTES].labels(*labels).set(len(taken.blob or b""))
        self.metrics[CHECKPOINT_DURATION].labels(self.stage.name).observe(time.monotonic() - started)

    def _may_write(self, lease: _Lease) -> "_Guard":
        return _Guard(lease, self._pulse)

    async def poll_forever(self) -> None:
        """Take in acknowledgements of outputs."""
        while True:
            self._outbox.poll()
            await asyncio.sleep(0.005)


class _Guard:
    """Raises where a checkpoint's next step must not be taken."""

    def __init__(self, lease: _Lease, pulse: Pulse) -> None:
        self._lease = lease
        self._pulse = pulse

    def __call__(self) -> None:
        self._pulse.check()
        self._lease.check()


def end_on_error(task: asyncio.Task[None]) -> None:
    """End the process when one of its tasks fails: a restart is safe, going on without it is not."""
    if not task.cancelled() and (error := task.exception()) is not None:
        exit_now(1, f"{task.get_name()} failed", error)
