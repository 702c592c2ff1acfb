"""Which feature sets are announced, and when; the log is played by hand."""

from types import SimpleNamespace

import msgspec
import pytest

from featurestore.catalogue import Catalogue, FeatureSpec
from schemas.batches import Progress, message_headers
from schemas.errors import FeatureError, StateError
from schemas.forecasts import Announcement, MarketPart, encode_json
from schemas.rules import MINUTE_NS
from schemas.topics import EXCHANGE_EVENT, FEATURE_ROW, MARKET_STATE, OPS_MODEL
from streams import announcements as module
from streams.announcements import (
    ANNOUNCED,
    PROPOSED,
    WITHDRAWN,
    AnnouncementLog,
    announce,
    reached_ns,
    span_ns,
    unannounced,
)
from streams.settings import Settings
from streams.stage import Message

SPAN_NS = span_ns(Settings().rules)


def catalogue(version):
    feature = FeatureSpec(
        name="spread_1m",
        quantity="spread",
        window_ns=MINUTE_NS,
        inputs=("mid",),
        function=lambda mid: mid.sum(-1),
        plain=lambda mid: mid.sum(-1),
        version=version,
        file="mine.py",
    )
    return Catalogue(tiles=(), derived=(), features=(feature,))


def announced(version, border_ns=0):
    return Announcement(border_ns=border_ns, feature_set_id="0123456789ab", features={"spread_1m": version})


def message(key, announcement, offset=0):
    return Message(OPS_MODEL, 0, offset, key, {}, encode_json(announcement), 0)


class Broker:
    """Keeps what is sent, and says how far rows are at each question."""

    def __init__(self, monkeypatch, *records, reached=(0,)):
        self.records = [message(*record) for record in records]
        self.reached = list(reached)
        monkeypatch.setattr(module, "read_topic", lambda *_: list(self.records))
        monkeypatch.setattr(module, "Outbox", lambda *_: self)
        monkeypatch.setattr(module, "reached_ns", lambda _: self.reached.pop(0))

    def send(self, _topic, value, *, key, headers):
        self.records.append(Message(OPS_MODEL, 0, len(self.records), key, dict(headers), value, 0))

    def flush_acknowledged(self):
        pass

    @property
    def keys(self):
        return [record.key for record in self.records]


def test_what_is_announced_already_is_not_announced_again(monkeypatch):
    broker = Broker(monkeypatch, (ANNOUNCED, announced("2-aaa")))
    assert announce(Settings(), catalogue("2-aaa")) == announced("2-aaa")
    assert broker.keys == [ANNOUNCED]


def test_the_first_set_begins_with_the_log(monkeypatch):
    broker = Broker(monkeypatch)
    assert announce(Settings(), catalogue("aaa")).border_ns == 0
    assert broker.keys == [ANNOUNCED]


def test_changed_code_under_an_unchanged_version_is_not_announced(monkeypatch):
    Broker(monkeypatch, (ANNOUNCED, announced("2-aaa")))
    with pytest.raises(FeatureError, match=r"mine.py spread: its code or inputs changed under version='2'"):
        announce(Settings(), catalogue("2-bbb"))


def test_a_later_set_begins_where_no_worker_can_be(monkeypatch):
    #  rows end here .......... the border
    #  [-- span --][-- span --]|      a worker that has not read of it may close one span
    now = 1_000 * MINUTE_NS
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), reached=[now, now + MINUTE_NS])
    chosen = announce(Settings(), catalogue("bbb"))
    assert chosen.border_ns > now + 2 * SPAN_NS
    assert chosen.border_ns % MINUTE_NS == 0
    assert broker.keys == [ANNOUNCED, PROPOSED, ANNOUNCED]


