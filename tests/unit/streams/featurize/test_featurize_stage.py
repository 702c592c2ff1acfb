"""When the featurize stage closes, holds and ends, with the engine and Kafka played by hand."""

import asyncio

import pytest

from featurestore.catalogue import Catalogue
from featurestore.engine import Checkpoint, Output
from schemas.forecasts import Announcement
from schemas.metrics import PENDING_EVENTS, REPEATED_EVENTS
from schemas.topics import EVENT_TOPICS, EXCHANGE_EVENT, FEATURE_ROW, MARKET_STATE, ONCHAIN_EVENT, SENTIMENT_EVENT
from streams.announcements import AnnouncementLog
from streams.featurize import stage as module
from streams.featurize.stage import GATHER_SECONDS, MAX_BACKLOG, MAX_PENDING, FeaturizeStage
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.stage import FencedError, Message
from tests.unit.streams.infer.infer_cases import row_message


class Engine:
    """Answers each `advance` with what was put into `ready`."""

    def __init__(self):
        self.ready = []
        self.backlog = self.pending_events = 0
        self.watermarks = dict.fromkeys(EVENT_TOPICS)
        self.row_border_ns = None
        self.repeated_events = 0
        self.repeats = 0

    def apply(self, *message):
        self.repeated_events += self.repeats

    def advance(self):
        outputs, self.ready = self.ready, []
        return outputs

    def watermarks_ns(self):
        return self.watermarks

    def checkpoint(self):
        return Checkpoint({}, b"state")


class Outlet:
    """Takes outputs until `refusal` is set."""

    def __init__(self):
        self.settings = Settings()
        self.metrics = Metrics()
        self.emitted = []
        self.held = set()
        self.refusal = None

    def emit(self, partition, output):
        if self.refusal is not None and self.emitted:
            raise self.refusal
        self.emitted.append(output)

    def hold(self, topic, partition):
        self.held.add(topic)

    def release(self, topic, partition):
        self.held.discard(topic)


class Unbounded:
    """An allowance without bounds and without announcements."""

    def __init__(self, *_):
        self.log = AnnouncementLog()
        self.log.announced.append(Announcement(border_ns=0, feature_set_id="0123456789ab", features={}))

    def closed(self, *_):
        pass

    def close(self):
        pass

    async def read(self):
        return True

    async def follow(self):
        await asyncio.Event().wait()


class World:
    def __init__(self):
        self.now = 1_000.0
        self.stage = FeaturizeStage(None, clock=lambda: self.now)
        self.outlet = self.stage._outlet = Outlet()
        self.engine = self.stage._engines[0] = Engine()
        self.stage._allowance = Unbounded()

    def just_closed(self):
        """What is read now is closed by the timer, however slow this machine is."""
        self.stage._gather_until[0] = asyncio.get_running_loop().time() + 2 * GATHER_SECONDS

    async def read(self, topic=EXCHANGE_EVENT):
        await self.stage.process(Message(topic, 0, 1, None, {}, b"", 0))


def parts(count):
    return [Output(MARKET_STATE, 0, None, b"part", []) for _ in range(count)]


@pytest.fixture
def ended(monkeypatch):
    """The reasons for which the process would have ended."""
    reasons = []
    monkeypatch.setattr(module, "exit_now", lambda *reason: reasons.append(reason))
    return reasons


async def _fail_in_a_timer(world, refusal):
    world.engine.ready = parts(2)
    world.outlet.refusal = refusal
    world.just_closed()
    await world.read()
    await asyncio.sleep(5 * GATHER_SECONDS)


def test_an_error_in_the_timer_ends_the_process_and_no_checkpoint_counts_what_was_lost(ended):
    world = World()
    asyncio.run(_fail_in_a_timer(world, RuntimeError("the queue is full")))
    ((code, reason, error),) = ended
    assert (code, reason, str(error)) == (1, "featurize: partition 0 could not be closed", "the queue is full")
    assert len(world.outlet.emitted) == 1
    assert world.stage.checkpoint(0) is None


def test_a_timer_of_a_partition_that_was_taken_from_us_ends_quietly(ended):
    world = World()
    asyncio.run(_fail_in_a_timer(world, FencedError("partition 0 was revoked")))
    assert ended == []


def test_an_error_midway_in_writing_reaches_the_runner_and_no_checkpoint_is_taken_after_it():
    world = World()
    world.engine.ready, world.engine.backlog = parts(2), 1
    world.outlet.refusal = RuntimeError("the queue is full")
    with pytest.raises(RuntimeError, match="the queue is full"):
        asyncio.run(world.read())
    assert world.stage.checkpoint(0) is None


