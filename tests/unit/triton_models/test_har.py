import msgspec
import numpy as np
import pytest

from schemas.errors import StateError
from schemas.rules import DAY_NS, MINUTE_NS
from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.dataset import windows_of
from triton_models.fitting import fit_har
from triton_models.har import FLOOR_PER_NS, forecast, last_row
from triton_models.terms import Reads

WINDOWS = ("bar_realised_variance_5m", "bar_realised_variance_1h", "bar_realised_variance_1d")
READS = Reads(variances=WINDOWS)


@pytest.fixture
def variances(table):
    return np.stack([table.column(name) for name in WINDOWS], axis=-1)


def named(variances, windows=WINDOWS):
    return {name: np.ascontiguousarray(column) for name, column in zip(windows, variances.T, strict=True)}


def fit(variances, times, targets):
    return fit_har(READS, named(variances), times, targets)


def test_windows_are_found_by_name_shortest_first():
    assert windows_of(["spread_1m", "realised_variance_1d", "realised_variance_15m", "hour"]) == (
        "realised_variance_15m",
        "realised_variance_1d",
    )


def test_it_finds_the_coefficients_that_made_the_data():
    random = np.random.default_rng(0)
    past = random.normal(-10, 1, (5000, 2))
    ahead = -1 + 0.3 * past[:, 0] + 0.6 * past[:, 1] + random.normal(0, 0.2, 5000)
    times = np.arange(5000) * 5 * MINUTE_NS
    windows = WINDOWS[:2]
    reads = Reads(variances=windows, season=False)
    har = fit_har(reads, named(np.exp(past), windows), times, {"1h": np.exp(ahead)})
    assert np.allclose(har.coefficients[1][0][1:3], (0.3, 0.6), atol=0.01)
    assert abs(har.smearing[1][0] - 0.2**2 / 2) < 0.002
    offsets = np.array(har.residuals[1][0])
    assert np.allclose(offsets, 0.2 * np.array([-1.645, -1.282, -0.674, 0, 0.674, 1.282, 1.645]), atol=0.02)


def test_its_mean_is_unbiased_and_its_quantiles_cover_where_it_was_fitted(fitted, table, variances):
    for index, horizon in enumerate(fitted.horizons):
        ahead = table.ahead(horizon)
        mean, quantiles = forecast(fitted, named(variances), table.row_time_ns).levels()
        known = np.isfinite(ahead) & np.isfinite(variances).all(-1)
        known &= table.row_time_ns % (HORIZON_NS[horizon] // 24) == 0
        assert abs((ahead[known] / mean[known, index]).mean() - 1) < 0.01
        below = (ahead[known, None] <= quantiles[known, index]).mean(0)
        assert np.abs(below - QUANTILES).max() < 0.02


@pytest.mark.parametrize("known", [1, 2, 3])
def test_a_forecast_needs_the_shortest_window_only(fitted, table, variances, known):
    masked = variances.copy()
    masked[:, known:] = np.nan
    rows = np.isfinite(variances).all(-1)
    result = forecast(fitted, named(masked[rows]), table.row_time_ns[rows])
    assert np.isfinite(result.median).all()
    error = np.log(table.ahead("1h")[rows]) - result.median[:, 1]
    assert abs(np.nanmedian(error)) < 0.25


def test_with_more_windows_it_is_better(fitted, table, variances):
    rows = np.isfinite(variances).all(-1) & np.isfinite(table.ahead("1h"))
    target = np.log(table.ahead("1h")[rows])
    losses = []
    for known in (1, 2, 3):
        masked = variances[rows].copy()
        masked[:, known:] = np.nan
        losses.append(((target - forecast(fitted, named(masked), table.row_time_ns[rows]).median[:, 1]) ** 2).mean())
    assert losses[0] > losses[1] > losses[2] * 0.99


def test_a_window_behind_a_gap_is_not_read(fitted):
    # window   5m  1h  1d
    # known     x   -   x    the fit for one window
    gap, short = np.array([[1e-6, np.nan, 1e-4]]), np.array([[1e-6, np.nan, np.nan]])
    found = [forecast(fitted, named(each), np.array([0])).median for each in (gap, short)]
    assert np.array_equal(*found)


def test_no_window_no_forecast(fitted):
    result = forecast(fitted, named(np.array([[np.nan, 1e-6, 1e-5]])), np.array([0]))
    assert np.isnan(result.median).all()
    assert np.isnan(result.levels()[0]).all()


def test_a_window_without_movement_counts_as_the_floor(fitted):
    still, floor = np.array([[0.0, 1e-6, 1e-5]]), np.array([[5 * MINUTE_NS * FLOOR_PER_NS, 1e-6, 1e-5]])
    found = [forecast(fitted, named(each), np.array([0])).median for each in (still, floor)]
    assert np.array_equal(*found)


def test_bits_of_a_row_do_not_depend_on_the_batch(fitted, table, variances):
    whole = forecast(fitted, named(variances), table.row_time_ns)
    for start, stop in ((0, 1), (5, 6), (300, 317), (1000, 1033), (1, 6000)):
        part = forecast(fitted, named(variances[start:stop].copy()), table.row_time_ns[start:stop].copy())
        for name in whole._fields:
            assert getattr(part, name).tobytes() == getattr(whole, name)[start:stop].tobytes()


def test_a_horizon_without_enough_targets_borrows_from_the_next_shorter(table, variances):
    targets = {"1h": table.ahead("1h"), "1d": np.full(len(table), np.nan)}
    har = fit(variances, table.row_time_ns, targets)
    har = msgspec.structs.replace(har, log_factor=(0.0,) * 168)  # no season of the day ahead
    mean, _ = forecast(har, named(variances[500:510]), table.row_time_ns[500:510]).levels()
    assert np.allclose(mean[:, 1], 24 * mean[:, 0])


def test_a_window_never_seen_changes_nothing(table, variances):
    targets = {"1h": table.ahead("1h")}
    blind = variances.copy()
    blind[:, 2] = np.nan
    har = fit(blind, table.row_time_ns, targets)
    rows = slice(500, 510)
    with_it, without = (forecast(har, named(x[rows]), table.row_time_ns[rows]).median for x in (variances, blind))
    assert np.allclose(with_it, without)


def test_the_season_of_the_day_is_learnt_from_three_days_on(table, variances):
    targets = {"1h": table.ahead("1h")}
    har = fit(variances, table.row_time_ns, targets)
    short = table.row_time_ns < table.row_time_ns.min() + 2 * DAY_NS
    brief = fit(variances[short], table.row_time_ns[short], {"1h": targets["1h"][short]})
    assert np.ptp(har.log_factor) > 0.3  # it was made with 0.6 sin(2 pi t)
    assert har.log_factor[:24] == har.log_factor[24:48]  # ten days do not tell those of the week apart
    assert har.coefficients[2][0][-1] > 0.1
    assert not any(brief.log_factor)


def test_too_few_rows_is_an_error(variances):
    with pytest.raises(StateError, match="log-HAR needs 200 rows whose variance 1h ahead is known"):
        fit(variances[:100], np.arange(100), {"1h": np.ones(100)})


def test_what_is_read_of_a_tensor_is_its_last_row_where_it_is_known():
    features = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    mask = np.ones_like(features)
    mask[1, -1, 0] = 0
    found = last_row(("a", "b"), features, mask, ["b", "a"])
    assert found["b"].tolist() == [5.0, 11.0]
    assert np.array_equal(found["a"], [4.0, np.nan], equal_nan=True)
