import numpy as np
import pytest
from scipy import stats

from schemas.errors import StateError
from schemas.rules import DAY_NS, HOUR_NS, MINUTE_NS
from schemas.tensors import QUANTILES
from triton_models.online.conformal import LARGEST_SHIFT, PACE, Calibrator, Rates, Shifts
from triton_models.online.panel import calibrate

LEVELS = np.array(QUANTILES)
NORMAL = stats.norm.ppf(LEVELS)
STEP_NS = 5 * MINUTE_NS


@pytest.fixture
def random():
    return np.random.default_rng(17)


def covered(y, quantiles):
    return ((y >= quantiles[..., 0]) & (y <= quantiles[..., -1])).astype(float)


def tracked(y, quantiles, regime, rates, delay=1):
    """Return the quantiles published for one instrument, each outcome known `delay` rows later."""
    times = np.arange(len(y)) * STEP_NS
    result = calibrate(times, delay * STEP_NS, quantiles[:, None], regime[:, None], y[:, None], rates)
    return result.quantiles[:, 0]


def test_quantiles_that_are_wrong_in_place_and_width_become_right(random):
    y = random.normal(-9, 2, 30_000)
    wrong = np.broadcast_to(-10 + 0.3 * NORMAL, (30_000, 7))
    rates = Rates(shared=0.05, regime=0.0)
    published = tracked(y, wrong, np.zeros(30_000, int), rates)[10_000:]
    shares = (y[10_000:, None] < published).mean(0)
    assert np.abs(shares - LEVELS).max() < 0.01
    assert abs(covered(y, wrong).mean() - 0.9) > 0.5


