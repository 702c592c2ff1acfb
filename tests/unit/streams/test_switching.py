"""What may be decided of versions, and what is written of it."""

import numpy as np
import pytest
from msgspec import structs

from schemas.decisions import ModelDecision
from schemas.errors import SettingsError, StateError
from schemas.forecasts import encode_json
from schemas.topics import OPS_MODEL
from streams import switching
from streams.decisions import COLD_LEAD_NS, DECIDED, LEAD_NS, DecisionLog
from streams.settings import Settings
from streams.stage import Message
from streams.switching import Switching, bundles
from triton_models.bundle import read
from triton_models.evaluation.promotion import LEVEL
from triton_models.export import REPOSITORY, publish

NOW_NS = 1_000


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Versions 1 to 3, of which 3 learned from other features' versions."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("lstm-ticks", "performer-ticks"):
        bundle = read(REPOSITORY / name / "1")
        for version, learned in (("1", bundle.spec.feature_set_id), ("2", bundle.spec.feature_set_id), ("3", "0" * 12)):
            publish(structs.replace(bundle.spec, version=version, feature_set_id=learned), bundle.weights, folder)
    return folder


@pytest.fixture
def desk(repository, monkeypatch):
    """What an operator sits at: each call sees the topic as it is by then; `said` is what was written."""
    said, scores = [], {}
    settings = Settings(model_repository=str(repository))

    def log(_settings):
        records = [encode_json(decision) for decision in said]
        return DecisionLog("ticks", (Message(OPS_MODEL, 0, n, DECIDED, {}, one, n) for n, one in enumerate(records)))

    monkeypatch.setattr(switching, "read_decisions", log)
    monkeypatch.setattr(switching, "decide", lambda _, decision: said.append(decision))
    monkeypatch.setattr(switching, "border_ns", lambda _, lead=LEAD_NS: NOW_NS * (1 + len(said)) + lead)

    def differences(_settings, version, since_ns, *_):
        return type("Found", (), {"series": lambda _: scores[version, since_ns]})()

    monkeypatch.setattr(switching, "differences", differences)

    def sit():
        return Switching(settings, "ticks")

    sit.said, sit.scores, sit.settings = said, scores, settings
    return sit


def noisy(mean):
    return {("1m", "qlike"): mean + np.random.default_rng(1).standard_normal(500)}


def test_a_better_shadow_is_promoted_and_rolled_back(desk):
    shadow = desk().shadow("2")
    assert (shadow.kind, shadow.before, shadow.border_ns) == ("shadow", "1", NOW_NS + LEAD_NS)
    desk.scores["2", shadow.border_ns] = noisy(-0.5)
    promoted = desk().promote("2")
    assert (promoted.kind, promoted.forced, promoted.test) == ("promote", False, "diebold-mariano")
    assert (promoted.better_level, promoted.worse_level) == (LEVEL / 2, LEVEL)
    assert promoted.hashes.keys() == {"lstm-ticks", "performer-ticks"}
    roles = {bundle.spec.version: desk().role(bundle) for bundle in bundles(desk.settings)}
    assert roles == {"1": "before the active", "2": "active", "3": "never decided on"}
    back = desk().rollback()
    assert (back.kind, back.version, back.before, back.reason) == ("rollback", "1", "2", "back from version 2")
    assert [one.kind for one in desk.said] == ["shadow", "promote", "rollback"]
    with pytest.raises(StateError, match="version 1 of ticks is the first: there is none before it"):
        desk().rollback()


def test_each_refusal_leaves_less_of_the_level_to_the_next_look(desk):
    shadow = desk().shadow("2")
    desk.scores["2", shadow.border_ns] = noisy(0.0)
    refusals = [desk().promote("2") for _ in range(3)]
    assert {one.kind for one in refusals} == {"refuse"}
    assert [one.better_level for one in refusals] == pytest.approx([LEVEL / 2, LEVEL / 6, LEVEL / 12])


def test_force_promotes_against_the_test_and_says_so(desk):
    shadow = desk().shadow("2")
    desk.scores["2", shadow.border_ns] = noisy(0.5)
    forced = desk().promote("2", force="version 1 was trained on wrong data")
    assert (forced.kind, forced.forced) == ("promote", True)
    assert forced.reason.startswith("version 1 was trained on wrong data; against the test: significantly worse: 1m")
    assert forced.tests[0].p_worse < LEVEL


def test_what_is_forced_without_a_shadow_begins_when_it_can_be_loaded(desk):
    forced = desk().promote("2", force="the first is broken")
    assert forced.border_ns == NOW_NS + COLD_LEAD_NS
    assert forced.reason == "the first is broken; against the test: it was not in shadow"


def test_a_bundle_with_other_bytes_than_were_decided_on_is_told(desk):
    desk.said.append(
        ModelDecision(
            kind="promote",
            profile="ticks",
            version="2",
            before="1",
            border_ns=0,
            hashes={"lstm-ticks": "0" * 64},
            reason="",
        )
    )
    found = {(bundle.spec.name, bundle.spec.version): desk().role(bundle) for bundle in bundles(desk.settings)}
    assert found["lstm-ticks", "2"] == "active, other bytes than were decided on"
    assert found["performer-ticks", "2"] == "active"


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (lambda desk: desk.promote("2"), "version 2 is not in shadow, none is: `foreshock model shadow ticks 2`, and"),
        (lambda desk: desk.promote("1"), "version 1 of ticks is active already"),
        (lambda desk: desk.shadow("1"), "version 1 of ticks is active already"),
        (lambda desk: desk.shadow("9"), r"lstm-ticks: there is no version 9; there is 1, 2, 3"),
        (lambda desk: desk.shadow("3"), "version 3 learned from features 000000000000, version 1 from .*: no row fits"),
        (lambda desk: desk.withdraw(), "no version of ticks is in shadow"),
    ],
)
def test_what_cannot_be_is_an_error_that_says_why_and_writes_nothing(desk, asked, problem):
    with pytest.raises(StateError, match=problem):
        asked(desk())
    assert desk.said == []


def test_a_profile_that_is_none_is_an_error():
    with pytest.raises(SettingsError, match="PROFILE: expected ticks or bars, got 'tick'"):
        Switching(Settings(), "tick")
