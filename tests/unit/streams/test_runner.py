"""The order of records, acknowledgements and checkpoints, with Kafka played by lists."""

import asyncio

import pytest

from schemas.errors import StateError
from streams.checkpoints import CheckpointStore
from streams.metrics_server import Metrics
from streams.runner import StageRunner
from streams.settings import Settings
from streams.stage import Checkpoint, FencedError, Message, Record
from streams.watchdog import Pulse


class Source:
    def __init__(self, journal):
        self.journal = journal
        self.held = set()

    async def bounds(self, places):
        return dict.fromkeys(places, (10, 100))

    async def seek(self, positions):
        self.journal.append(("seek", positions))

    async def commit(self, offsets):
        self.journal.append(("commit", offsets))

    def hold(self, place):
        self.held.add(place)

    def release(self, place):
        self.held.discard(place)

    def forget(self, partition):
        self.journal.append(("forget", partition))


class Outbox:
    """Acknowledges when told to."""

    def __init__(self, journal):
        self.journal = journal
        self.sequence = 0
        self.pending = 0
        self.open = asyncio.Event()
        self.open.set()

    def emit(self, output):
        self.sequence += 1
        self.journal.append(("emit", output.value))
        return self.sequence

    async def acknowledged(self, number):
        await self.open.wait()
        self.journal.append(("acknowledged", number))


class Log:
    def __init__(self, journal):
        self.journal = journal
        self.data = {}

    def records(self, partition):
        return {key: value for key, value in self.data.items() if key.startswith(b"%d/" % partition)}

    async def write(self, partition, key, value):
        if value is None:
            self.data.pop(key)
        else:
            self.data[key] = value
            self.journal.append(("saved", key.rpartition(b"/")[2]))


class Stage:
    name = "score"
    topics = ("a", "b")

    def __init__(self, journal):
        self.journal = journal
        self.seen = []
        self.gate = None
        self.resume = {}

    async def started(self, outlet):
        self.outlet = outlet

    async def assigned(self, partition, checkpoint):
        self.journal.append(("assigned", partition, checkpoint))
        return self.resume

    def revoked(self, partition):
        self.journal.append(("revoked", partition))

    async def process(self, message):
        if self.gate is not None:
            await self.gate.wait()
        self.seen.append((message.topic, message.offset))
        self.outlet.emit(message.partition, Record("out", None, b"%d" % message.offset))

    def checkpoint(self, partition):
        return Checkpoint({"a": 11}, b"state")

    async def stopped(self):
        pass


class World:
    def __init__(self):
        self.journal = []
        self.stage = Stage(self.journal)
        self.source = Source(self.journal)
        self.outbox = Outbox(self.journal)
        self.log = Log(self.journal)
        store = CheckpointStore(self.log, "me")
        settings = Settings(delivery_timeout_seconds=2)
        self.runner = StageRunner(self.stage, settings, Metrics(), self.outbox, self.source, store, Pulse(60))
        self.stage.outlet = self.runner

    async def deliver(self, offset, topic="a", partition=0):
        await self.runner.deliver(Message(topic, partition, offset, None, {}, b"", 0))

    async def checkpoint(self):
        for lease in list(self.runner._leases.values()):
            await self.runner._checkpoint_or_end(lease)


def run(scenario):
    asyncio.run(scenario(World()))


def test_a_topic_without_resume_offset_is_read_from_its_earliest_and_minus_one_is_its_end():
    async def scenario(world):
        world.stage.resume = {"b": -1}
        await world.runner.acquire([0])
        assert world.runner.positions() == {("a", 0): 10, ("b", 0): 100}

    run(scenario)


@pytest.mark.parametrize("offset", [9, 101])
def test_a_resume_offset_that_the_topic_does_not_hold_is_refused(offset):
    async def scenario(world):
        world.stage.resume = {"a": offset}
        with pytest.raises(StateError, match=rf"a\[0\]: the checkpoint resumes at {offset}, the topic holds 10 to 100"):
            await world.runner.acquire([0])

    run(scenario)


def test_each_offset_is_processed_once_in_order():
    async def scenario(world):
        await world.runner.acquire([0])
        for offset in (9, 10, 11, 10, 11, 12):
            await world.deliver(offset)
        assert world.stage.seen == [("a", 10), ("a", 11), ("a", 12)]

    run(scenario)


def test_a_jump_is_read_again_and_believed_only_when_it_comes_back():
    async def scenario(world):
        await world.runner.acquire([0])
        await world.deliver(12)
        assert world.journal[-1] == ("seek", {("a", 0): 10})
        for offset in (10, 11, 12):
            await world.deliver(offset)
        assert world.stage.seen == [("a", 10), ("a", 11), ("a", 12)]
        for _ in range(4):
            await world.deliver(20)  # the log really has a hole
        assert world.stage.seen[-1] == ("a", 20)

    run(scenario)


