"""Losses by hand, and what a floor does to them."""

import math

import pytest

from schemas.tensors import QUANTILES
from streams.score.losses import Claim, floor, score

LEVELS = [str(level) for level in QUANTILES]


def claim(mean, spread=1.0):
    return Claim(mean, {name: mean * math.exp(spread * (float(name) - 0.5)) for name in LEVELS})


def test_a_perfect_mean_has_no_qlike_and_being_too_low_costs_more_than_too_high():
    losses = {factor: score(claim(1e-6 * factor), 1e-6, "1m").qlike for factor in (0.5, 1.0, 2.0)}
    assert losses[1.0] == pytest.approx(0, abs=1e-12)
    assert losses[0.5] > losses[2.0] > 0


def test_losses_do_not_depend_on_the_unit_of_variance():
    small, large = score(claim(2e-6), 1e-6, "1m"), score(claim(2e-2), 1e-2, "1m")
    assert small.pinball == pytest.approx(large.pinball)
    assert small.crps == pytest.approx(2 * small.pinball)


def test_pinball_by_hand():
    flat = Claim(1e-6, dict.fromkeys(LEVELS, 1e-6))
    found = score(flat, 1e-6 * math.e, "1m").pinball
    assert found == pytest.approx(sum(QUANTILES) / len(QUANTILES))


def test_coverage_is_by_band():
    y = 1e-6 * math.exp(0.42)  # between the quantiles 0.9 and 0.95
    assert score(claim(1e-6), y, "1m").coverage == {"0.5": False, "0.8": False, "0.9": True}


def test_a_variance_of_nothing_counts_as_the_floor():
    least = floor("5m")
    assert score(claim(least), 0.0, "5m").qlike == pytest.approx(0, abs=1e-12)
    assert score(claim(least / 100), 0.0, "5m").qlike == pytest.approx(0, abs=1e-12)
