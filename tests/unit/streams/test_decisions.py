"""What holds for an origin after decisions on versions."""

import pytest

from schemas.decisions import ModelDecision
from schemas.errors import DecodeError
from schemas.forecasts import Announcement, encode_json
from schemas.rules import SECOND_NS
from schemas.topics import FORECAST, OPS_MODEL
from streams import decisions
from streams.announcements import AnnouncementLog
from streams.decisions import DECIDED, DecisionLog, Standing
from streams.settings import Settings
from streams.stage import Message
from tests.unit.streams.score.test_scorer import T0, forecast


def message(kind, version, border_ns, *, before="1", profile="ticks", level=0.0, offset=0):
    decision = ModelDecision(
        kind=kind,
        profile=profile,
        version=version,
        before=before,
        border_ns=border_ns,
        hashes={},
        reason="",
        better_level=level,
    )
    return Message(OPS_MODEL, 0, offset, DECIDED, {}, encode_json(decision), 1_000 + offset)


def log(*messages):
    return DecisionLog("ticks", messages)


def test_without_decisions_nothing_is_named():
    assert log().at(5) == Standing()
    assert log().next_border_ns(5) is None


def test_decisions_hold_from_their_border_on():
    #  0     10          20            30           40
    #  1     1, 2 beside 2             2, 3 beside  1
    found = log(
        message("shadow", "2", 10),
        message("promote", "2", 20),
        message("shadow", "3", 30, before="2"),
        message("rollback", "1", 40, before="2"),
    )
    assert found.first() == "1"
    assert found.at(9) == Standing()
    assert found.at(10) == Standing((), "2", 10)
    assert found.at(20) == Standing(("1", "2"), "", 20)
    assert found.at(30) == Standing(("1", "2"), "3", 30)
    # What the shadow was compared with has changed: what was scored before says nothing any more.
    assert found.at(40) == found.at() == Standing(("1",), "3", 40)
    assert [found.next_border_ns(origin) for origin in (0, 10, 39, 40)] == [10, 20, 40, None]


def test_of_two_decisions_the_later_record_counts():
    # Rolled back before the border of the promotion came.
    found = log(message("promote", "2", 50), message("rollback", "1", 40, before="2"))
    assert found.at(60).history == ("1",)


def test_rollbacks_go_back_one_version_after_the_other():
    found = log(message("promote", "2", 1), message("promote", "3", 2, before="2"))
    assert found.at().history == ("1", "2", "3")
    found.add(message("rollback", "2", 3, before="3"))
    assert found.at().history == ("1", "2")
    found.add(message("promote", "4", 4, before="2"))
    assert found.at().history == ("1", "2", "4")


def test_a_version_that_was_promoted_again_is_gone_back_to_where_it_stood_last():
    found = log(
        message("promote", "2", 1),
        message("promote", "1", 2, before="2"),
        message("promote", "3", 3, before="1"),
        message("rollback", "1", 4, before="3"),
    )
    assert found.at().history == ("1", "2", "1")
    # Two people at once: the second says nothing new.
    found.add(message("rollback", "1", 5, before="3"))
    assert found.at().history == ("1", "2", "1")


def test_refusals_by_a_test_are_counted_for_each_shadow():
    found = log(
        message("shadow", "2", 1),
        message("refuse", "2", 2),  # for want of scores
        message("refuse", "2", 3, level=0.01),
        message("refuse", "2", 4, level=0.01),
    )
    assert found.at().refused == 2
    found.add(message("withdraw", "2", 5))
    assert found.at() == Standing()
    found.add(message("shadow", "2", 6, offset=7))
    assert found.at() == Standing((), "2", 6)
    assert found.written_ms("2") == 1_007


def test_other_profiles_and_feature_sets_are_no_decisions():
    found = log(message("promote", "2", 1, profile="bars"))
    announcement = Announcement(border_ns=0, feature_set_id="0" * 12, features={})
    found.add(Message(OPS_MODEL, 0, 0, b"feature-set", {}, encode_json(announcement), 0))
    assert found.at() == Standing()
    assert AnnouncementLog([message("promote", "2", 1)]).announced == []


def test_a_damaged_decision_is_an_error_with_its_path():
    with pytest.raises(DecodeError, match=r"\$"):
        log(Message(OPS_MODEL, 0, 0, DECIDED, {}, b'{"kind": "perhaps"}', 0))


def test_records_that_cannot_be_read_keep_nobody_from_deciding(monkeypatch, caplog):
    damaged = Message(OPS_MODEL, 0, 7, DECIDED, {}, b'{"kind": "perhaps"}', 0)
    made = Message(FORECAST, 0, 0, None, {}, encode_json(forecast(0)), 0)
    topics = {OPS_MODEL: [damaged, message("promote", "2", 1)], FORECAST: [made, damaged]}
    monkeypatch.setattr(decisions, "read_topic", lambda _, topic, **_options: topics[topic])
    assert decisions.read_decisions(Settings(profile="ticks")).at().history == ("1", "2")
    assert "left out: ops.model.v1[0]@7 $.kind" in caplog.text
    assert decisions.border_ns(Settings(profile="ticks")) == T0 + decisions.LEAD_NS + SECOND_NS
