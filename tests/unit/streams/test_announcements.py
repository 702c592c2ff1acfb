"""Which feature sets are announced, and when; the log is played by hand."""

from types import SimpleNamespace

import msgspec
import pytest

from featurestore.catalogue import Catalogue, FeatureSpec
from schemas.errors import FeatureError, StateError
from schemas.forecasts import Announcement, encode_json
from schemas.rules import MINUTE_NS
from schemas.topics import OPS_MODEL
from streams import announcements as module
from streams.announcements import ANNOUNCED, PROPOSED, WITHDRAWN, AnnouncementLog, announce, span_ns, unannounced
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
