"""How often nothing is taken for drift, and how soon drift is told."""

import msgspec
import numpy as np
import pytest
from scipy.signal import lfilter

from schemas.rules import DAY_NS
from schemas.tensors import HORIZON_NS
from triton_models.drift import INPUTS, WATCHES, Detector, DriftState

SCORED_NS = {"1m": 60_000_000_000, "5m": 300_000_000_000, "1h": 900_000_000_000, "1d": 3_600_000_000_000}
"""Between two scored origins; live there are more of an hour and a day ahead, which overlap the more."""
AUTOCORRELATION = 0.5


def series(random, horizon, days, *, skewed):
    """Return origins and values of losses that depend on one another, and overlap like the horizon's outcomes."""
    step = SCORED_NS[horizon]
    overlap = max(1, HORIZON_NS[horizon] // step)
    count = int(days * DAY_NS // step)
    shocks = random.standard_normal(count + overlap + 50)
    if skewed:
        shocks = np.exp(shocks) - np.exp(0.5)
    sums = np.cumsum(lfilter([1.0], [1.0, -AUTOCORRELATION], shocks)[49:])
    return np.arange(count) * step, (sums[overlap : overlap + count] - sums[:count]) / overlap


def alarms(detector, origins, values):
    found = (detector.add(origin, value) for origin, value in zip(origins.tolist(), values.tolist(), strict=True))
    return [alarm for alarm in found if alarm is not None]


def warm_up_days(horizon):
    return WATCHES[horizon].warm_up * WATCHES[horizon].block_ns / DAY_NS


@pytest.mark.parametrize(
    ("kind", "horizon", "runs", "days"),
    [
        ("skill", "1m", 12, 120),
        ("skill", "5m", 60, 120),
        ("skill", "1h", 60, 240),
        ("skill", "1d", 10, 1500),
        ("coverage", "5m", 60, 120),
        ("coverage", "1h", 60, 240),
        ("coverage", "1d", 10, 1500),
    ],
)
def test_false_alarms_are_as_rare_as_is_said(kind, horizon, runs, days):
    random = np.random.default_rng(6)
    found = 0
    for _ in range(runs):
        # Coverage is held against what it should be, losses against what they were.
        detector = Detector(WATCHES[horizon], expected=0.0 if kind == "coverage" else None, falls=kind == "coverage")
        found += len(alarms(detector, *series(random, horizon, days, skewed=kind == "skill")))
    each_days = runs * (days - warm_up_days(horizon)) / max(found, 1)
    assert each_days >= WATCHES[horizon].false_alarm_days
    # A detector that never speaks would pass too.
    assert each_days <= 4 * WATCHES[horizon].false_alarm_days


def shares(random, days, persistence):
    """Return origins and shares of 16 features beyond what one value in a hundred reaches; they move together."""
    count = days * 96
    shocks = random.standard_normal((17, count + 2000))
    latent = lfilter([np.sqrt(1 - persistence**2)], [1.0, -persistence], shocks)[:, 2000:]
    beyond = np.sqrt(0.2) * latent[0] + np.sqrt(0.8) * latent[1:] > 2.326
    return np.arange(count) * (DAY_NS // 96), beyond.mean(0)


def test_inputs_that_wander_for_days_give_false_alarms_as_rarely_as_is_said():
    random, found, runs, days = np.random.default_rng(6), 0, 12, 320
    for _ in range(runs):
        detector = Detector(INPUTS, least_spread=0.01)
        found += len(alarms(detector, *shares(random, days, persistence=0.99)))
    assert runs * (days - INPUTS.warm_up) / max(found, 1) >= INPUTS.false_alarm_days
    shifted = Detector(INPUTS, least_spread=0.01)
    origins, values = shares(random, 60, persistence=0.99)
    told = alarms(shifted, origins, values + 0.2 * (origins >= 40 * DAY_NS))
    assert 40 * DAY_NS < told[0].end_ns <= 46 * DAY_NS


@pytest.mark.parametrize("horizon", ["5m", "1h"])
def test_a_loss_that_rises_is_told_and_one_that_falls_is_not(horizon):
    watch = WATCHES[horizon]
    before = int(watch.warm_up * 3 * watch.block_ns // SCORED_NS[horizon])
    delays = {}
    for sign in (1, -1):
        random = np.random.default_rng(3)
        detector = Detector(watch)
        origins, values = series(random, horizon, 6 * warm_up_days(horizon), skewed=False)
        assert alarms(detector, origins[:before], values[:before]) == []
        shift = 2 * detector.state.square**0.5
        found = alarms(detector, origins[before:], values[before:] + sign * shift)
        delays[sign] = [(alarm.end_ns - origins[before]) / watch.block_ns for alarm in found]
    assert delays[1][0] <= 8  # blocks
    assert delays[-1] == []


def test_coverage_may_neither_fall_nor_rise():
    for sign in (1, -1):
        detector = Detector(WATCHES["5m"], expected=0.0, falls=True)
        origins, values = series(np.random.default_rng(3), "5m", 6, skewed=False)
        found = alarms(detector, origins, values + sign * 3 * (origins >= 4 * DAY_NS))
        assert {alarm.rises for alarm in found} == {sign > 0}
        assert found[0].reference == 0.0


def test_a_checkpoint_in_the_middle_of_a_block_changes_nothing():
    origins, values = series(np.random.default_rng(5), "5m", 30, skewed=True)
    whole = Detector(WATCHES["5m"])
    expected = alarms(whole, origins, values)
    first = Detector(WATCHES["5m"])
    found = alarms(first, origins[:1001], values[:1001])
    blob = msgspec.msgpack.encode(first.state)
    second = Detector(WATCHES["5m"], msgspec.msgpack.decode(blob, type=DriftState))
    found += alarms(second, origins[1001:], values[1001:])
    assert (found, second.state) == (expected, whole.state)


def test_a_gap_closes_a_block_and_a_nearly_empty_one_is_left_out():
    watch = WATCHES["5m"]
    detector = Detector(watch)
    for origin in range(0, watch.block_ns, SCORED_NS["5m"]):
        detector.add(origin, 1.0)
    detector.add(50 * watch.block_ns, 100.0)
    assert (detector.state.blocks, detector.state.mean) == (1, 1.0)
    detector.add(60 * watch.block_ns, 1.0)
    assert (detector.state.blocks, detector.state.mean) == (1, 1.0)
