import math

import numpy as np
import pytest

from schemas.errors import StateError
from schemas.rules import HOUR_NS, MINUTE_NS
from schemas.tensors import QUANTILES
from triton_models.online.experts import MEAN, QUANTILE, STEEPEST, Experts, Learning, Past, mix

OFFSETS = np.array([-1.6, -1.3, -0.7, 0, 0.7, 1.3, 1.6])


@pytest.fixture
def random():
    return np.random.default_rng(3)


def forecasts(centres):
    """Return log means (..., K) and log quantiles (..., K, Q) around the centres (..., K)."""
    return centres + 0.5, centres[..., None] + OFFSETS


def run(experts, centres, y):
    """Learn from each row at once; return the weights (T, 2, K) that rows were forecast with."""
    used = []
    for row, outcome in zip(centres, y, strict=True):
        means, quantiles = forecasts(row)
        weights = experts.predict(means, quantiles).weights
        experts.learn(weights, means, quantiles, np.float64(outcome))
        used.append(weights)
    return np.array(used)


def regret(weights, centres, y):
    """Return the mean pinball loss of the mixture less that of the best expert, over all rows."""

    def loss(quantiles):
        excess = y[:, None] - quantiles
        return np.maximum(np.array(QUANTILES) * excess, (np.array(QUANTILES) - 1) * excess).mean()

    means, quantiles = forecasts(centres)
    mixture = mix(weights, means, quantiles)[1]
    return loss(mixture) - min(loss(quantiles[:, k]) for k in range(centres.shape[1]))


def test_all_count_the_same_before_any_outcome():
    experts = Experts(Past.empty(4), Learning())
    assert experts.weights() == pytest.approx(np.full((2, 4), 0.25))


def test_it_is_the_algorithm_of_the_paper_worked_out_number_by_number(random):
    # Wintenberger 2017: weight eta exp(eta R), R the sum of gain (1 - eta gain), eta = min(1 / E, sqrt(log K / V)).
    y = random.normal(-10, 1, 40)
    centres = y[:, None] + np.array([0.4, 0.8, 1.2]) * random.normal(size=(40, 3))
    overlap, half_life, equal = 4.0, 20.0, 0.1
    used = run(Experts(Past.empty(3), Learning(overlap=overlap, half_life=half_life, equal=equal)), centres, y)
    keep = 0.5 ** (1 / half_life)
    regrets, squares, largest = [0.0] * 3, [0.0] * 3, [0.0] * 3
    rates = [1.0] * 3
    for row in range(40):
        raw = [eta * math.exp(eta * total) for eta, total in zip(rates, regrets, strict=True)]
        weights = [(1 - equal) * one / sum(raw) + equal / 3 for one in raw]
        assert used[row, QUANTILE] == pytest.approx(weights, rel=1e-9)
        centre = sum(weight * one for weight, one in zip(weights, centres[row], strict=True))
        for k in range(3):
            gain = 0.0
            for level, offset in zip(QUANTILES, OFFSETS, strict=True):
                slope = (y[row] < centre + offset) - level
                gain += slope * (centre - centres[row, k]) / len(QUANTILES)
            squares[k] = keep * squares[k] + gain**2 / overlap
            largest[k] = max(keep * largest[k], abs(gain))
            rates[k] = min(1 / largest[k], math.sqrt(math.log(3) / squares[k]))
            regrets[k] = keep * regrets[k] + gain * (1 - rates[k] * gain) / overlap


def test_the_weight_goes_to_the_expert_that_is_right(random):
    y = random.normal(-10, 1, 3000)
    centres = np.stack([y + random.normal(0, s, 3000) for s in (1.0, 0.2, 1.5)], axis=-1)
    used = run(Experts(Past.empty(3), Learning(equal=0)), centres, y)
    assert used[-1, QUANTILE, 1] > 0.9
    assert used[-1, MEAN].argmax() == 1
    assert used[-1].sum(-1) == pytest.approx([1, 1])