def test_each_regime_is_covered_where_forecasts_know_none(random):
    regime = (np.arange(40_000) // 500) % 2
    y = random.normal(0, np.where(regime == 1, 2.0, 0.7))
    flat = np.broadcast_to(1.3 * NORMAL, (40_000, 7))
    both = tracked(y, flat, regime, Rates(shared=0.02, regime=0.02))
    shared = tracked(y, flat, regime, Rates(shared=0.02, regime=0.0))
    half = slice(10_000, None)
    for state in (0, 1):
        rows = regime[half] == state
        assert abs(covered(y[half], both[half])[rows].mean() - 0.9) < 0.01
        assert abs(covered(y[half], shared[half])[rows].mean() - 0.9) > 0.03


def test_outcomes_that_overlap_are_covered_nine_times_in_ten_in_each_regime(random):
    # An hour ahead every five minutes: twelve outcomes share their time, and each is known twelve origins late.
    rows, coins, delay = 15_000, 16, 12
    regime = np.repeat((random.random((rows // 300, coins)) < 0.4).astype(int), 300, axis=0)
    spread = np.where(regime == 1, 2.0, 1.5)
    steps = np.exp(spread * random.normal(size=(rows, coins)) - spread**2 / 2)
    total = np.cumsum(np.concatenate([np.zeros((1, coins)), steps]), axis=0)
    y = np.full((rows, coins), np.nan)
    y[:-delay] = np.log((total[delay:] - total[:-delay])[1:])
    forecasts = np.broadcast_to(np.log(12) + 0.45 * NORMAL, (rows, coins, 7))  # too narrow, for wild the more so
    times = np.arange(rows) * STEP_NS
    made = calibrate(times, HOUR_NS, forecasts, regime, y, Rates.of("1h", STEP_NS)).quantiles
    scored = slice(rows // 2, rows - delay)
    for state in (0, 1):
        rows_of = regime[scored] == state
        assert 0.89 < covered(y[scored], made[scored])[rows_of].mean() < 0.91
        assert covered(y[scored], forecasts[scored])[rows_of].mean() < 0.87


@pytest.mark.parametrize(("delay", "rate"), [(1, 0.02), (12, 0.02), (288, 0.005)])
def test_the_share_of_misses_is_the_movement_of_the_shift_over_the_rate(random, delay, rate):
    # Angelopoulos, Candes and Tibshirani 2023, proposition 1; it holds whatever the outcomes and however late.
    rows = 6000
    y = np.cumsum(random.normal(0, 0.02, rows)) + np.where(np.arange(rows) > rows // 2, 1.0, -1.0)
    regime = (np.arange(rows) // 700) % 2
    rates = Rates(shared=rate, regime=rate / 2)
    cell = Calibrator(Shifts.empty(), rates)
    made = []
    for row in range(rows):
        if row >= delay:
            cell.learn(made[row - delay], regime[row - delay], y[row - delay])
        made.append(cell.predict(0.2 * NORMAL, regime[row]).tracked)
    learned = slice(0, rows - delay)
    below = y[learned, None] < np.array(made)[learned]
    shifts = cell.shifts()
    assert np.abs(shifts.shared).max() < LARGEST_SHIFT
    assert (below - LEVELS).sum(0) * PACE == pytest.approx(-np.array(shifts.shared) / rate)
    for state in (0, 1):
        rows_of = regime[learned] == state
        assert (below - LEVELS)[rows_of].sum(0) * PACE == pytest.approx(-2 * np.array(shifts.regime[state]) / rate)


def test_what_was_published_is_judged_and_not_what_the_present_shift_would_say():
    rates = Rates(shared=0.1, regime=0.0)
    cell = Calibrator(Shifts.empty(), rates)
    first = cell.predict(NORMAL, np.int64(0))
    for _ in range(3):  # three outcomes of forecasts made with no shift, all far above
        cell.learn(first.tracked, np.int64(0), np.float64(1.7))
    moved = np.array(cell.shifts().shared)
    assert moved == pytest.approx(0.3 * LEVELS * PACE)
    assert cell.predict(NORMAL, np.int64(0)).quantiles[-1] > 1.7
    cell.learn(first.tracked, np.int64(0), np.float64(1.7))
    assert np.array(cell.shifts().shared) == pytest.approx(0.4 * LEVELS * PACE)


def test_tracks_that_cross_are_published_in_order_and_judged_each_by_itself():
    shifts = Shifts(shared=(3.0, 0, 0, 0, 0, 0, -3.0), regime=((0.0,) * 7,) * 3)
    cell = Calibrator(shifts, Rates(shared=0.1, regime=0.0))
    forecast = cell.predict(NORMAL, np.int64(0))
    assert (np.diff(forecast.quantiles) >= 0).all()
    assert (np.diff(forecast.tracked) < 0).any()
    cell.learn(forecast.tracked, np.int64(0), np.float64(0.0))
    after = cell.shifts().shared
    assert after[0] < 3.0
    assert after[-1] > -3.0


def test_a_regime_that_is_not_known_has_the_shared_part_alone():
    shifts = Shifts(shared=(0.5,) * 7, regime=((1.0,) * 7, (2.0,) * 7, (4.0,) * 7))
    cell = Calibrator(shifts, Rates(shared=0.1, regime=0.1))
    at = {regime: cell.predict(NORMAL, np.int64(regime)).tracked - NORMAL for regime in (-1, 0, 1, 2)}
    assert {regime: round(float(move[0]), 9) for regime, move in at.items()} == {-1: 0.5, 0: 1.5, 1: 2.5, 2: 4.5}
    cell.learn(NORMAL, np.int64(-1), np.float64(0.0))
    assert cell.shifts().regime == shifts.regime
    assert cell.shifts().shared != shifts.shared


def test_shifts_stay_bounded_on_broken_data():
    cell = Calibrator(Shifts.empty(), Rates(shared=1.0, regime=1.0))
    for _ in range(200):
        cell.learn(cell.predict(NORMAL, np.int64(1)).tracked, np.int64(1), np.float64(1e6))
    assert max(cell.shifts().shared) == max(max(row) for row in cell.shifts().regime) == LARGEST_SHIFT
    assert len(cell.shifts().encode()) < 1000


def test_rates_follow_how_many_outcomes_overlap():
    every_5m, hourly = Rates.of("1d", STEP_NS), Rates.of("1d", HOUR_NS)
    assert hourly.shared == pytest.approx(12 * every_5m.shared)
    assert Rates.of("5m", STEP_NS).shared == Rates.of("5m", DAY_NS).shared


def test_bytes_that_are_no_state_are_refused():
    with pytest.raises(StateError, match=r"calibration shifts: Expected `array`, got `int`"):
        Shifts.decode(b'{"shared": 1, "regime": []}')