def held(pending, backlog=0, **watermarks):
    """Return what is held with these watermarks, None where a topic was not heard."""
    world = World()
    world.engine.pending_events, world.engine.backlog = pending, backlog
    world.engine.watermarks = {f"{name}.event.v1": border for name, border in watermarks.items()}
    asyncio.run(world.read())
    return world.outlet.held


def test_topics_ahead_of_the_slowest_one_wait_while_too_many_events_are_pending():
    # onchain stands still at 5 while the others go on
    more = MAX_PENDING + 1
    assert held(more, exchange=9, onchain=5, sentiment=7) == {EXCHANGE_EVENT, SENTIMENT_EVENT}
    assert held(more, exchange=9, onchain=None, sentiment=None) == {EXCHANGE_EVENT}
    assert held(more, exchange=9, onchain=9, sentiment=9) == set()
    assert held(MAX_PENDING, exchange=9, onchain=5, sentiment=7) == set()
    assert held(0, MAX_BACKLOG + 1, exchange=9, onchain=5, sentiment=7) == set(EVENT_TOPICS)


async def _catch_up(world, seen):
    for border, pending in ((5, MAX_PENDING + 1), (9, MAX_PENDING + 1), (9, 0)):
        world.engine.watermarks = {EXCHANGE_EVENT: 9, ONCHAIN_EVENT: border, SENTIMENT_EVENT: 9}
        world.engine.pending_events = pending
        await world.read(ONCHAIN_EVENT)
        await asyncio.sleep(1.5 * GATHER_SECONDS)
        seen.append((set(world.outlet.held), world.outlet.metrics.value(PENDING_EVENTS, partition="0")))


def test_a_topic_is_read_again_when_the_slowest_has_come_up_to_it():
    seen = []
    asyncio.run(_catch_up(World(), seen))
    assert seen == [
        ({EXCHANGE_EVENT, SENTIMENT_EVENT}, MAX_PENDING + 1),
        (set(), MAX_PENDING + 1),
        (set(), 0),
    ]


def test_repeats_are_counted_by_topic():
    world = World()
    world.engine.repeats = 3
    asyncio.run(world.read())
    assert world.outlet.metrics.value(REPEATED_EVENTS, topic=EXCHANGE_EVENT) == 3


async def _complete_a_row(world):
    await world.read()  # it completes nothing
    world.now += 10
    world.engine.ready, world.engine.backlog = [Output(FEATURE_ROW, 0, None, row_message(0), [])], 1
    world.just_closed()
    await world.read()
    world.now += 0.25
    await asyncio.sleep(5 * GATHER_SECONDS)


def test_the_delay_of_a_row_counts_from_the_message_that_completed_it():
    world = World()
    asyncio.run(_complete_a_row(world))
    registry = world.outlet.metrics.registry
    assert registry.get_sample_value("foreshock_window_close_delay_seconds_count") == 1
    assert registry.get_sample_value("foreshock_window_close_delay_seconds_sum") == pytest.approx(0.25)


async def _start_and_stop(stage, outlet):
    await stage.started(outlet)
    await stage.stopped()


def test_the_process_says_which_features_it_makes(monkeypatch):
    monkeypatch.setattr(module, "Allowance", Unbounded)
    catalogue, outlet = Catalogue.discover(), Outlet()
    asyncio.run(_start_and_stop(FeaturizeStage(catalogue), outlet))
    ((sample, *_),) = [metric.samples for metric in outlet.metrics.registry.collect() if "build" in metric.name]
    rules_id = outlet.settings.rules.rules_id
    assert (sample.labels["rules_id"], sample.labels["feature_set_id"]) == (rules_id, catalogue.feature_set_id)


async def _read_and_look(world, backlog, later=0.0):
    world.engine.backlog = backlog
    world.engine.ready = [Output(FEATURE_ROW, 0, None, row_message(0), [])]
    await world.read()
    await asyncio.sleep(later)
    written, world.outlet.emitted = len(world.outlet.emitted), []
    return written


async def _rows_of_a_quiet_and_of_a_busy_log(world):
    quiet = await _read_and_look(world, backlog=1)
    world.stage._gather_until[0] = asyncio.get_running_loop().time() + 0.5
    busy = await _read_and_look(world, backlog=1)
    gathered = await _read_and_look(world, backlog=2, later=1.0)
    return quiet, busy, gathered


def test_a_row_is_written_at_once_and_rows_close_behind_it_together():
    assert asyncio.run(_rows_of_a_quiet_and_of_a_busy_log(World())) == (1, 0, 1)


def test_what_completes_no_row_closes_nothing_at_once():
    assert asyncio.run(_read_and_look(World(), backlog=0)) == 0