def test_outputs_are_acknowledged_before_the_checkpoint_and_that_before_the_commit():
    async def scenario(world):
        await world.runner.acquire([0])
        world.outbox.open.clear()
        await world.deliver(10)
        task = asyncio.create_task(world.checkpoint())
        await asyncio.sleep(0.01)
        assert [entry[0] for entry in world.journal] == ["assigned", "emit"]
        world.outbox.open.set()
        await task
        assert world.journal[2:] == [
            ("acknowledged", 1),
            ("saved", b"0"),
            ("saved", b"manifest"),
            ("commit", {("a", 0): 11}),
        ]

    run(scenario)


def test_a_checkpoint_is_taken_between_records_only():
    async def scenario(world):
        await world.runner.acquire([0])
        world.stage.gate = asyncio.Event()
        under_way = asyncio.create_task(world.deliver(10))
        await asyncio.sleep(0)
        task = asyncio.create_task(world.checkpoint())
        await asyncio.sleep(0.01)
        assert not task.done()
        world.stage.gate.set()
        await asyncio.gather(under_way, task)
        assert [entry[0] for entry in world.journal if entry[0] in {"emit", "saved"}] == ["emit", "saved", "saved"]

    run(scenario)


def test_a_record_under_way_when_its_partition_is_revoked_sends_nothing():
    async def scenario(world):
        await world.runner.acquire([0])
        world.stage.gate = asyncio.Event()
        under_way = asyncio.create_task(world.deliver(10))
        await asyncio.sleep(0)
        await world.runner.revoke_all()
        await world.runner.acquire([0])  # it even comes back before the record is done
        world.stage.gate.set()
        await under_way
        assert not [entry for entry in world.journal if entry[0] == "emit"]
        assert world.runner.positions()["a", 0] == 10

    run(scenario)


def test_a_task_of_an_earlier_assignment_can_send_nothing():
    async def scenario(world):
        await world.runner.acquire([0])
        again = asyncio.Event()
        caught = []

        async def later():
            await again.wait()
            with pytest.raises(FencedError) as error:
                world.runner.emit(0, Record("out", None, b"late"))
            caught.append(str(error.value))

        async def process(message):
            world.task = asyncio.create_task(later())

        world.stage.process = process
        await world.deliver(10)
        await world.runner.revoke_all()
        await world.runner.acquire([0])
        again.set()
        await world.task
        assert caught == ["partition 0 was revoked"]

    run(scenario)


def test_a_handover_saves_first_and_takes_bounded_time():
    async def scenario(world):
        await world.runner.acquire([0])
        await world.runner.revoke_all()
        assert [entry[0] for entry in world.journal][-4:] == ["saved", "saved", "revoked", "forget"]
        await world.runner.acquire([0])
        world.outbox.open.clear()  # the broker does not answer any more
        async with asyncio.timeout(3):
            await world.runner.revoke_all()
        assert world.journal[-1] == ("forget", 0)
        assert world.runner.positions() == {}

    run(scenario)


def test_a_rebalance_while_partitions_are_taken_over_takes_those_that_were_not_reached_too():
    async def scenario(world):
        assigned, gate = world.stage.assigned, asyncio.Event()

        async def slowly(partition, checkpoint):
            await gate.wait()
            return await assigned(partition, checkpoint)

        world.stage.assigned = slowly
        taking = asyncio.create_task(world.runner.acquire([0, 1]))
        await asyncio.sleep(0)
        await world.runner.revoke_all()
        gate.set()
        await taking
        assert world.runner.positions() == {}
        assert world.runner._leases == {}

    run(scenario)


def test_a_held_partition_is_not_watched_and_is_let_go_with_its_lease():
    async def scenario(world):
        await world.runner.acquire([0])
        world.runner.hold("a", 0)
        assert world.runner.watched() == {("b", 0): 10}
        await world.runner.revoke_all()
        assert world.source.held == set()

    run(scenario)


def test_a_handover_during_a_checkpoint_waits_for_it_and_then_saves_its_own():
    async def scenario(world):
        await world.runner.acquire([0])
        write = world.log.write

        async def slowly(partition, key, value):
            await asyncio.sleep(0.01)
            await write(partition, key, value)

        world.log.write = slowly
        world.stage.checkpoint = lambda _: Checkpoint({"a": 11}, b"%d" % len(world.journal))
        task = asyncio.create_task(world.checkpoint())
        await asyncio.sleep(0.005)
        await world.runner.revoke_all()
        await task
        assert [key for key in world.log.data if b"manifest" not in key] == [b"0/me/2/0"]
        await world.runner.acquire([0])
        assert world.journal[-1][0] == "assigned"
        assert world.journal[-1][2] is not None

    run(scenario)


def test_whatever_keeps_the_last_checkpoint_from_being_saved_the_lease_ends():
    async def scenario(world):
        await world.runner.acquire([0])

        async def broken(*_):
            raise RuntimeError("the producer of the changelog is closed")

        world.log.write = broken
        await world.runner.revoke_all()
        assert world.journal[-2:] == [("revoked", 0), ("forget", 0)]
        assert world.runner.positions() == {}

    run(scenario)
