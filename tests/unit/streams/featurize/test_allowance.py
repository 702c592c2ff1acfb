"""How far engines may go without another look at the announcements; Kafka is played by hand."""

import asyncio

import pytest

from schemas.errors import StateError
from schemas.forecasts import Announcement, encode_json
from schemas.metrics import CLOSING_HELD
from schemas.topics import OPS_MODEL
from streams.announcements import ANNOUNCED, PROPOSED, WITHDRAWN, span_ns
from streams.featurize import allowance as module
from streams.featurize.allowance import Allowance
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.stage import FencedError, Message

SPAN_NS = span_ns(Settings().rules)


class Engine:
    def __init__(self, closed_ns=None, complete_ns=None):
        self.closed_ns = closed_ns
        self.complete_ns = complete_ns
        self.until_ns = None
        self.announced = []

    def allow(self, until_ns):
        self.until_ns = until_ns

    def announce(self, announcement):
        self.announced.append(announcement.border_ns)


class World:
    """One process with engines, an outlet that acknowledges, and a log of announcements."""

    def __init__(self, monkeypatch, **engines):
        self.settings, self.metrics, self.now = Settings(), Metrics(), 0.0
        self.waiting, self.closable, self.fenced = [], [], set()
        self.before_reading = lambda: None
        monkeypatch.setattr(module, "Follower", lambda *_: self)
        self.engines = {int(name[1:]): engine for name, engine in engines.items()}
        self.allowance = Allowance(self, self.engines, self.closable.append, lambda: self.now)

    def tell(self, key, border_ns):
        announcement = Announcement(border_ns=border_ns, feature_set_id="0123456789ab", features={})
        written_ms = round(self.now * 1e3)
        self.waiting.append(Message(OPS_MODEL, 0, 0, key, {}, encode_json(announcement), written_ms))

    def read(self):
        self.before_reading()
        messages, self.waiting = self.waiting, []
        return messages

    async def acknowledged(self, partition):
        if partition in self.fenced:
            raise FencedError("revoked")

    def look(self):
        asyncio.run(self.allowance.look())


def test_an_engine_stands_until_all_announcements_are_read_and_then_has_a_span(monkeypatch):
    world = World(monkeypatch, p0=Engine(100), p1=Engine())
    for partition, engine in world.engines.items():
        world.allowance.begin(partition, engine)
    assert [engine.until_ns for engine in world.engines.values()] == [100, 0]
    world.look()
    assert [engine.until_ns for engine in world.engines.values()] == [100 + SPAN_NS, 0]
    assert world.closable == [0]


def test_the_span_counts_from_what_was_written_before_the_look(monkeypatch):
    world = World(monkeypatch, p0=Engine(100))
    world.before_reading = lambda: setattr(world.engines[0], "closed_ns", 5_000)
    world.look()
    assert world.engines[0].until_ns == 100 + SPAN_NS


def test_what_was_complete_before_the_look_may_be_closed_however_long_the_silence_in_it(monkeypatch):
    year_ns = 365 * 86_400 * 10**9
    world = World(monkeypatch, p0=Engine(100, complete_ns=year_ns))
    world.before_reading = lambda: setattr(world.engines[0], "complete_ns", 2 * year_ns)
    world.look()
    assert world.engines[0].until_ns == year_ns


def test_engines_wait_at_the_border_of_a_proposal_until_it_is_decided(monkeypatch):
    world = World(monkeypatch, p0=Engine(100))
    world.tell(PROPOSED, 1_000)
    world.look()
    assert (world.engines[0].until_ns, world.engines[0].announced) == (1_000, [])
    world.tell(ANNOUNCED, 1_000)
    world.look()
    assert (world.engines[0].until_ns, world.engines[0].announced) == (100 + SPAN_NS, [1_000])
    world.tell(PROPOSED, 2_000)
    world.tell(WITHDRAWN, 2_000)
    world.look()
    assert (world.engines[0].until_ns, world.engines[0].announced) == (100 + SPAN_NS, [1_000])


def test_without_an_answer_nothing_more_is_allowed_and_the_process_goes_on(monkeypatch):
    world = World(monkeypatch, p0=Engine(100))

    def fail():
        raise StateError("nothing came")

    world.before_reading = fail
    world.look()
    assert (world.engines[0].until_ns, world.closable) == (None, [])


def test_a_partition_that_was_taken_from_us_is_left_alone(monkeypatch):
    world = World(monkeypatch, p0=Engine(100), p1=Engine(200))
    world.fenced = {0}
    world.look()
    assert [engine.until_ns for engine in world.engines.values()] == [None, 200 + SPAN_NS]


def test_an_announcement_that_an_engine_has_passed_ends_the_process(monkeypatch):
    world = World(monkeypatch, p0=Engine(100))

    def refuse(_):
        raise StateError("announce it again at a later border")

    world.engines[0].announce = refuse
    world.tell(ANNOUNCED, 50)
    with pytest.raises(StateError, match="later border"):
        world.look()


def test_an_engine_that_has_used_half_of_its_span_asks_for_a_look(monkeypatch):
    world = World(monkeypatch, p0=Engine(100))
    world.look()
    world.allowance.closed(0, world.engines[0])
    assert not world.allowance._wanted.is_set()
    world.engines[0].closed_ns = 101 + SPAN_NS // 2
    world.allowance.closed(0, world.engines[0])
    assert world.allowance._wanted.is_set()


def test_a_proposal_that_nobody_decides_is_a_gauge_and_a_line_that_says_what_to_do(monkeypatch, caplog):
    # proposed 100 s ---- 105 s ------- 131 s: a line, 140 s: none more --- decided
    world = World(monkeypatch, p0=Engine(100))

    def held_at(second):
        world.now = second
        world.look()
        return world.metrics.value(CLOSING_HELD)

    assert held_at(99.0) == 0
    world.now = 100.0
    world.tell(PROPOSED, 1_000)
    assert held_at(105.0) == pytest.approx(5)
    assert not caplog.messages
    assert (held_at(131.0), held_at(140.0)) == (pytest.approx(31), pytest.approx(40))
    (line,) = caplog.messages
    assert line == (
        "feature set 0123456789ab, proposed 31 s ago, is neither confirmed nor withdrawn, and no row passes its border "
        "1000 until it is: decide it with `foreshock features announce`"
    )
    world.tell(WITHDRAWN, 1_000)
    assert held_at(150.0) == 0


def test_the_age_of_a_proposal_is_told_though_the_broker_is_silent(monkeypatch):
    world = World(monkeypatch, p0=Engine(100))
    world.tell(PROPOSED, 1_000)
    world.look()

    def fail():
        raise StateError("nothing came")

    world.before_reading, world.now = fail, 9.0
    world.look()
    assert world.metrics.value(CLOSING_HELD) == pytest.approx(9)
