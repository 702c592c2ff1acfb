"""Calibration from outcomes: coverage comes right, delay does not overshoot, good experts gain weight."""

import numpy as np
import pytest

from schemas.forecasts import HorizonScore
from streams.score.tracker import LARGEST_SHIFT, LEAST_WEIGHT, Tracker


def test_bands_that_are_too_narrow_are_widened_until_they_hold_nine_in_ten():
    rng = np.random.default_rng(3)
    tracker, held = Tracker(), []
    for y in rng.normal(size=6000):
        inside = -0.5 + tracker.low <= y <= 0.5 + tracker.high
        held.append(inside)
        tracker.observe(y, -0.5, 0.5, covered=bool(inside))
    assert np.mean(held[1000:]) == pytest.approx(0.9, abs=0.01)
    assert tracker.record("x:A-B", "5m", 7).coverage_ratio == pytest.approx(np.mean(held))


def test_outcomes_that_come_hundreds_of_forecasts_late_do_not_overshoot():
    # A shock moves all outcomes above the band at once; news of it comes 300 forecasts late.
    tracker, path = Tracker(), []
    for step in range(2000):
        tracker.observe(1.0 if step < 300 else 0.0, -0.5, 0.5, covered=False)
        path.append(tracker.high)
    assert max(path) == pytest.approx(0.5, abs=0.03)


def test_shifts_are_bounded():
    tracker = Tracker()
    for _ in range(1000):
        tracker.observe(100.0, -0.5, 0.5, covered=False)
    assert tracker.high == LARGEST_SHIFT


def losses(qlike, pinball):
    return HorizonScore(mean=1.0, qlike=qlike, pinball=pinball, crps=2 * pinball, coverage={})


def test_the_better_expert_gains_weight_and_none_loses_all():
    tracker = Tracker()
    for _ in range(2000):
        tracker.compare({"har": losses(0.30, 0.20), "lstm": losses(0.28, 0.19), "performer": losses(90.0, 5.0)})
    weights = tracker.weights()
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["lstm"] > weights["har"] > weights["performer"]
    assert weights["performer"] == pytest.approx(LEAST_WEIGHT, abs=1e-6)


def test_few_outcomes_move_weights_little():
    tracker = Tracker()
    tracker.compare({"har": losses(0.5, 0.3), "lstm": losses(0.3, 0.2)})
    assert tracker.weights()["lstm"] == pytest.approx(0.5, abs=0.02)
    assert Tracker().weights() == {}
