"""Reading on in a topic: each record once, in order, up to where the log ends at each look."""

from itertools import pairwise

import pytest
from confluent_kafka import KafkaException

from schemas.errors import StateError
from streams import follower as module
from streams.follower import Follower
from streams.settings import Settings


class Record:
    def __init__(self, offset, error=None):
        self._offset, self._error = offset, error

    def error(self):
        return self._error

    def topic(self):
        return "ops.model.v1"

    def partition(self):
        return 0

    def offset(self):
        return self._offset

    def key(self):
        return b"key"

    def headers(self):
        return None

    def value(self):
        return b"value"

    def timestamp(self):
        return 1, 1_000


class Log:
    """A partition that holds [low, end) and gives at most two records at a time."""

    def __init__(self, low=0, end=0):
        self.low, self.end = low, end
        self.next = low
        self.gives = True
        self.answers = True
        self.closed = False

    def assign(self, places):
        self.next = max(self.low, places[0].offset)

    def get_watermark_offsets(self, place, timeout):
        if not self.answers:
            raise KafkaException("no broker")
        return self.low, self.end

    def consume(self, count, timeout):
        if not self.gives:
            return []
        found = range(self.next, min(self.next + 2, self.end))
        self.next = found.stop
        return [Record(-1, error="a broker ended"), *map(Record, found)]

    def close(self):
        self.closed = True


@pytest.fixture
def follow(monkeypatch):
    def begin(log):
        monkeypatch.setattr(module, "consumer", lambda *_: log)
        return Follower(Settings(), "ops.model.v1")

    return begin


def offsets(messages):
    return [message.offset for message in messages]


def test_each_look_gives_what_came_since_the_last_once(follow):
    log = Log(end=5)
    with follow(log) as follower:
        assert offsets(follower.read()) == [0, 1, 2, 3, 4]
        assert follower.read() == []
        log.end = 8
        assert offsets(follower.read()) == [5, 6, 7]
    assert log.closed


def test_a_log_whose_beginning_is_gone_is_read_from_what_is_left(follow):
    assert offsets(follow(Log(low=3, end=5)).read()) == [3, 4]
    assert follow(Log(low=9, end=9)).read() == []


def test_what_was_read_when_a_look_failed_is_given_by_the_next(follow):
    log = Log(end=4)
    follower = follow(log)
    given = [log.consume, lambda *_, **__: []]
    log.consume = lambda *_, **__: (given.pop(0) if len(given) > 1 else given[0])(0, 0)
    with pytest.raises(StateError, match=r"ops.model.v1: nothing came for 0.01 s; is the broker up\?"):
        follower.read(deadline_seconds=0.01)
    del log.consume
    found = offsets(follower.read())
    assert found == [0, 1, 2, 3]
    assert all(after == before + 1 for before, after in pairwise(found))


def test_a_broker_that_does_not_answer_loses_nothing(follow):
    log = Log(end=2)
    follower = follow(log)
    log.answers = False
    with pytest.raises(KafkaException):
        follower.read()
    log.answers = True
    assert offsets(follower.read()) == [0, 1]
