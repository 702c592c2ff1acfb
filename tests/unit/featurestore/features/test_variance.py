"""Jumps, noise, ranges and seasons against pandas, arch, scipy and plain loops."""

import math

import numpy as np
import pandas as pd
import pytest
from arch.unitroot import VarianceRatio
from scipy.special import gamma

HOUR = 3600


def returns(seed=1, count=HOUR, jump=0.0):
    draw = np.random.default_rng(seed)
    found = draw.normal(0, 1e-4, count) * np.exp(draw.normal(0, 0.3, count))
    found[count // 2] += jump
    return found


MINUTES = 60


def sizes_in_a_row(values, count):
    """Return the sizes of each `count` returns in a row of the window, [n - count + 1, count]."""
    return np.lib.stride_tricks.sliding_window_view(np.abs(values), count)


def test_measures_without_jumps_are_those_of_their_papers(quantities):
    path = returns(count=MINUTES)
    pairs, triples = sizes_in_a_row(path, 2), sizes_in_a_row(path, 3)
    bipower = math.pi / 2 * 60 / 59 * pairs.prod(1).sum()
    median = math.pi / (6 - 4 * math.sqrt(3) + math.pi) * 60 / 58 * (np.median(triples, 1) ** 2).sum()
    minimum = math.pi / (math.pi - 2) * 60 / 59 * (pairs.min(1) ** 2).sum()
    assert quantities.feature("bipower_variation_1h", path) == pytest.approx(bipower)
    assert quantities.feature("jump_variance_1h", path) == pytest.approx(max((path**2).sum() - bipower, 0))
    assert quantities.feature("median_variance_1h", path) == pytest.approx(median)
    assert quantities.feature("minimum_variance_1h", path) == pytest.approx(minimum)


WITHOUT_JUMPS = ("bipower_variation_1h", "median_variance_1h", "minimum_variance_1h")


def test_they_find_the_variance_whether_there_is_a_jump_or_not(quantities):
    draw = np.random.default_rng(7)
    calm = draw.normal(0, 1e-3, (300, MINUTES))
    jumped = calm.copy()
    jumped[:, 30] += 0.02
    for name in WITHOUT_JUMPS:
        before, after = (np.mean([quantities.feature(name, path) for path in paths]) for paths in (calm, jumped))
        assert before == pytest.approx(MINUTES * 1e-6, rel=0.05)
        assert after == pytest.approx(before, rel=0.9 if name == "bipower_variation_1h" else 0.1)


def test_the_jump_statistic_is_that_of_huang_and_tauchen(quantities):
    path = returns(count=MINUTES, jump=0.001)
    path[:8] *= 20  # eight wild minutes, so that the quarticity counts
    mu = 2 ** (2 / 3) * gamma(7 / 6) / gamma(1 / 2)
    total, smooth = (path**2).sum(), math.pi / 2 * 60 / 59 * sizes_in_a_row(path, 2).prod(1).sum()
    quarticity = 60 * 60 / 58 * mu**-3 * (sizes_in_a_row(path, 3).prod(1) ** (4 / 3)).sum()
    assert quarticity > 1.2 * smooth**2
    deviation = math.sqrt((math.pi**2 / 4 + math.pi - 5) / 60 * quarticity / smooth**2)
    assert quantities.feature("jump_statistic_1h", path) == pytest.approx((1 - smooth / total) / deviation)


def rounded_walk(draw, tick=5e-5, seconds=HOUR):
    """Return minutes of an hour of a price without jumps whose ticks are half a basis point: it mostly stands."""
    prices = np.round(np.cumsum(draw.normal(0, 1.25e-5, seconds + 1)) / tick) * tick
    assert (np.diff(prices) == 0).mean() > 0.7
    return np.diff(prices[::60])


def test_ticks_are_no_jumps(quantities):
    draw = np.random.default_rng(5)
    hours = [rounded_walk(draw) for _ in range(100)]
    assert np.nanmean([quantities.feature("jump_flag_1h", path) for path in hours]) <= 0.04
    truth = HOUR * 1.25e-5**2
    for name in WITHOUT_JUMPS:
        assert np.nanmean([quantities.feature(name, path) for path in hours]) == pytest.approx(truth, rel=0.15)
    for path in hours:
        path[30] += 0.002
    assert np.nanmean([quantities.feature("jump_flag_1h", path) for path in hours]) == 1


def test_where_the_price_stands_products_are_not_known(quantities):
    path = np.random.default_rng(6).normal(0, 1e-4, MINUTES)
    path[::4] = 0
    for name in (*WITHOUT_JUMPS, "jump_variance_1h", "jump_statistic_1h", "jump_flag_1h"):
        assert np.isnan(quantities.feature(name, path))


def test_measurement_error_is_root_quarticity_times_variance(quantities, minutes):
    path = returns()
    expected = math.sqrt(HOUR / 3 * (path**4).sum()) * (path**2).sum()
    inputs = [minutes(path**2), minutes(path**4), minutes(np.ones(HOUR))]
    assert quantities.feature("measurement_error_1h", *inputs) == pytest.approx(expected)


def pre_averaged(log_prices, k=10):
    """Hautsch and Podolskij (2013), equation by equation."""
    g = [min(j / k, 1 - j / k) for j in range(k + 1)]
    psi_1 = k * sum((g[j] - g[j - 1]) ** 2 for j in range(1, k + 1))
    psi_2 = sum(each**2 for each in g) / k
    changes = np.diff(log_prices)
    averaged = [sum(g[j] * changes[i + j - 1] for j in range(1, k)) ** 2 for i in range(len(changes) - k + 2)]
    bias = psi_1 / (2 * k * k * psi_2)
    assert len(averaged) == HOUR
    return (sum(averaged) / (k * psi_2) - bias * (changes[-HOUR:] ** 2).sum()) / (1 - bias)


def test_pre_averaged_variance_is_that_of_the_paper_and_sees_through_noise(quantities):
    draw = np.random.default_rng(3)
    path = np.cumsum(draw.normal(0, 1e-4, HOUR + 9))
    noisy = path + draw.normal(0, 1e-4, HOUR + 9)
    squares = quantities.series("squared_averaged_return", np.exp(noisy))[-HOUR:]
    returned = quantities.series("squared_trade_return", np.exp(noisy))[-HOUR:]
    found = quantities.feature("pre_averaged_variance_1h", squares, returned)
    expected = pre_averaged(noisy)
    assert found == pytest.approx(expected, rel=1e-9)
    truth = (np.diff(path) ** 2).sum()
    assert found == pytest.approx(truth, rel=0.15)
    assert (np.diff(noisy) ** 2).sum() > 2.5 * truth


def test_the_signature_ratio_holds_seconds_against_five_minutes(quantities, minutes):
    draw = np.random.default_rng(8)
    index = pd.date_range("2024-01-01", periods=HOUR, freq="s")
    path = pd.Series(np.diff(np.cumsum(draw.normal(0, 1e-4, HOUR + 1)) + draw.normal(0, 1e-4, HOUR + 1)), index)
    expected = (path**2).sum() / (path.resample("5min").sum() ** 2).sum()
    found = quantities.feature("signature_ratio_1d", minutes(path**2), minutes(path))
    assert found == pytest.approx(expected)
    assert found > 2


@pytest.mark.parametrize(("window", "count"), [("15m", 900), ("1h", 60)])
def test_the_variance_ratio_is_that_of_arch(quantities, window, count):
    path = np.random.default_rng(4).normal(1e-6, 1e-4, count)
    path[1:] += 0.3 * path[:-1]
    prices = np.concatenate([[0.0], np.cumsum(path)])
    expected = VarianceRatio(prices, lags=5, trend="c", debiased=False, robust=False, overlap=False).vr
    expected *= (count - 1) / (count - 5)
    assert quantities.feature(f"variance_ratio_{window}", path) == pytest.approx(expected)
    assert abs(expected - 1) > 0.1


def test_the_variance_ratio_of_a_random_walk_is_one_in_short_windows(quantities):
    draw = np.random.default_rng(12)
    found = [quantities.feature("variance_ratio_1h", draw.normal(0, 1e-4, 60)) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(1, abs=0.025)


def bars(seed=2, count=60, steps=200):
    draw = np.random.default_rng(seed)
    path = 100 * np.exp(np.cumsum(draw.normal(0, 1e-4, (count, steps)).ravel())).reshape(count, steps)
    return pd.DataFrame({"open": path[:, 0], "high": path.max(1), "low": path.min(1), "close": path[:, -1]})


def ranged(frame):
    """Return first, highest, lowest, latest price and number of trades of each bar, many where there are any."""
    *prices, close = (frame[name] for name in ("open", "high", "low", "close"))
    return [*prices, close.ffill(), np.where(np.isnan(close), 0, 60.0)]


def opened_before(frame):
    """Return log high, low and close of bars over the last price before each."""
    before = frame["close"].ffill().shift().fillna(frame["open"])
    high, low = np.fmax(frame["high"], before), np.fmin(frame["low"], before)
    return [np.log(each / before).fillna(0) for each in (high, low, frame["close"].ffill())]


def test_rogers_and_satchell_adds_over_bars_and_leaves_silent_ones_out(quantities):
    frame = bars()
    frame.iloc[7:9] = np.nan
    high, low, close = opened_before(frame)
    expected = (high * (high - close) + low * (low - close)).sum()
    assert quantities.feature("rogers_satchell_variance_1h", *ranged(frame)) == pytest.approx(expected)


def test_rogers_and_satchell_finds_the_variance_of_a_path_with_drift(quantities):
    draw = np.random.default_rng(6)
    path = np.exp(np.cumsum(draw.normal(2e-5, 1e-4, 60 * 4000))).reshape(60, 4000)
    frame = pd.DataFrame({"open": path[:, 0], "high": path.max(1), "low": path.min(1), "close": path[:, -1]})
    found = quantities.feature("rogers_satchell_variance_1h", *ranged(frame))
    assert found == pytest.approx(60 * 4000 * 1e-8, rel=0.15)


def test_yang_and_zhang_is_what_pandas_says(quantities):
    frame = bars(count=168, steps=60)
    high, low, changes = opened_before(frame)
    n = len(frame)
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    inside = (high * (high - changes) + low * (low - changes)).mean()
    expected = n * (k * changes.var() + (1 - k) * inside)
    assert quantities.feature("yang_zhang_variance_7d", *ranged(frame)) == pytest.approx(expected)


def traded(draw, per_bar, count, steps=60):
    """Return bars of a price of known variance (1e-8 a step) that is seen `per_bar` times a bar in the mean."""
    prices = 100 * np.exp(np.cumsum(draw.normal(0, 1e-4, (count, steps)))).reshape(count, steps)
    seen = np.where(draw.uniform(size=prices.shape) < per_bar / steps, prices, np.nan)
    frame = pd.DataFrame(seen)
    columns = {"open": frame.bfill(axis=1)[0], "high": frame.max(axis=1), "low": frame.min(axis=1)}
    return [*columns.values(), frame.ffill(axis=1)[steps - 1].ffill().bfill(), frame.notna().sum(axis=1)]


@pytest.mark.parametrize(("name", "count"), [("rogers_satchell_variance_1h", 60), ("yang_zhang_variance_7d", 168)])
def test_ranges_measure_the_price_and_not_how_often_it_trades(quantities, name, count):
    draw = np.random.default_rng(13)
    for per_bar, least in ((60, 0.7), (30, 0.6)):
        found = np.mean([quantities.feature(name, *traded(draw, per_bar, count)) for _ in range(10)])
        assert least < found / (count * 60 * 1e-8) < 1.1
    assert np.isnan(quantities.feature(name, *traded(draw, 3, count)))


@pytest.mark.parametrize("name", ["rogers_satchell_variance_1h", "yang_zhang_variance_7d"])
def test_ranges_are_not_known_before_there_were_trades_for_the_whole_window(quantities, name):
    frame = bars()
    *prices, counts = ranged(frame)
    counts[:5] = np.nan
    assert np.isnan(quantities.feature(name, *prices, counts))


def week(seed=1):
    """Hourly variances with a known time of day, the last day's half as large again."""
    draw = np.random.default_rng(seed)
    day = 1 + 0.5 * np.sin(2 * np.pi * np.arange(24) / 24)
    return np.tile(day, 7), draw


def test_the_seasonal_factor_finds_time_of_day_and_weekday(quantities):
    hours, _ = week()
    assert quantities.feature("seasonal_factor_7d", hours) == pytest.approx(hours[0] / hours.mean())
    hours[:24] *= 2  # the weekday that begins now was twice as wild a week ago
    same_hour = hours.reshape(7, 24)[:, 0].mean()
    expected = same_hour / hours.mean() * hours[:24].mean() / hours.mean()
    assert quantities.feature("seasonal_factor_7d", hours) == pytest.approx(expected)


def test_a_deseasonalised_hour_of_a_plain_season_is_the_mean_hour(quantities):
    hours, _ = week()
    assert quantities.feature("deseasonalised_variance_7d", hours) == pytest.approx(hours[:-1].mean())
    hours[-1] *= 3  # what it is held against does not grow with it
    factor = hours.reshape(7, 24)[:-1, -1].mean() / hours[:-1].mean()
    assert quantities.feature("deseasonalised_variance_7d", hours) == pytest.approx(hours[-1] / factor)


def test_the_minute_of_the_hour_and_the_hours_volume(quantities):
    minute = np.ones(60)
    minute[0] = 4.0
    assert quantities.feature("minute_of_hour_factor_1d", np.tile(minute, 24)) == pytest.approx(4 / minute.mean())
    volumes = np.tile(np.arange(1.0, 25.0), 7)
    volumes[-1] = 48.0
    assert quantities.feature("seasonal_volume_surprise_7d", volumes) == pytest.approx(math.log(2))


def test_a_week_that_is_not_filled_is_not_known(quantities):
    hours, _ = week()
    hours[0] = np.nan
    for name in ("seasonal_factor_7d", "deseasonalised_variance_7d", "realised_variance_7d", "leverage_7d"):
        assert np.isnan(quantities.feature(name, hours))


def test_illiquidity_waits_for_its_window_and_counts_what_traded(quantities):
    prices, values = [100.0, 101.0, 101.0, 99.0], [5e6, 2e6, 0.0, 1e6]
    expected = (math.log(101 / 100) / 2 + math.log(101 / 99)) / 2
    assert quantities.feature("amihud_illiquidity_1h", prices, values) == pytest.approx(expected)
    assert np.isnan(quantities.feature("amihud_illiquidity_1h", [np.nan, *prices], [np.nan, *values]))


def test_decayed_variance_has_the_time_constants_of_a_minute_an_hour_and_a_day(quantities):
    for window, tau, count in (("5m", 60, 300), ("5h", 3600, 300), ("5d", 86_400, 120)):
        step = {"5m": 1, "5h": 60, "5d": 3600}[window]
        ends = 1.7e9 + step * np.arange(count)
        squares, numbers = np.random.default_rng(1).uniform(size=count), np.full(count, step)
        weights = np.exp(-(ends[-1] - ends) / (tau * (count - 1) / count))
        expected = (weights * squares).sum() / (weights * numbers).sum()
        assert quantities.feature(f"decayed_variance_{window}", squares, numbers, ends) == pytest.approx(expected)
