"""The stages in simulated histories: what a seed decides, what holds, and planted bugs that are found."""

import logging
import random
from collections.abc import Iterator

import pytest
from planted import PLANTED, TROUBLE

from streams.simulation import campaign
from streams.simulation.faults import WEIGHTS, Fault, faults_of
from streams.simulation.history import play
from streams.simulation.shrink import shortest

SEEDS = 1_000
LONG = 25
"""A seed whose log is long enough for scores."""

ENOUGH = 5
"""So many seeds are enough to find any planted bug."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What stages say of faults that are meant is no news."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(900)
def test_every_invariant_holds_in_all_histories():
    found = campaign.run(range(SEEDS), processes=2)
    assert [(each.seed, each.findings) for each in found.failed] == []
    assert found.seeds == SEEDS
    assert set(found.faults) == set(WEIGHTS)


def test_a_seed_is_the_same_history_every_time_and_leaves_other_draws_alone():
    before = random.getstate()
    first, again = play(3), play(3)
    assert (first.digest, first.trace, first.records) == (again.digest, again.trace, again.records)
    assert random.getstate() == before
    assert play(4).digest != first.digest


def test_a_history_without_faults_has_rows_forecasts_and_scores_and_ends():
    history = play(LONG, [])
    assert history.findings == []
    assert {"feature.row.v1", "forecast.volatility.v1", "forecast.score.v1", "forecast.calibration.v1"} <= {
        topic for topic, count in history.topics.items() if count
    }
    assert all(history.topics[topic] for topic in ("late-event.v1", "dead-letter.v1", "forecast.attention.v1"))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str):
    for seed in range(1, 1 + ENOUGH):
        with pytest.MonkeyPatch.context() as patch:
            PLANTED[name](patch)
            if not play(seed, TROUBLE[name]).holds:
                return
    pytest.fail(f"{name}: no history of {ENOUGH} has found it")


def test_a_failing_history_is_cut_down_to_the_faults_that_it_needs(monkeypatch):
    PLANTED["leaves_a_gap_when_inference_fails"](monkeypatch)
    trouble = Fault(0.5, "triton", "infer", 2.0, "failing")
    others = [Fault(0.3, "rebalance", "score", 1), Fault(1.0, "compact", "infer", 1)]
    monkeypatch.setattr("streams.simulation.shrink.faults_of", lambda seed: [others[0], trouble, others[1]])
    failed = play(LONG, [others[0], trouble, others[1]])
    faults, history = shortest(failed)
    assert faults == [trouble]
    assert {finding.invariant for finding in history.findings} == {"I5"}


def test_faults_are_drawn_of_a_seed_in_their_order():
    assert faults_of(20) == []
    assert faults_of(21) == sorted(faults_of(21)) == faults_of(21)
