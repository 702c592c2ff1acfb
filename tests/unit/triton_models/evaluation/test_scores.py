import numpy as np
import pytest
import scoringrules
from scipy import stats

from schemas.tensors import QUANTILES
from triton_models.evaluation.scores import (
    LEVELS,
    covered,
    crossed,
    crps,
    interval_score,
    pinball,
    pit,
    pit_distance,
    pit_histogram,
    qlike,
    r2,
    squared_error,
    summary,
)


@pytest.fixture
def random():
    return np.random.default_rng(5)


@pytest.fixture
def sample(random):
    """Log outcomes (N,) and sorted log quantiles (N, Q), some far from one another."""
    y = random.normal(-10, 2, 400)
    quantiles = np.sort(random.normal(-10, 2, (400, len(QUANTILES))), axis=-1)
    return y, quantiles


def test_crps_and_pinball_are_those_of_scoringrules(sample):
    y, quantiles = sample
    assert np.abs(crps(y, quantiles) - scoringrules.crps_quantile(y, quantiles, LEVELS)).max() < 1e-8
    each = np.stack([scoringrules.quantile_score(y, quantiles[:, i], level) for i, level in enumerate(QUANTILES)], -1)
    assert np.abs(pinball(y, quantiles) - each).max() < 1e-8


def test_with_many_levels_it_is_the_crps_of_the_distribution(random):
    levels = (np.arange(2000) + 0.5) / 2000
    y = random.normal(0.3, 1.2, 20)
    quantiles = np.broadcast_to(stats.norm.ppf(levels), (20, 2000))
    assert np.abs(crps(y, quantiles, levels) - scoringrules.crps_normal(y, 0.0, 1.0)).max() < 1e-3


def test_the_interval_score_is_that_of_scoringrules(sample):
    y, quantiles = sample
    ours = interval_score(y, quantiles[:, 0], quantiles[:, -1], 0.1)
    assert np.abs(ours - scoringrules.interval_score(y, quantiles[:, 0], quantiles[:, -1], 0.1)).max() < 1e-8


def test_qlike_is_least_at_the_mean_and_not_at_the_median(random):
    realised = np.exp(random.normal(-10, 1, 200_000))
    candidates = {"mean": realised.mean(), "median": np.median(realised), "above": 1.3 * realised.mean()}
    losses = {name: qlike(realised, np.full_like(realised, value)).mean() for name, value in candidates.items()}
    assert min(losses, key=losses.__getitem__) == "mean"
    assert np.all(qlike(realised, realised) == 0)


def test_qlike_orders_forecasts_the_same_by_a_noisy_proxy(random):
    # Patton 2011: an unbiased proxy, however noisy, keeps the order; squared log error does not.
    truth = np.exp(random.normal(-10, 0.5, 100_000))
    proxy = truth * random.chisquare(1, 100_000)
    right, low = truth, truth * 0.5
    assert qlike(proxy, right).mean() < qlike(proxy, low).mean()
    logs = [squared_error(np.log(proxy), np.log(f)).mean() for f in (right, low)]
    assert logs[0] > logs[1]


def test_r2_is_against_what_could_be_known(random):
    y = random.normal(3, 1, 1000)
    assert r2(y, y) == 1
    assert abs(r2(y, np.full(1000, y.mean()))) < 1e-12
    assert r2(y, np.full(1000, 2.0), benchmark=1.0) > 0 > r2(y, np.full(1000, 2.0))
    assert np.isnan(r2(np.full(3, np.nan), np.zeros(3)))


def test_the_transform_of_the_right_forecast_is_uniform_and_its_inverse(random):
    y = random.normal(0, 1, 20_000)
    quantiles = np.broadcast_to(stats.norm.ppf(LEVELS), (20_000, len(LEVELS)))
    values = pit(y, quantiles)
    assert ((values > 0) & (values < 1)).all()
    assert pit_distance(values) < 0.02
    assert np.abs(pit_histogram(values) - 0.05).max() < 0.012
    assert pit_distance(pit(y * 2, quantiles)) > 0.1
    at_levels = pit(quantiles[0], quantiles[: len(LEVELS)])
    assert np.abs(at_levels - LEVELS).max() < 1e-12


def test_the_transform_rises_with_the_outcome_without_jumps():
    quantiles = np.array([[-1.6, -1.3, -0.7, 0.0, 0.7, 1.3, 1.6]])
    y = np.linspace(-6, 6, 20_001)
    values = pit(y, np.broadcast_to(quantiles, (len(y), 7)))
    steps = np.diff(values)
    assert (steps > 0).all()
    assert steps.max() < 1e-3


def test_a_crossing_is_found():
    quantiles = np.tile(np.arange(7.0), (3, 1))
    quantiles[1, 3] = 1.5
    assert crossed(quantiles).tolist() == [False, True, False]


def test_what_is_not_known_is_not_scored(sample):
    y, quantiles = sample
    y = y.copy()
    y[:10] = np.nan
    for each in (covered(y, quantiles[:, 0], quantiles[:, -1]), pit(y, quantiles), crps(y, quantiles)):
        assert np.isnan(each[:10]).all()
        assert np.isfinite(each[10:]).all()
    assert summary(np.exp(y), np.exp(quantiles[:, 3]), np.exp(quantiles))["count"] == 390
    assert summary(np.exp(y), np.exp(quantiles[:, 3]), np.exp(quantiles), np.zeros(400, bool)) == {"count": 0}


def test_the_summary_tells_bias_from_skill(random):
    y = random.normal(-10, 1, 50_000)
    quantiles = np.exp(-10 + stats.norm.ppf(LEVELS) + np.zeros((50_000, 1)))
    mean = np.full(50_000, np.exp(-10 + 0.5))
    fair = summary(np.exp(y), mean, quantiles)
    biased = summary(np.exp(y), 2 * mean, 2 * quantiles)
    assert abs(fair["bias"]) < 0.05
    assert abs(biased["bias"] + 0.5) < 0.03
    assert abs(biased["log_bias"] + np.log(2)) < 0.02
    assert biased["log_mse"] > fair["log_mse"] + 0.4
    assert abs(biased["centred_log_mse"] - fair["centred_log_mse"]) < 1e-9
    assert [round(fair[f"coverage_{band}"], 2) for band in (50, 80, 90)] == [0.5, 0.8, 0.9]
    assert fair["crossings"] == 0
