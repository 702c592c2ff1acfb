"""The infer stage: one forecaster and one task per partition; the task asks Triton and writes."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.calibration import Calibration
from schemas.errors import DecodeError, InferenceError
from schemas.forecasts import Forecast, decode_json
from schemas.metrics import DEAD_LETTERS
from schemas.topics import CALIBRATION, FEATURE_ROW, FORECAST, FORECAST_LATEST
from streams.announcements import announcements
from streams.dead_letters import dead_letter
from streams.infer.explanations import Explanations
from streams.infer.forecaster import BATCH_ROWS, Answers, Batch, Forecaster
from streams.infer.meters import Meters
from streams.infer.models import Models, Network, misfit
from streams.infer.versions import Choice, Versions, served
from streams.kafka import read_topic
from streams.runner import end_on_error
from streams.stage import Checkpoint, FencedError, Message, Outlet, Record
from streams.triton_client import Answer, TritonClient
from triton_models.export import REPOSITORY

LOGGER = logging.getLogger("foreshock.infer")
HIGH_ROWS = 8 * BATCH_ROWS
LOW_ROWS = 2 * BATCH_ROWS
"""Reading of rows stops above HIGH waiting forecasts and goes on below LOW."""
MOST_RECALLED = 100_000
"""Without a checkpoint, so many of our last forecasts are read again; what is before them ranks no width."""
MOST_DEADLINES = 16
"""A request that catches up many intervals may take so many deadlines at most."""


class _Partition:
    """What the stage holds of one partition."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster
        self.more = asyncio.Event()
        self.held = False
        self.publishing = False
        """Forecasts are on their way to the log, and not yet to the topic of the latest."""
        self.calibration_offset = 0
        self.task: asyncio.Task[None]


