"""The log-HAR that learns every day: the least squares that it should be, and nothing learned too early."""

import numpy as np
import pytest
import statsmodels.api as sm
from bar_panels import DAY_NS, START_NS, simulated_panel

from schemas.tensors import HORIZON_NS
from triton_models.baselines.har import reference
from triton_models.baselines.recursive import HALF_LIFE_NS, RIDGE, Sums, level
from triton_models.evaluation.definitions import BARS_AHEAD
from triton_models.evaluation.folds import Folds

FOLDS = Folds(START_NS + 52 * DAY_NS, START_NS + 53 * DAY_NS, START_NS + 58 * DAY_NS)


def test_sums_that_fade_and_grow_are_weighted_least_squares():
    random = np.random.default_rng(3)
    design, target = random.standard_normal((600, 5)), random.standard_normal(600)
    time_ns = np.arange(600) * (DAY_NS // 20)
    sums = Sums.nothing(5)
    for day in range(1, 31):
        new = slice(20 * (day - 1), 20 * day)
        sums = sums.fade(DAY_NS).add(design[new], target[new], day * DAY_NS - time_ns[new])
    weights = np.exp2(-(30 * DAY_NS - time_ns) / HALF_LIFE_NS)
    np.testing.assert_allclose(sums.coefficients(), sm.WLS(target, design, weights).fit().params, rtol=0, atol=1e-7)


def test_a_regressor_that_is_always_zero_has_no_coefficient():
    sums = Sums.nothing(2).add(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([1.0, 2.0]), np.zeros(2, np.int64))
    np.testing.assert_allclose(sums.coefficients(), [1, 0], atol=1e-6)


@pytest.mark.parametrize("horizon", ["1h", "1d"])
def test_a_day_is_forecast_by_what_had_ended_when_it_began(horizon):
    panel = simulated_panel(days=60, instruments=2, seed=5)
    fold = next(iter(FOLDS))
    found = level(panel, fold, horizon)
    day_ns = fold.from_ns + 3 * DAY_NS
    day_ns -= (day_ns - fold.train_until_ns) % DAY_NS
    columns = reference(panel, fold, horizon)
    known = panel.origins(horizon) & np.isfinite(columns).all(0)
    design = np.stack([np.ones(len(panel)), *columns], axis=-1)
    learned = known & np.isfinite(panel.target[horizon]) & (panel.row_time_ns + HORIZON_NS[horizon] <= day_ns)
    target = np.log(panel.target[horizon][learned] / BARS_AHEAD[horizon])
    weights = np.exp2(-(day_ns - panel.row_time_ns[learned]) / HALF_LIFE_NS)
    # A ridge is as many rows of one regressor each: neighbouring windows are nearly the same number.
    rows = design[learned] * np.sqrt(weights)[:, None]
    rows = np.concatenate([rows, np.diag(np.sqrt(RIDGE * np.square(rows).sum(0)))])
    padded = np.concatenate([target * np.sqrt(weights), np.zeros(design.shape[1])])
    fit = sm.OLS(padded, rows).fit()
    day = known & (panel.row_time_ns >= day_ns) & (panel.row_time_ns < day_ns + DAY_NS)
    expected = design[day] @ fit.params + np.log(BARS_AHEAD[horizon])
    np.testing.assert_allclose(found[day], expected, rtol=0, atol=1e-6)
    before = panel.row_time_ns < fold.from_ns - 61 * DAY_NS
    assert not np.isfinite(found[before]).any()
