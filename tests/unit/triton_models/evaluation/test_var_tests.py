import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from triton_models.evaluation.var_tests import (
    christoffersen,
    dynamic_quantile,
    hits_of,
    independence,
    kupiec,
    return_quantile,
)


@pytest.fixture
def random():
    return np.random.default_rng(23)


@pytest.mark.parametrize(
    ("origins", "level", "least", "most"),
    [(255, 0.01, 0, 7), (510, 0.01, 1, 11), (1000, 0.01, 4, 17), (255, 0.05, 6, 21), (510, 0.05, 16, 36)],
)
def test_it_accepts_the_numbers_of_failures_that_kupiec_published(origins, level, least, most):
    # Kupiec 1995, table 3, as repeated by Jorion: accepted at 95 % strictly between the two numbers.
    accepted = [n for n in range(origins // 5) if kupiec(np.arange(origins) < n, level).p_value > 0.05]
    published = list(range(least + 1, most)) if least else list(range(most))
    # No failure at all in 255 days is just on the line: 5.13 against 3.84 rejects it, the table starts at "N < 7".
    assert [n for n in published if n > 0] == [n for n in accepted if n > 0]


def chain(random, count, length, after_none, after_hit):
    """Return hits (count, length) of a two-state chain."""
    hits = np.zeros((count, length), bool)
    draws = random.random((count, length))
    for step in range(1, length):
        hits[:, step] = draws[:, step] < np.where(hits[:, step - 1], after_hit, after_none)
    return hits


def test_right_forecasts_are_rejected_as_often_as_stated(random):
    samples = random.random((1500, 1000)) < 0.05
    for test in (kupiec, christoffersen, dynamic_quantile):
        rejected = np.mean([test(hits, 0.05).p_value < 0.05 for hits in samples])
        assert 0.025 < rejected < 0.09, test.__name__


def test_clustered_hits_are_found_where_their_rate_is_right(random):
    samples = chain(random, 200, 1000, 0.042, 0.2)
    rejected = {
        "rate": np.mean([kupiec(hits, 0.05).p_value < 0.05 for hits in samples]),
        "independence": np.mean([independence(hits).p_value < 0.05 for hits in samples]),
        "both": np.mean([christoffersen(hits, 0.05).p_value < 0.05 for hits in samples]),
        "dynamic": np.mean([dynamic_quantile(hits, 0.05).p_value < 0.05 for hits in samples]),
    }
    assert rejected["rate"] < 0.3
    assert min(rejected["independence"], rejected["both"], rejected["dynamic"]) > 0.6


def test_conditional_coverage_is_the_likelihood_ratio_counted_by_hand():
    hits = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0], bool)
    # Of 8 rows after none 2 are hits, of 3 after a hit 1 is: n00 = 6, n01 = 2, n10 = 2, n11 = 1.
    free = 6 * np.log(6 / 8) + 2 * np.log(2 / 8) + 2 * np.log(2 / 3) + np.log(1 / 3)
    assert christoffersen(hits, 0.1).statistic == pytest.approx(2 * (free - 3 * np.log(0.1) - 8 * np.log(0.9)))
    both = independence(hits).statistic + kupiec(hits[1:], 0.1).statistic
    assert christoffersen(hits, 0.1).statistic == pytest.approx(both)


def test_the_dynamic_quantile_test_is_the_regression_it_says(random):
    hits = random.random(600) < 0.05
    quantile = random.normal(-2, 0.3, 600)
    demeaned = hits - 0.05
    design = np.column_stack([np.ones(596), *(demeaned[4 - lag : 600 - lag] for lag in range(1, 5)), quantile[4:]])
    fit = sm.OLS(demeaned[4:], design).fit()
    expected = fit.params @ design.T @ design @ fit.params / (0.05 * 0.95)
    result = dynamic_quantile(hits, 0.05, quantile)
    assert result.statistic == pytest.approx(expected, rel=1e-9)
    assert result.degrees == 6
    assert result.p_value == pytest.approx(stats.chi2.sf(expected, 6))


def test_a_forecast_that_knows_no_regimes_fails_where_its_rate_is_right(random):
    volatility = np.where(np.arange(4000) % 400 < 200, 0.01, 0.03)
    returns = volatility * random.standard_normal(4000)
    flat = np.full(4000, np.quantile(returns, 0.05))
    knowing = return_quantile(volatility**2, stats.norm.ppf(0.05))
    assert kupiec(hits_of(returns, flat), 0.05).p_value > 0.5
    assert dynamic_quantile(hits_of(returns, flat), 0.05).p_value < 1e-4
    assert dynamic_quantile(hits_of(returns, knowing), 0.05).p_value > 0.05
    assert hits_of(np.array([np.nan, -1.0]), np.zeros(2)).tolist() == [True]
