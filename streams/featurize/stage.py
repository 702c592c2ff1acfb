"""The featurize stage: one engine per partition, fed in log order."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

import numpy as np

from featurestore.catalogue import Catalogue
from featurestore.engine import Output, PartitionEngine
from schemas import DecodeError, StateError
from schemas.metrics import (
    DEAD_LETTERS,
    FEATURE_FRESHNESS,
    FEATURE_NULL,
    PENDING_EVENTS,
    REPEATED_EVENTS,
    ROWS,
    WATERMARK,
    WINDOW_CLOSE_DELAY,
)
from schemas.rows import Rows, decode_rows
from schemas.rules import SECOND_NS
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, MARKET_STATE
from streams.announcements import unannounced
from streams.dead_letters import dead_letter
from streams.featurize.allowance import Allowance
from streams.runner import end_on_error
from streams.stage import Checkpoint, FencedError, Message, Outlet
from streams.watchdog import exit_now

LOGGER = logging.getLogger("foreshock.featurize")
GATHER_SECONDS = 0.02
"""Catching up, so much is read behind a closing that wrote rows: a block of many costs little more than one row."""
GATHER_COSTS = 4.0
"""So many times as long as the last closing took is read at least before the next."""
_LONGEST_GATHER_SECONDS = 0.5
_TRY_SECONDS = 0.002
"""The same behind a closing without rows: they may wait for a part of the market that is on its way."""
_MEASURE_SECONDS = 0.25
"""Between two looks at what the rows say: one gauge for each feature."""
MAX_BACKLOG = 600
"""Closed borders without a row, above which no more events are read: rows wait for another partition."""
MAX_PENDING = 200_000
"""Events in open tiles, above which topics wait for the one whose raw partitions are furthest behind."""


class FeaturizeStage:
    """Events to tiles to rows."""

    name = "featurize"
    topics = (*EVENT_TOPICS, MARKET_STATE)

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = time.time) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._engines: dict[int, PartitionEngine] = {}
        self._held: dict[int, frozenset[str]] = {}
        self._closing: dict[int, asyncio.TimerHandle] = {}
        self._gather_until: dict[int, float] = {}
        """Until when what is read is gathered for the next closing."""
        self._measured_at: dict[int, float] = {}
        self._unmeasured: dict[int, int] = {}
        self._arrived: dict[int, float] = {}
        """When the message came that completed the first row that is not written yet."""
        self._outlet: Outlet

    async def started(self, outlet: Outlet) -> None:
        """Read which feature sets are announced, and follow what will be; refuse to start without any."""
        self._outlet = outlet
        self._allowance = Allowance(outlet, self._engines, self._close_soon)
        if not await self._allowance.read():
            raise StateError("the announcements of feature sets cannot be read: is the broker up?")
        waiting = unannounced(self._catalogue, self._allowance.log)
        if waiting:
            LOGGER.warning("%s: not announced, not made; run `foreshock features announce`", ", ".join(waiting))
        self._following = asyncio.create_task(self._allowance.follow())
        self._following.add_done_callback(end_on_error)
        outlet.metrics.tell_build(outlet.settings.rules.rules_id, self._catalogue.feature_set_id)

    async def assigned(self, partition: int, checkpoint: bytes | None) -> Mapping[str, int]:
        """Build the engine of a partition from its checkpoint."""
        rules = self._outlet.settings.rules
        context = (partition, rules, self._catalogue, tuple(self._allowance.log.announced))
        engine = PartitionEngine(*context) if checkpoint is None else PartitionEngine.restore(checkpoint, *context)
        self._engines[partition] = engine
        self._held.pop(partition, None)
        self._allowance.begin(partition, engine)
        self._tell_border(partition, engine)
        return engine.resume

    def revoked(self, partition: int) -> None:
        """Forget the engine of a partition."""
        self._engines.pop(partition, None)
        for known in (self._gather_until, self._measured_at, self._unmeasured, self._arrived):
            known.pop(partition, None)
        timer = self._closing.pop(partition, None)
        if timer is not None:
            timer.cancel()
        self._outlet.metrics.forget(WATERMARK, self.name, str(partition))
        for metric in (PENDING_EVENTS, FEATURE_FRESHNESS):
            self._outlet.metrics.forget(metric, str(partition))

    async def process(self, message: Message) -> None:
        """Take in one message and write the rows that it completes."""
        engine = self._engines[message.partition]
        arrived, repeated = self._clock(), engine.repeated_events
        try:
            engine.apply(message.topic, message.offset, message.headers, message.value)
        except DecodeError as error:
            self._outlet.emit(message.partition, dead_letter("featurize", message, error))
            await self._outlet.acknowledged(message.partition)
            self._outlet.metrics[DEAD_LETTERS].labels(self.name, "decode").inc()
            return
        if engine.backlog:
            self._arrived.setdefault(message.partition, arrived)
        if engine.repeated_events > repeated:
            self._outlet.metrics[REPEATED_EVENTS].labels(message.topic).inc(engine.repeated_events - repeated)
        self._close_soon(message.partition)

    def _close_soon(self, partition: int) -> None:
        """Write a row at once, many rows together; only when, not what, depends on it.

        A message that completes no row only gives cause to look after the memory, a moment later.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = now + GATHER_SECONDS
        engine = self._engines[partition]
        if engine.backlog or engine.pending_events > MAX_PENDING:
            due = self._gather_until.get(partition, 0.0)
        waiting = self._closing.get(partition)
        if now >= due:
            self._close(partition)
        elif waiting is None or due < waiting.when():
            if waiting is not None:
                waiting.cancel()
            self._closing[partition] = loop.call_at(due, self._close_later, partition)

    def _close_later(self, partition: int) -> None:
        """Close when the time has come: nobody but us hears of what goes wrong in a timer."""
        try:
            self._close(partition)
        except FencedError:
            return
        except Exception as error:  # noqa: BLE001 - as in any other callback of a stage
            exit_now(1, f"{self.name}: partition {partition} could not be closed", error)

    def _close(self, partition: int) -> None:
        timer = self._closing.pop(partition, None)
        if timer is not None:
            timer.cancel()
        engine = self._engines.get(partition)
        if engine is None:
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            wrote_rows = self._write(partition, engine.advance())
        except BaseException:
            # The engine counts outputs as written that are not: no checkpoint may be taken of it any more.
            self._engines.pop(partition, None)
            raise
        self._tell_border(partition, engine)
        self._allowance.closed(partition, engine)
        now = loop.time()
        least = GATHER_SECONDS if wrote_rows else _TRY_SECONDS
        self._gather_until[partition] = now + max(least, min(GATHER_COSTS * (now - started), _LONGEST_GATHER_SECONDS))
        self._outlet.metrics[PENDING_EVENTS].labels(str(partition)).set(engine.pending_events)
        self._hold_or_release(partition, engine)

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the engine's state as of now."""
        engine = self._engines.get(partition)
        if engine is None:
            return None
        state = engine.checkpoint()
        return Checkpoint(state.resume, state.blob)

    async def stopped(self) -> None:
        """Stop following announcements."""
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following
        self._allowance.close()

    def _write(self, partition: int, outputs: list[Output]) -> bool:
        """Send outputs; return whether there were rows among them."""
        for output in outputs:
            self._outlet.emit(partition, output)
        rows = [output for output in outputs if output.topic == FEATURE_ROW]
        if rows:
            arrived = self._arrived.pop(partition, self._clock())
            self._outlet.metrics[WINDOW_CLOSE_DELAY].observe(max(0.0, self._clock() - arrived))
            self._measure_now_and_then(partition, rows)
        return bool(rows)

    def _measure_now_and_then(self, partition: int, rows: list[Output]) -> None:
        now = asyncio.get_running_loop().time()
        self._unmeasured[partition] = self._unmeasured.get(partition, 0) + len(rows)
        if now >= self._measured_at.get(partition, 0.0) + _MEASURE_SECONDS:
            self._measured_at[partition] = now
            self._measure(partition, decode_rows(rows[-1].value), self._unmeasured.pop(partition))

    def _tell_border(self, partition: int, engine: PartitionEngine) -> None:
        """Say up to where rows are written: also after a restart with nothing left to read."""
        if engine.row_border_ns is not None:
            border_seconds = engine.row_border_ns / SECOND_NS
            self._outlet.metrics[WATERMARK].labels(self.name, str(partition)).set(border_seconds)
            self._outlet.metrics.tell_age(FEATURE_FRESHNESS, border_seconds, self._clock, str(partition))

    def _measure(self, partition: int, last: Rows, messages: int) -> None:
        """Tell how far the rows are; the last message stands for those written with it."""
        metrics, label = self._outlet.metrics, str(partition)
        metrics[ROWS].labels(label).inc(messages * len(last.instruments))
        for name, share in zip(last.features, np.isnan(last.values).mean(axis=0), strict=True):
            metrics[FEATURE_NULL].labels(name).set(share)

    def _hold_or_release(self, partition: int, engine: PartitionEngine) -> None:
        """Stop reading events, never market parts, that would only fill the memory."""
        held, wanted = self._held.get(partition, frozenset()), _to_hold(engine)
        for topic in sorted(held - wanted):
            self._outlet.release(topic, partition)
        for topic in sorted(wanted - held):
            self._outlet.hold(topic, partition)
        self._held[partition] = wanted


def _to_hold(engine: PartitionEngine) -> frozenset[str]:
    """Return the event topics not to be read now.

    All of them while too many rows wait for other partitions; while too many events wait for the
    topic that is furthest behind, those that are ahead of it.
    """
    if engine.backlog > MAX_BACKLOG:
        return frozenset(EVENT_TOPICS)
    if engine.pending_events <= MAX_PENDING:
        return frozenset()
    heard = {topic: -1 if border is None else border for topic, border in engine.watermarks_ns().items()}
    return frozenset(topic for topic, border in heard.items() if border > min(heard.values()))