def test_a_proposal_that_a_worker_may_have_passed_is_withdrawn_and_made_again_further_ahead(monkeypatch):
    now = 1_000 * MINUTE_NS
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), reached=[now, now + 2 * SPAN_NS, now, now])
    first, second = (announce(Settings(), catalogue("bbb")), broker.records[1])
    assert first.border_ns > msgspec.json.decode(second.value, type=Announcement).border_ns
    assert broker.keys == [ANNOUNCED, PROPOSED, WITHDRAWN, PROPOSED, ANNOUNCED]


def test_rows_that_outrun_every_proposal_are_an_error(monkeypatch):
    reached = [n * 10**17 for n in range(20)]
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), reached=reached)
    with pytest.raises(StateError, match="wait until the workers caught up"):
        announce(Settings(), catalogue("bbb"))
    assert AnnouncementLog(broker.records).closed_until_ns is None


@pytest.mark.parametrize(("reached", "decision"), [(0, ANNOUNCED), (9 * SPAN_NS, WITHDRAWN)])
def test_a_proposal_whose_author_ended_is_decided_by_the_next(monkeypatch, reached, decision):
    proposal = announced("bbb", 10 * SPAN_NS)
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), (PROPOSED, proposal), reached=[reached] * 3)
    announce(Settings(), catalogue("bbb"))
    assert broker.keys[2] == decision
    assert AnnouncementLog(broker.records).announced[-1].features == {"spread_1m": "bbb"}


def test_workers_wait_at_the_border_of_what_is_not_decided():
    log = AnnouncementLog([message(ANNOUNCED, announced("aaa")), message(PROPOSED, announced("bbb", 60))])
    assert (log.closed_until_ns, len(log.announced)) == (60, 1)
    log.add(message(WITHDRAWN, announced("bbb", 60)))
    assert (log.closed_until_ns, len(log.announced)) == (None, 1)
    log.add(SimpleNamespace(key=b"model-switch", value=b"{}"))
    assert log.add(message(ANNOUNCED, announced("bbb", 90))) == announced("bbb", 90)


def test_a_worker_says_what_no_announced_set_holds():
    log = AnnouncementLog([message(ANNOUNCED, announced("aaa"))])
    assert unannounced(catalogue("aaa"), log) == []
    assert unannounced(catalogue("bbb"), log) == ["spread_1m"]
    with pytest.raises(StateError, match="no feature set is announced; run `foreshock features announce`"):
        unannounced(catalogue("aaa"), AnnouncementLog())


# What was announced, in the order of the log.


def test_of_two_decisions_on_a_proposal_the_first_counts():
    # Two who announce decide the same proposal at once, each from what it saw.
    proposal = announced("bbb", 60)
    withdrawn = AnnouncementLog([message(PROPOSED, proposal), message(WITHDRAWN, proposal)])
    assert withdrawn.add(message(ANNOUNCED, proposal)) is None
    assert (withdrawn.announced, withdrawn.closed_until_ns) == ([], None)
    confirmed = AnnouncementLog([message(PROPOSED, proposal)])
    assert confirmed.add(message(ANNOUNCED, proposal)) == proposal
    assert confirmed.add(message(WITHDRAWN, proposal)) is None
    assert confirmed.add(message(ANNOUNCED, proposal)) is None
    assert (confirmed.announced, confirmed.closed_until_ns) == ([proposal], None)


def test_workers_wait_at_the_first_of_several_proposals():
    first, second = announced("bbb", 60), announced("ccc", 90)
    log = AnnouncementLog([message(PROPOSED, second), message(PROPOSED, first)])
    assert log.closed_until_ns == 60
    log.add(message(ANNOUNCED, first))
    assert (log.closed_until_ns, log.announced) == (90, [first])


def test_a_set_proposed_again_at_the_same_border_waits_for_a_decision_of_its_own():
    proposal = announced("bbb", 60)
    log = AnnouncementLog([message(PROPOSED, proposal), message(WITHDRAWN, proposal), message(PROPOSED, proposal)])
    assert log.closed_until_ns == 60
    assert log.add(message(ANNOUNCED, proposal)) is None  # the first decision was another
    assert (log.closed_until_ns, log.announced) == (None, [])