class InferStage:
    """Rows to forecasts, with fallback: a scheduled forecast is never just missing."""

    name = "infer"
    topics = (FEATURE_ROW, CALIBRATION)

    def __init__(self, repository: Path = REPOSITORY, clock: Callable[[], float] = time.time) -> None:
        self._repository = repository
        self._clock = clock
        self._partitions: dict[int, _Partition] = {}
        self._outlet: Outlet
        self._models: Models
        """What the process began with; `_versions` says what makes the forecasts of an origin."""
        self._versions: Versions
        self._explanations: Explanations
        self._meters: Meters
        self._sets: dict[str, Mapping[str, str] | None] = {}
        """By the id of a feature set that rows have: its features' versions, None where it is not announced."""

    async def started(self, outlet: Outlet) -> None:
        """Read the bundles and connect to Triton; without either, forecasts are fallbacks.

        Raises StateError where a bundle is damaged.
        """
        self._outlet = outlet
        settings = outlet.settings
        self._versions = Versions(settings, self._repository, outlet.metrics)
        self._models = await self._versions.start()
        self._explanations = Explanations(
            settings.explain_every,
            settings.inference_deadline_seconds,
            self._repository,
            outlet.emit,
            outlet.metrics,
        )
        self._meters = Meters(outlet.metrics, settings, self._models.horizons, self._clock)
        outlet.metrics.tell_build(settings.rules.rules_id, self._models.feature_set_id)

    async def assigned(self, partition: int, checkpoint: bytes | None) -> Mapping[str, int]:
        """Restore from the checkpoint and from our own output since, and rewind rows by the window."""
        forecaster = Forecaster(self._models)
        if checkpoint is not None:
            forecaster.restore(checkpoint)
        state = self._partitions[partition] = _Partition(forecaster)
        for record in await asyncio.to_thread(self._recall, partition, state):
            self._outlet.emit(partition, record)
        self._meters.begin(partition, forecaster)
        state.task = asyncio.create_task(self._work(partition, state), name=f"infer-{partition}")
        state.task.add_done_callback(_end_on_error)
        resume = {CALIBRATION: state.calibration_offset}
        return resume if forecaster.rewind < 0 else {**resume, FEATURE_ROW: forecaster.rewind}

    def _recall(self, partition: int, state: _Partition) -> list[Record]:
        """Read the calibration states, and the tail of our own output: what is there is not made again.

        Returns the last forecasts for the topic of the latest ones: a crash may have come between
        the two, and no other forecast of an instrument need ever follow.
        """
        settings, forecaster = self._outlet.settings, state.forecaster
        for message in read_topic(settings, CALIBRATION, partitions=[partition]):
            state.calibration_offset = message.offset + 1
            with _unreadable_left_out(message):
                if message.value is not None:
                    forecaster.take_calibration(decode_json(message.value, Calibration))
        latest: dict[str, Record] = {}
        tail = {partition: forecaster.output_offset}
        for message in read_topic(settings, FORECAST, partitions=[partition], start=tail, last=MOST_RECALLED):
            forecaster.output_offset = message.offset + 1
            with _unreadable_left_out(message):
                if message.value is not None:
                    forecast = decode_json(message.value, Forecast)
                    if forecaster.recall(forecast):
                        latest[forecast.instrument_id] = Record(
                            FORECAST_LATEST, message.key, message.value, message.headers, partition
                        )
        return list(latest.values())

    def revoked(self, partition: int) -> None:
        """Drop a partition and stop its task."""
        state = self._partitions.pop(partition, None)
        if state is not None:
            state.task.cancel()
            self._meters.forget(partition)

    async def process(self, message: Message) -> None:
        """Take in a row or a calibration state; its forecasts are made by the partition's task."""
        state = self._partitions[message.partition]
        await self._compare(message)
        try:
            self._take(state, message)
        except DecodeError as error:
            if message.topic == FEATURE_ROW:
                state.forecaster.skip(message.offset)
            self._outlet.emit(message.partition, dead_letter(self.name, message, error))
            await self._outlet.acknowledged(message.partition)
            self._outlet.metrics[DEAD_LETTERS].labels(self.name, "decode").inc()
        if not state.held and state.forecaster.pending > HIGH_ROWS:
            state.held = True
            self._outlet.hold(FEATURE_ROW, message.partition)

    async def _compare(self, message: Message) -> None:
        """Find out which features a row holds, the first time that rows of its feature set come."""
        name = message.headers.get("row_id", b"").rpartition(b"/")[2].decode("ascii", "replace")
        if not name or name in self._sets:
            return
        known = await asyncio.to_thread(announcements, self._outlet.settings)
        found = [each.features for each in known if each.feature_set_id == name]
        self._sets[name] = found[-1] if found else None
        if reason := self._misfit(self._models, name):
            LOGGER.warning("forecasts are fallbacks: %s", reason)

    def _misfit(self, models: Models, feature_set_id: str) -> str:
        """Return why networks cannot read rows of a feature set; "" where they can, or nothing is known of it."""
        features = self._sets.get(feature_set_id)
        return "" if features is None else misfit(models, features)

    def _take(self, state: _Partition, message: Message) -> None:
        if message.topic == FEATURE_ROW:
            self._meters.arrived(message.partition, message.offset)
            state.forecaster.take_row(message.offset, message.value or b"")
            state.more.set()
            return
        state.calibration_offset = message.offset + 1
        if message.value is not None:
            state.forecaster.take_calibration(decode_json(message.value, Calibration))

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the widths and the place in our own output; rows are rewound from there."""
        state = self._partitions.get(partition)
        if state is None or state.publishing:
            # A restart tells the latest of the forecasts behind the checkpoint: none may be before it untold.
            return None
        resume = {FEATURE_ROW: state.forecaster.done, CALIBRATION: state.calibration_offset}
        return Checkpoint(resume, state.forecaster.state())

    async def stopped(self) -> None:
        """Close the connection to Triton."""
        await self._explanations.stop()
        await self._versions.stop()

    # The task of a partition.

    async def _work(self, partition: int, state: _Partition) -> None:
        while True:
            await state.more.wait()
            chosen = self._next(state.forecaster)
            if chosen is None:
                state.more.clear()
                continue
            choice, batch = chosen
            answers, reason = await self._ask(choice, batch)
            attention = state.forecaster.explain(batch, answers)
            await self._explain(partition, attention)
            await self._publish(partition, state, state.forecaster.settle(batch, answers, reason))
            self._explanations.begin(partition, choice, batch, attention)
            self._meters.published(partition, state.forecaster, batch)
            if state.held and state.forecaster.pending < LOW_ROWS:
                state.held = False
                self._outlet.release(FEATURE_ROW, partition)

    async def _publish(self, partition: int, state: _Partition, records: list[Record]) -> None:
        """Write forecasts, and those of the latest once they are on the log: theirs is another partition.

        A crash may leave any of both: the latest one would go back where the log never had what it says.
        """
        state.publishing = True
        for record in records:
            if record.topic != FORECAST_LATEST:
                self._outlet.emit(partition, record)
        await self._outlet.acknowledged(partition)
        for record in records:
            if record.topic == FORECAST_LATEST:
                self._outlet.emit(partition, record)
        state.publishing = False

    def _next(self, forecaster: Forecaster) -> tuple[Choice, Batch] | None:
        """Return the next request and who is asked; None where no forecast is waiting."""
        origin_ns = forecaster.next_origin_ns
        if origin_ns is None:
            return None
        choice = self._versions.at(origin_ns)
        forecaster.models = choice.models
        batch = forecaster.next_batch(choice.until_ns)
        return None if batch is None else (choice, batch)

    async def _explain(self, partition: int, attention: list[Record]) -> None:
        """Write attention before its forecasts: a restart takes what has its forecast for done."""
        for record in attention:
            self._outlet.emit(partition, record)
        if attention:
            await self._outlet.acknowledged(partition)

    async def _ask(self, choice: Choice, batch: Batch) -> tuple[Answers, str]:
        """Ask the active networks at once, and those in shadow beside them, with one deadline.

        Without all answers of the active ones there are none; what is in shadow answers or does not.
        """
        if choice.client is None:
            return {}, "no model bundle for these rows"
        if not batch.asked:
            return {}, ""
        for job in batch.jobs:
            if reason := self._misfit(choice.models, job.origin.feature_set_id):
                return {}, reason
        deadline = self._outlet.settings.inference_deadline_seconds * min(batch.intervals, MOST_DEADLINES)
        active = choice.models.active
        shadows = [network for network in choice.models.networks if network.is_shadow]
        beside = asyncio.create_task(_shadow_answers(choice.shadow, shadows, batch, deadline))
        asked = (_answer(choice.client, network, batch, deadline) for network in active)
        found = await asyncio.gather(*asked, return_exceptions=True)
        answers = {}
        for network, answer in zip(active, found, strict=True):
            if isinstance(answer, BaseException):
                beside.cancel()
                if isinstance(answer, InferenceError):
                    return {}, str(answer)
                raise answer
            answers[network.expert] = answer
        return answers | await beside, ""


async def _answer(client: TritonClient, network: Network, batch: Batch, deadline_seconds: float) -> Answer:
    return await client.infer(served(network), batch.arrays, deadline_seconds, batch.asked)


async def _shadow_answers(
    client: TritonClient | None, networks: Sequence[Network], batch: Batch, deadline_seconds: float
) -> dict[str, Answer]:
    """Return the answers of networks in shadow, of all or of none: whatever is wrong with them is theirs alone."""
    if client is None or not networks:
        return {}
    try:
        async with asyncio.timeout(deadline_seconds):
            found = await asyncio.gather(*(_answer(client, network, batch, deadline_seconds) for network in networks))
    except (InferenceError, TimeoutError) as error:
        LOGGER.debug("in shadow: %s", error)
        return {}
    return {network.expert: answer for network, answer in zip(networks, found, strict=True)}


@contextmanager
def _unreadable_left_out(message: Message) -> Iterator[None]:
    """Go past a record that cannot be read: one such in the log must not keep every start from ending well."""
    try:
        yield
    except DecodeError as error:
        LOGGER.warning("left out: %s", error.at(f"{message.topic}[{message.partition}]@{message.offset}"))


def _end_on_error(task: asyncio.Task[None]) -> None:
    """A revoked partition's task ends quietly; any other end of it ends the process."""
    if task.cancelled() or isinstance(task.exception(), FencedError):
        return
    end_on_error(task)
