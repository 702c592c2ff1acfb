import numpy as np
import pytest
import statsmodels.api as sm
from bar_panels import DAY_NS, START_NS, panel_of_series, simulated_columns, simulated_panel

from schemas.tensors import HORIZON_NS
from triton_models.baselines import har
from triton_models.baselines.seasons import profile_of
from triton_models.evaluation.definitions import BARS_AHEAD
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.scores import qlike
from triton_models.regression import gamma, least_squares
from triton_models.seasons import hour_of_week, log_mean_factor

FOLD = Fold(START_NS + 45 * DAY_NS, START_NS + 46 * DAY_NS, START_NS + 55 * DAY_NS)
DESIGNS = {"plain": har.plain, "seas": har.seasonal, "ref": har.reference, "harq": har.quarticity}


@pytest.fixture(scope="module")
def panel():
    return simulated_panel(days=58, instruments=2, seed=5)


def _rows(panel, horizon, design):
    """Return the regressors of all usable rows, which of them a fit learns from, and what they learn."""
    columns = design(panel, FOLD, horizon)
    usable = panel.origins(horizon) & np.isfinite(columns).all(0)
    matrix = sm.add_constant(np.stack(columns, -1)[usable], has_constant="add")
    learned = FOLD.learned(panel, horizon)[usable]
    variance = panel.target[horizon][usable][learned] / BARS_AHEAD[horizon]
    return usable, matrix, learned, variance, FOLD.weights(panel)[usable][learned]


@pytest.mark.parametrize("horizon", ["5m", "1h", "1d"])
@pytest.mark.parametrize("name", DESIGNS)
def test_coefficients_and_forecasts_are_those_of_statsmodels_on_the_same_rows(panel, name, horizon):
    usable, matrix, learned, variance, weights = _rows(panel, horizon, DESIGNS[name])
    theirs = sm.WLS(np.log(variance), matrix[learned], weights=weights).fit()
    ours = least_squares(matrix[learned], np.log(variance), weights)
    np.testing.assert_allclose(ours, theirs.params, rtol=1e-8, atol=1e-8)
    level = har.fit_level(panel, FOLD, horizon, DESIGNS[name])
    np.testing.assert_allclose(level[usable], theirs.predict(matrix) + np.log(BARS_AHEAD[horizon]), rtol=0, atol=1e-8)


def test_the_fit_by_qlike_is_the_gamma_regression_of_statsmodels(panel):
    _, matrix, learned, variance, weights = _rows(panel, "1h", har.reference)
    family = sm.families.Gamma(sm.families.links.Log())
    theirs = sm.GLM(variance, matrix[learned], family=family, var_weights=weights).fit(tol=1e-12, maxiter=40)
    start = least_squares(matrix[learned], np.log(variance), weights)
    ours = gamma(matrix[learned], variance, weights, start, clip=np.inf)
    np.testing.assert_allclose(ours, theirs.params, rtol=1e-7, atol=1e-8)


def test_one_monstrous_target_moves_a_clipped_fit_little():
    random = np.random.default_rng(0)
    x = np.stack([np.ones(4000), random.standard_normal(4000)], -1)
    variance = np.exp(x @ [-10.0, 0.5]) * random.gamma(2, 0.5, 4000)
    spoilt = variance.copy()
    spoilt[7] *= 1e5
    start, ones = np.array([-10.0, 0.5]), np.ones(4000)
    calm = gamma(x, variance, ones, start)
    assert np.abs(gamma(x, spoilt, ones, start) - calm).max() < 0.005
    assert np.abs(gamma(x, spoilt, ones, start, clip=1e3) - calm).max() > 0.05


def test_the_profile_finds_the_seasons_and_its_mean_factor_is_one(panel):
    columns = panel.columns
    bar = np.log(columns["bar_realised_variance_5m"] / columns["bar_realised_variance_7d"] * har.WEEK_BARS)
    log_factor = profile_of(panel, FOLD, bar)
    assert np.exp(log_factor).mean() == pytest.approx(1)
    by_hour = log_factor.reshape(7, 24).mean(0)
    # The simulated season is 0.6 sin(2 pi t): greatest at 6 h, least at 18 h, seen through noise with memory.
    assert by_hour[6] - by_hour[18] == pytest.approx(1.2, abs=0.4)


def test_the_profile_ahead_is_the_mean_of_the_hours_that_come():
    factor = 1 + np.arange(168) / 168
    # 00:30 for an hour: half of the first hour, half of the second.
    end = np.array([START_NS + 90 * 60 * 10**9])
    hours = hour_of_week(np.array([START_NS, START_NS + 3600 * 10**9]))
    assert log_mean_factor(np.log(factor), end, HORIZON_NS["1h"]) == pytest.approx(np.log(factor[hours].mean()))
    # The last bar of an hour, and a week, whose mean factor does not depend on where it ends.
    bar = np.array([START_NS + 3600 * 10**9])
    assert log_mean_factor(np.log(factor), bar, 300 * 10**9) == pytest.approx(np.log(factor[hours[0]]))
    assert log_mean_factor(np.log(factor), end, 7 * DAY_NS) == pytest.approx(np.log(factor.mean()))


def test_without_a_season_its_term_is_zero_and_a_column_of_rounding_has_no_coefficient():
    times = START_NS + np.arange(4000) * 10**9
    assert not log_mean_factor(np.zeros(168), times, 60 * 10**9).any()
    random = np.random.default_rng(1)
    told, noise = random.standard_normal(4000), 1e-13 * random.standard_normal(4000)
    design = np.stack([np.ones(4000), told, noise], axis=-1)
    target = 0.5 * told + random.standard_normal(4000)
    found = least_squares(design, target, np.ones(4000))
    assert found[2] == 0
    assert gamma(design, np.exp(target), np.ones(4000), found)[2] == 0
    assert found[1] == pytest.approx(0.5, abs=0.05)


def test_what_each_log_har_adds_is_worth_it_on_a_market_that_has_it(panel):
    losses = {}
    for expert in har.experts():
        found = expert.forecasts(panel, [FOLD], "1h")
        losses[expert.name] = np.nanmean(qlike(panel.target["1h"], found.mean))
    assert losses["har-seas"] < 0.95 * losses["har-plain"]
    assert losses["har-ref"] < 0.98 * losses["har-seas"]


def test_a_day_without_bars_does_not_silence_the_reference_for_a_week():
    _, series = simulated_columns(days=58, instruments=2, seed=5)
    times = START_NS + DAY_NS // 288 * np.arange(1, 58 * 288 + 1)
    gap = slice(40 * 288, 41 * 288)
    for returns, ranges, _ in series.values():
        returns[gap] *= 0.01  # the close is carried on ...
        ranges[gap] = np.nan  # ... and no bar has a range
    panel = panel_of_series(times, series)
    level = har.reference_level(panel, FOLD, "1h")
    assert np.isnan(level[gap]).all()
    later = panel.origins("1h")[42 * 288 : 43 * 288]
    assert np.isfinite(level[42 * 288 : 43 * 288][later]).all()
