"""When a challenger is promoted: how often by chance, and when it must be."""

import numpy as np
import pytest
from scipy.signal import lfilter

from schemas.tensors import HORIZON_NS, HORIZONS
from triton_models.evaluation.promotion import LEVEL, LOSSES, NEEDED, STEP_NS, judge

AUTOCORRELATION = 0.6


def equal_skill(random, profile="ticks"):
    """Return differences of equal models: dependent from origin to origin, overlapping, alike in both losses."""
    found = {}
    for horizon in HORIZONS[profile]:
        steps = max(1, HORIZON_NS[horizon] // STEP_NS[horizon])
        one, other = (_overlapping(random, NEEDED[horizon], steps) for _ in range(2))
        found[horizon, "qlike"], found[horizon, "pinball"] = one, (one + other) / 2
    return found


def _overlapping(random, count, steps):
    shocks = random.standard_normal(count + steps + 49)
    sums = np.cumsum(lfilter([1.0], [1.0, -AUTOCORRELATION], shocks)[49:])
    return sums[steps : steps + count] - sums[:count]


def test_equal_models_are_promoted_in_fewer_than_five_percent():
    random = np.random.default_rng(8)
    verdicts = [judge(equal_skill(random)) for _ in range(400)]
    assert np.mean([verdict.promoted for verdict in verdicts]) <= LEVEL
    # Not by never promoting: single tests keep near to their own level.
    below = np.mean([test.p_better < LEVEL for verdict in verdicts for test in verdict.tests])
    assert 0.03 < below < 0.10


def test_asking_until_it_is_promoted_does_not_help():
    random = np.random.default_rng(9)
    wins = [any(judge(equal_skill(random, "bars"), looks).promoted for looks in range(4)) for _ in range(150)]
    assert np.mean(wins) <= LEVEL


def test_levels_of_all_looks_add_up_to_no_more_than_one():
    random = np.random.default_rng(1)
    tests = len(HORIZONS["bars"]) * len(LOSSES)
    levels = [judge(equal_skill(random, "bars"), looks).better_level for looks in range(50)]
    assert levels[0] == pytest.approx(LEVEL / 2 / tests)
    assert sum(levels) * tests < LEVEL


def noisy(count, mean, seed=2):
    return mean + np.random.default_rng(seed).standard_normal(count)


def test_a_better_challenger_is_promoted_with_the_horizon_that_said_so():
    verdict = judge({("5m", "qlike"): noisy(600, -0.5), ("1d", "qlike"): noisy(20, 0.0)})
    assert verdict.promoted
    assert verdict.reason.startswith("significantly better: 5m by qlike (-0.")
    long, short = verdict.tests
    assert long.p_better < verdict.better_level == LEVEL / 2
    assert (short.origins, short.needed, short.p_better) == (20, 490, None)


def test_better_at_one_horizon_and_worse_at_another_is_not_promoted():
    verdict = judge({("5m", "qlike"): noisy(600, -0.5), ("1h", "pinball"): noisy(600, 0.5)})
    assert not verdict.promoted
    assert verdict.reason.startswith("significantly worse: 1h by pinball (+0.")


def test_without_a_difference_it_is_not_promoted():
    verdict = judge({("5m", "qlike"): np.zeros(600), ("1h", "qlike"): noisy(600, 0.0)})
    assert not verdict.promoted
    assert verdict.reason == "nowhere significantly better at a level of 0.013 for each of 2 tests"


def test_too_few_origins_are_no_test():
    verdict = judge({("1m", "qlike"): noisy(369, -5.0), ("1m", "pinball"): noisy(369, -5.0)})
    assert (verdict.promoted, verdict.better_level) == (False, 0.0)
    assert verdict.reason == "too few origins were scored: 1m 369 of 370"
    assert judge({("1m", "qlike"): np.empty(0)}).reason == "nothing was scored of it yet"
