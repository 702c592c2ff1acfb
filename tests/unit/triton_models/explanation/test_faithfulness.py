"""Measures of faithfulness on attributions that are right, random and wrong."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from triton_models.explanation.coalitions import all_coalitions
from triton_models.explanation.faithfulness import deletion_gain, estimate, largest, rank_correlation
from triton_models.explanation.shares import leave_one_out, shapley

TERMS = np.array([3.0, 2.0, 1.0, 0.5, 0.1])
SIGNED = TERMS * [1, -1, 1, 1, -1]
TABLE = (all_coalitions(5) * TERMS).sum(-1)


def test_rank_correlation_is_spearmans():
    random = np.random.default_rng(2)
    a, b = random.normal(size=6), random.normal(size=6)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(np.abs(a), np.abs(b)).statistic)


def test_rank_correlation_leaves_out_who_takes_no_part_and_is_nan_for_too_few():
    assert rank_correlation(np.array([3.0, 2.0, 1.0, 0.0]), np.array([0.3, -0.2, 0.1, 0.0])) == pytest.approx(1.0)
    assert np.isnan(rank_correlation(np.array([3.0, 2.0, 0.0]), np.array([0.3, -0.2, 0.0])))
    assert np.isnan(rank_correlation(np.ones(4), TERMS[:4]))


def test_deletion_by_the_true_order_beats_random_and_the_reverse_loses():
    table = (all_coalitions(5) * SIGNED).sum(-1)
    best = deletion_gain(table, leave_one_out(table[:, None])[:, 0])
    assert best == pytest.approx(max(deletion_gain(table, np.array(order)) for order in permutations(range(5))))
    assert deletion_gain(table, -SIGNED) == pytest.approx(-best)
    assert best > 0.2
    assert np.isnan(deletion_gain(np.ones(32), TERMS))


def test_the_mean_gain_over_random_orders_is_none():
    random = np.random.default_rng(3)
    gains = [deletion_gain(TABLE, random.permutation(5) + 1.0) for _ in range(2000)]
    assert np.mean(gains) == pytest.approx(0.0, abs=0.02)


def test_an_estimate_has_an_interval_that_narrows_with_its_sample():
    random = np.random.default_rng(4)
    few, many = estimate(random.normal(0.5, 0.2, 20)), estimate(random.normal(0.5, 0.2, 2000))
    assert few.low < 0.5 < few.high
    assert many.high - many.low < few.high - few.low
    assert estimate([np.nan, 0.25]) == (0.25, 0.25, 0.25, 1)
    assert estimate([]).forecasts == 0


def test_the_largest_share_must_be_positive():
    assert largest(np.array([-3.0, 0.1, 0.2])) == 2
    assert largest(np.array([-3.0, 0.0])) == -1
    assert shapley(TABLE[:, None])[0, 0] == pytest.approx(3.0)
