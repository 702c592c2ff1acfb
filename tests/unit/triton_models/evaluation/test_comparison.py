import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import MCS
from scipy import stats

from schemas.errors import StateError
from triton_models.evaluation.comparison import confidence_set, diebold_mariano, long_run_variance, sign_test


@pytest.fixture
def random():
    return np.random.default_rng(11)


def moving_average(random, shape, order):
    """Return noise that is the sum of the last `order` + 1 shocks, as errors of overlapping forecasts are."""
    shocks = random.normal(size=(*shape[:-1], shape[-1] + order))
    return sum(shocks[..., order - lag : order - lag + shape[-1]] for lag in range(order + 1))


@pytest.mark.parametrize("lags", [0, 1, 36])
def test_the_statistic_is_that_of_a_regression_on_a_constant_with_hac_errors(random, lags):
    loss = moving_average(random, (2, 900), 5) ** 2
    difference = loss[0] - loss[1]
    fit = sm.OLS(difference, np.ones(900)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    result = diebold_mariano(loss[0], loss[1], lags=lags)
    assert abs(result.difference - fit.params[0]) < 1e-12
    assert abs(result.statistic / np.sqrt((900 - 1) / 900) - fit.tvalues[0]) < 1e-8


def test_the_small_sample_factor_is_that_of_harvey_leybourne_and_newbold(random):
    loss = random.normal(size=(2, 40)) ** 2
    one, four = (diebold_mariano(loss[0], loss[1], lags=3, steps=steps) for steps in (1, 4))
    # sqrt((40 + 1 - 2 * 4 + 4 * 3 / 40) / 40) against sqrt(39 / 40)
    assert abs(four.statistic / one.statistic - np.sqrt(33.3 / 39)) < 1e-12
    assert abs(four.p_value - 2 * stats.t.sf(abs(four.statistic), 39)) < 1e-12


def test_equal_skill_is_rejected_as_often_as_stated(random):
    first, second = moving_average(random, (2, 1500, 400), 3) ** 2
    p_values = [diebold_mariano(a, b, lags=12, steps=4).p_value for a, b in zip(first, second, strict=True)]
    assert 0.03 < np.mean(np.array(p_values) < 0.05) < 0.08


def test_errors_taken_as_independent_would_reject_far_too_often(random):
    first, second = moving_average(random, (2, 500, 400), 11) ** 2
    naive = [diebold_mariano(a, b, lags=0).p_value for a, b in zip(first, second, strict=True)]
    assert np.mean(np.array(naive) < 0.05) > 0.3


def test_a_better_forecast_is_found_and_its_side_told(random):
    errors = random.normal(size=(2, 2000))
    result = diebold_mariano(errors[0] ** 2, (1.2 * errors[1]) ** 2, lags=5)
    assert result.better()
    assert not result.worse()
    other = diebold_mariano((1.2 * errors[1]) ** 2, errors[0] ** 2, lags=5)
    assert other.worse()
    assert other.p_value == result.p_value


def test_a_gap_does_not_move_rows_together(random):
    series = moving_average(random, (3000,), 8)
    gap = series.copy()
    gap[::2] = np.nan
    # Half the rows of a series whose neighbours are alike: their autocovariances are those of even lags.
    rows = series[1::2] - series[1::2].mean()
    even = [(rows[lag:] * rows[: len(rows) - lag]).sum() / len(rows) for lag in range(5)]
    expected = even[0] + 2 * sum((1 - 2 * lag / 9) * even[lag] for lag in range(1, 5))
    assert abs(long_run_variance(gap, 8) - expected) < 1e-9


def test_too_few_lags_are_refused_and_no_difference_is_none():
    loss = np.ones(50)
    with pytest.raises(StateError, match="overlap over 11 lags, got lags=3"):
        diebold_mariano(loss, loss, lags=3, steps=12)
    assert diebold_mariano(loss, loss, lags=3).p_value == 1
    assert np.isnan(diebold_mariano(loss[:2], loss[:2], lags=3).p_value)


def test_the_confidence_set_is_that_of_arch(random):
    losses = moving_average(random, (6, 700), 4).T ** 2 * np.array([1, 1.05, 1.1, 1.4, 1.0, 2.0])
    names = ["a", "b", "c", "d", "e", "f"]
    ours = confidence_set(losses, names, block=30, repetitions=400, seed=3)
    theirs = MCS(losses, size=0.1, reps=400, block_size=30, bootstrap="circular", seed=np.random.default_rng(3))
    theirs.compute()
    expected = theirs.pvalues["Pvalue"]
    assert {name: expected[index] for index, name in enumerate(names)} == pytest.approx(ours, abs=1e-12)
    assert ours["f"] < 0.1 < ours["a"]


def test_the_same_forecast_twice_stays_with_itself(random):
    one = random.normal(size=400) ** 2
    result = confidence_set(np.stack([one, one, one + 0.5], -1), ["a", "twin", "worse"], block=10)
    assert result["a"] > 0.1
    assert result["twin"] > 0.1
    assert result["worse"] < 0.1


def test_rows_that_one_model_does_not_know_are_left_out(random):
    losses = random.normal(size=(300, 3)) ** 2
    holes = np.insert(losses, 150, np.nan, axis=0)
    names = ["a", "b", "c"]
    assert confidence_set(holes, names, block=10) == confidence_set(losses, names, block=10)
    with pytest.raises(StateError, match="two blocks of 200 rows, got 300"):
        confidence_set(losses, names, block=200)


def test_signs_are_counted_as_coins():
    assert sign_test(np.array([-1.0, -2, -3, -4, -5, -6, 7, 8])) == pytest.approx(stats.binomtest(6, 8).pvalue)
    assert sign_test(np.array([0.0, np.nan])) == 1