def test_it_loses_little_to_the_best_expert_and_may_beat_all(random):
    y = random.normal(-10, 1, 4000)
    noisy = np.stack([y + random.normal(0, 0.8, 4000) for _ in range(4)], axis=-1)
    assert regret(run(Experts(Past.empty(4), Learning()), noisy, y), noisy, y) < -0.04
    one_good = noisy + np.array([0.0, 3.0, -3.0, 5.0])
    assert regret(run(Experts(Past.empty(4), Learning(equal=0)), one_good, y), one_good, y) < 0.02


def test_it_follows_a_change_of_the_best(random):
    y = random.normal(-10, 1, 4000)
    errors = np.where((np.arange(4000) < 2000)[:, None], [0.2, 1.5], [1.5, 0.2])
    centres = y[:, None] + errors * random.normal(size=(4000, 2))
    used = run(Experts(Past.empty(2), Learning(half_life=300)), centres, y)
    assert used[1999, QUANTILE, 0] > 0.8
    assert used[3000, QUANTILE, 1] > 0.8


def test_the_equal_part_stays_whatever_happens(random):
    y = random.normal(-10, 1, 2000)
    centres = np.stack([y, y + 5, y - 5, y + 4], axis=-1)
    used = run(Experts(Past.empty(4), Learning(equal=0.2)), centres, y)
    assert used[1:].min() >= 0.05 - 1e-12
    assert 0.75 < used[-1, QUANTILE, 0] <= 0.85 + 1e-12


def test_outcomes_that_overlap_count_for_one(random):
    # Each outcome twelve times over, as an hour is seen from twelve origins, against each once.
    y = random.normal(-10, 1, 60)
    centres = y[:, None] + np.array([0.5, 0.9]) * random.normal(size=(60, 2))
    once = Experts(Past.empty(2), Learning(half_life=1e9))
    often = Experts(Past.empty(2), Learning(overlap=12, half_life=1e9))
    whole = Experts(Past.empty(2), Learning(half_life=1e9))
    run(once, centres, y)
    for state in (often, whole):
        run(state, np.repeat(centres, 12, axis=0), np.repeat(y, 12))
    distance = [np.abs(state.weights() - once.weights()).max() for state in (often, whole)]
    assert distance[0] < 0.1 < distance[1]
    assert Learning.of(HOUR_NS, 5 * MINUTE_NS).overlap == 12
    assert Learning.of(MINUTE_NS, 5 * MINUTE_NS).overlap == 1


def test_an_expert_without_a_forecast_sleeps():
    experts = Experts(Past.empty(3), Learning())
    means, quantiles = forecasts(np.array([-10.0, np.nan, -11.0]))
    mixture = experts.predict(means, quantiles)
    assert mixture.weights.tolist() == [[0.5, 0.0, 0.5]] * 2
    assert mixture.mean == pytest.approx(-10.0)
    assert np.isfinite(mixture.quantiles).all()
    before = experts.past()
    experts.learn(mixture.weights, means, quantiles, np.float64(-12.0))
    after = experts.past()
    assert [row[1] for row in after.regret] == [row[1] for row in before.regret]
    nobody = experts.predict(*forecasts(np.full(3, np.nan)))
    assert np.isnan(nobody.mean)
    assert not nobody.weights.any()


def test_an_expert_that_wakes_late_has_neither_the_most_nor_the_least_weight(random):
    y = random.normal(-10, 1, 500)
    centres = y[:, None] + np.array([2.0, 0.2, 1.0]) * random.normal(size=(500, 3))
    centres[:, 2] = np.nan
    experts = Experts(Past.empty(3), Learning())
    run(experts, centres, y)
    worst, best, new = experts.weights().T
    assert (worst < new).all()
    assert (new < best).all()


def test_one_wild_outcome_pulls_no_further_than_the_clip():
    gains = []
    for y in (-10 + np.log(1 + STEEPEST) + 0.5, 40.0):
        experts = Experts(Past.empty(2), Learning())
        means, quantiles = forecasts(np.array([-10.0, -10.0]))
        means = np.array([-9.0, -10.0])
        experts.learn(np.full((2, 2), 0.5), means, quantiles, np.float64(y))
        gains.append(experts.past().largest[MEAN])
    assert gains[0] == gains[1] == (STEEPEST / 2, STEEPEST / 2)


def test_bytes_that_are_no_state_are_refused():
    with pytest.raises(StateError, match=r"expert weights: .*square"):
        Past.decode(b'{"regret": []}')
