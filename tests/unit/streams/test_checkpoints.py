"""Checkpoints in chunks: whatever is interrupted, lost or written by a zombie, a reader gets a whole one."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import StateError
from streams import checkpoints
from streams.checkpoints import CheckpointStore


class DiedError(Exception):
    """The process was killed between two writes."""


class Topic:
    """A compacted topic that all processes of a test share."""

    def __init__(self):
        self.data = {}
        self.writes = []


class Log:
    """What one process knows of it: what it restored and what it wrote. Dies after `left` writes."""

    def __init__(self, topic, left=10**9):
        self.topic = topic
        self.known = dict(topic.data)
        self.left = left

    def records(self, partition):
        return {key: value for key, value in self.known.items() if key.startswith(b"%d/" % partition)}

    async def write(self, partition, key, value):
        if self.left <= 0:
            raise DiedError
        self.left -= 1
        self.topic.writes.append(key)
        for data in (self.topic.data, self.known):
            if value is None:
                data.pop(key, None)
            else:
                data[key] = value


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "CHUNK_BYTES", 8)
        yield


def process(topic, name, left=10**9):
    return CheckpointStore(Log(topic, left), name)


def save(store, blob, partition=0):
    asyncio.run(store.save(partition, blob))


def test_nothing_saved_is_none_and_a_checkpoint_comes_back_whole():
    topic = Topic()
    store = process(topic, "a")
    assert store.load(0) is None
    save(store, b"0123456789abcdefXY")
    save(store, b"", partition=1)
    again = process(topic, "b")
    assert again.load(0) == b"0123456789abcdefXY"
    assert again.load(1) == b""


def test_only_changed_chunks_are_written_again_and_old_ones_go():
    topic = Topic()
    store = process(topic, "a")
    save(store, b"same 012" + b"old data")
    topic.writes.clear()
    save(store, b"same 012" + b"new data")
    assert topic.writes == [b"0/a/2/1", b"0/a/manifest", b"0/a/1/1"]
    assert sorted(topic.data) == [b"0/a/1/0", b"0/a/2/1", b"0/a/manifest"]


@pytest.mark.parametrize("writes", range(12))
def test_a_process_that_dies_between_any_two_writes_leaves_the_old_or_the_new(writes):
    topic = Topic()
    first = process(topic, "a")
    first.load(0)
    save(first, b"old " * 8)
    second = process(topic, "b", writes)
    second.load(0)
    try:
        save(second, b"new " * 9)
        done = True
    except DiedError:
        done = False
    assert process(topic, "c").load(0) in ((b"new " * 9,) if done else (b"old " * 8, b"new " * 9))


def test_a_zombie_that_writes_after_its_successor_is_not_read():
    topic = Topic()
    zombie = process(topic, "a")
    zombie.load(0)
    save(zombie, b"first state of a")
    successor = process(topic, "b")
    successor.load(0)
    save(successor, b"state of b")
    for number in range(5):
        save(zombie, b"zombie state %d of a" % number)
    assert process(topic, "c").load(0) == b"state of b"


def test_a_zombie_whose_chunks_its_successor_deleted_is_not_mixed_with_anything():
    topic = Topic()
    zombie = process(topic, "a")
    zombie.load(0)
    save(zombie, b"same 012" + b"one 0123")
    successor = process(topic, "b")
    successor.load(0)
    save(successor, b"of b")
    save(zombie, b"same 012" + b"two 0123")  # its manifest lists the first chunk, which is gone
    assert process(topic, "c").load(0) == b"of b"


def test_checkpoints_of_which_none_is_whole_are_refused():
    topic = Topic()
    save(process(topic, "a"), b"0123456789")
    del topic.data[b"0/a/1/0"]
    with pytest.raises(StateError, match="checkpoint of partition 0: none of 1 is complete; delete"):
        process(topic, "b").load(0)


def test_a_damaged_manifest_is_refused():
    topic = Topic()
    topic.data[b"0/a/manifest"] = b"{}"
    with pytest.raises(StateError, match="partition 0: unreadable manifest"):
        process(topic, "b").load(0)


@given(st.integers(0, 2**32))
def test_owners_zombies_and_deaths_in_any_order_never_give_a_mixture(seed):
    """Every blob says who wrote it throughout, so a mixture would show."""
    dice = random.Random(seed)
    topic, processes, saved = Topic(), [], {None}
    for step in range(12):
        if not processes or dice.random() < 0.4:
            store = process(topic, f"p{step}", dice.choice([3, 10**9]))
            restored = store.load(0)
            assert restored in saved
            processes.append(store)
        store = dice.choice(processes)
        blob = b"%02d......" % step * dice.randint(1, 4)
        saved.add(blob)
        try:
            save(store, blob)
        except DiedError:
            processes.remove(store)
    assert process(topic, "last").load(0) in saved
