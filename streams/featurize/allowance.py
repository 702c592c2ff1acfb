"""How far each partition may close tiles: as far as no feature set can begin that was not read of."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from featurestore.engine import PartitionEngine
from schemas.errors import StateError
from schemas.metrics import CLOSING_HELD
from schemas.topics import OPS_MODEL
from streams.announcements import AnnouncementLog, span_ns
from streams.follower import Follower
from streams.stage import FencedError, Outlet

LOGGER = logging.getLogger("foreshock.featurize")
LOOK_SECONDS = 0.5
DECISION_SECONDS = 30.0
"""Who proposes a set decides in a second or two; one that is undecided for longer has lost its author."""
_REMIND_SECONDS = 60.0


class Allowance:
    """Follows the announced feature sets for the engines of one process.

    `closable` is called with a partition whose tiles may close further; `clock` tells the wall's time, in seconds.
    """

    def __init__(
        self,
        outlet: Outlet,
        engines: Mapping[int, PartitionEngine],
        closable: Callable[[int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.log = AnnouncementLog()
        self._outlet = outlet
        self._engines = engines
        self._closable = closable
        self._clock = clock
        self._remind_at = 0.0
        self._span_ns = span_ns(outlet.settings.rules)
        self._until: dict[int, int] = {}
        self._wanted = asyncio.Event()
        self._follower = Follower(outlet.settings, OPS_MODEL)

    async def read(self) -> bool:
        """Take in what was announced since the last look; return whether that could be read.

        Raises StateError where an engine has passed the border of a set.
        """
        try:
            messages = await asyncio.to_thread(self._follower.read)
        except (KafkaException, StateError) as error:
            LOGGER.warning("announcements cannot be read, rows may have to wait: %s", error)
            return False
        for announced in filter(None, map(self.log.add, messages)):
            for engine in self._engines.values():
                engine.announce(announced)
        return True

    def begin(self, partition: int, engine: PartitionEngine) -> None:
        """Hold a new engine where it is until the next look."""
        self._allow(partition, engine, engine.closed_ns or 0)
        self._wanted.set()

    def closed(self, partition: int, engine: PartitionEngine) -> None:
        """Look again before an engine has used up what it was allowed."""
        if engine.closed_ns is not None and engine.closed_ns + self._span_ns // 2 > self._until.get(partition, 0):
            self._wanted.set()

    async def follow(self) -> None:
        """Look twice a second, and when an engine needs it, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LOOK_SECONDS)
            self._wanted.clear()
            await self.look()

    async def look(self) -> None:
        """Read all announcements; allow each engine what was complete before, and a span beyond what it had closed."""
        before = await self._written()
        read = await self.read()
        self._tell_held()
        if not read:
            return
        wait_at = self.log.closed_until_ns
        for partition, (engine, until) in before.items():
            if self._engines.get(partition) is engine:
                self._allow(partition, engine, until if wait_at is None else min(until, wait_at))
                with contextlib.suppress(FencedError):
                    self._closable(partition)

    def _tell_held(self) -> None:
        """Say for how long a set has been undecided, and how to decide it."""
        oldest = min(self.log.open, key=lambda proposal: proposal.written_at, default=None)
        now = self._clock()
        held_seconds = 0.0 if oldest is None else max(0.0, now - oldest.written_at)
        self._outlet.metrics[CLOSING_HELD].set(held_seconds)
        if oldest is not None and held_seconds > DECISION_SECONDS and now >= self._remind_at:
            self._remind_at = now + _REMIND_SECONDS
            LOGGER.warning(
                "feature set %s, proposed %.0f s ago, is neither confirmed nor withdrawn, and no row passes its border "
                "%d until it is: decide it with `foreshock features announce`",
                oldest.announcement.feature_set_id,
                held_seconds,
                oldest.announcement.border_ns,
            )

    async def _written(self) -> dict[int, tuple[PartitionEngine, int]]:
        """Return the engines that have begun and how far they may go, once all that they made is acknowledged."""
        reach = {partition: (engine, self._reach(engine)) for partition, engine in self._engines.items()}
        written = {}
        for partition, (engine, until_ns) in reach.items():
            with contextlib.suppress(FencedError):
                await self._outlet.acknowledged(partition)
                if until_ns is not None:
                    written[partition] = (engine, until_ns)
        return written

    def _reach(self, engine: PartitionEngine) -> int | None:
        """Return how far an engine may close tiles as of now: whoever announces looks at rows, parts and progress."""
        if engine.closed_ns is None:
            return None
        return max(engine.closed_ns + self._span_ns, engine.complete_ns or 0)

    def _allow(self, partition: int, engine: PartitionEngine, until_ns: int) -> None:
        self._until[partition] = until_ns
        engine.allow(until_ns)

    def close(self) -> None:
        """Close the reader."""
        self._follower.close()