def test_what_is_withdrawn_by_another_in_the_same_moment_is_proposed_anew(monkeypatch):
    # ours at 4 spans: before we confirm, another withdraws it
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), reached=[0, 0, 0, 0])
    send = broker.send

    def raced(topic, value, *, key, headers):
        if key == ANNOUNCED and WITHDRAWN not in broker.keys:
            send(topic, value, key=WITHDRAWN, headers=headers)
        send(topic, value, key=key, headers=headers)

    broker.send = raced
    chosen = announce(Settings(), catalogue("bbb"))
    assert broker.keys == [ANNOUNCED, PROPOSED, WITHDRAWN, ANNOUNCED, PROPOSED, ANNOUNCED]
    assert AnnouncementLog(broker.records).announced[-1] == chosen


def test_an_author_that_is_interrupted_withdraws_its_proposal(monkeypatch):
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), reached=[0])
    with pytest.raises(IndexError):  # the second question of how far rows are fails
        announce(Settings(), catalogue("bbb"))
    assert broker.keys == [ANNOUNCED, PROPOSED, WITHDRAWN]
    assert AnnouncementLog(broker.records).closed_until_ns is None


@pytest.mark.parametrize(("short_ns", "decision"), [(1, ANNOUNCED), (0, WITHDRAWN)])
def test_a_border_counts_only_where_it_is_more_than_a_span_beyond_what_is_reached(monkeypatch, short_ns, decision):
    # reached ............ border: a worker may close up to reached + span, the border itself included
    proposal = announced("bbb", 10 * SPAN_NS)
    reached = 9 * SPAN_NS - short_ns
    broker = Broker(monkeypatch, (ANNOUNCED, announced("aaa")), (PROPOSED, proposal), reached=[reached] * 3)
    announce(Settings(), catalogue("bbb"))
    assert broker.keys[2] == decision


# How far anybody can have come.


def topics_with(monkeypatch, rows=(), parts=(), watermarks=()):
    """Topics that hold rows, parts of the market and progress of these times."""
    held = {
        FEATURE_ROW: [Message(FEATURE_ROW, 0, 0, None, {"row_time_ns": str(time).encode()}, b"", 0) for time in rows],
        MARKET_STATE: [
            Message(MARKET_STATE, 0, 0, None, {}, encode_json(MarketPart(partition=0, from_ns=0, to_ns=time)), 0)
            for time in parts
        ],
        EXCHANGE_EVENT: [
            Message(EXCHANGE_EVENT, 0, 0, None, dict(message_headers("trade", 0, progress)), b"", 0)
            for progress in (*(Progress(0, 7, time) for time in watermarks), None)
        ],
    }
    monkeypatch.setattr(module, "read_topic", lambda _settings, topic, last: held[topic])


@pytest.mark.parametrize(
    ("told", "reached"),
    [
        ({}, 0),
        ({"rows": [30, 20], "parts": [10], "watermarks": [5]}, 30),
        ({"rows": [30], "parts": [40, 10], "watermarks": [5]}, 40),
        # An ingest that was started again tells some of its progress anew: the greatest counts.
        ({"rows": [30], "parts": [40], "watermarks": [50, 70, 60]}, 70),
    ],
)
def test_rows_parts_and_progress_alike_say_how_far_workers_can_be(monkeypatch, told, reached):
    topics_with(monkeypatch, **told)
    assert reached_ns(Settings()) == reached


def test_a_tombstone_among_the_parts_says_nothing(monkeypatch):
    topics_with(monkeypatch, rows=[30])
    rest, nothing = module.read_topic, Message(MARKET_STATE, 0, 0, b"0", {}, None, 0)

    def read(settings, topic, last):
        return [nothing] if topic == MARKET_STATE else rest(settings, topic, last)

    monkeypatch.setattr(module, "read_topic", read)
    assert reached_ns(Settings()) == 30
