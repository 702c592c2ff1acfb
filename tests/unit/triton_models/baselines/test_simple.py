import numpy as np
import pytest
from bar_panels import DAY_NS, START_NS, simulated_panel

from triton_models.baselines import boosting, ewma, naive
from triton_models.baselines.all import experts
from triton_models.baselines.corrected import correction_of
from triton_models.baselines.har import reference_level
from triton_models.evaluation.definitions import CORRECTION_NS
from triton_models.evaluation.folds import Fold

FOLD = Fold(START_NS + 45 * DAY_NS, START_NS + 46 * DAY_NS, START_NS + 55 * DAY_NS)


@pytest.fixture(scope="module")
def panel():
    return simulated_panel(days=58, instruments=2, seed=1, held_out=["venue:COIN1-USDT"])


def test_a_random_walk_says_what_was(panel):
    level = naive.random_walk(panel, FOLD, "1h")
    known = np.isfinite(level)
    past = panel.columns["bar_realised_variance_1h"][known]
    assert (np.exp(level[known]) >= past * (1 - 1e-12)).all()
    assert np.mean(np.isclose(np.exp(level[known]), past)) > 0.99


def test_seasonal_naive_is_the_mean_of_the_same_hours_of_seven_days(panel):
    level = naive.seasonal_naive(panel, FOLD, "1h")
    row = 20 * 288
    hour = panel.columns["bar_realised_variance_1h"]
    # The hour behind this row, a day before: its window ends 23 h before the row.
    assert np.exp(level[row]) == pytest.approx(np.mean([hour[row + 12 - 288 * day] for day in range(1, 8)]))


def test_ewma_is_its_recursion_and_starts_anew_with_each_instrument(panel):
    values = panel.columns["bar_realised_variance_5m"].copy()
    values[5] = np.nan
    found = ewma.ewma(panel, 6.0, values)
    decay, expected = 0.5 ** (1 / 6), values[0]
    for value in values[1:40]:
        expected = expected if np.isnan(value) else decay * expected + (1 - decay) * value
    assert found[39] == pytest.approx(expected)
    assert np.isnan(found[5])
    first = int(np.argmax(panel.instrument == 1))
    assert found[first] == values[first]


def test_a_correction_is_half_by_the_instrument_and_half_by_all():
    panel = simulated_panel(days=58, instruments=2, seed=1)
    rows = FOLD.learned(panel, "5m") & FOLD.recent(panel)
    # Outcomes are three times the level of one instrument, and the level of the other.
    level = np.log(panel.target["5m"]) - np.where(panel.instrument == 0, np.log(3.0), 0.0)
    found = correction_of(panel, FOLD, "5m", level)
    of_all = (3.0 * (panel.instrument[rows] == 0) + (panel.instrument[rows] == 1)).mean()
    assert np.exp(found.mean) == pytest.approx([(3 + of_all) / 2, (1 + of_all) / 2])
    assert found.quantiles[0, 0] == pytest.approx(0)
    assert found.quantiles[0, -1] == pytest.approx(np.log(3.0))


def test_an_instrument_held_out_is_corrected_by_the_others_alone(panel):
    level = np.log(panel.target["5m"]) - np.where(panel.instrument == 0, np.log(3.0), 5.0)
    assert np.exp(correction_of(panel, FOLD, "5m", level).mean) == pytest.approx([3.0, 3.0])


def test_boosting_is_corrected_by_residuals_of_rows_that_it_did_not_see(monkeypatch):
    panel = simulated_panel(days=80, instruments=2, seed=1)
    fold = Fold(START_NS + 78 * DAY_NS, START_NS + 79 * DAY_NS, START_NS + 80 * DAY_NS)
    # 78 days: the residuals of the last 60 are of a fit on the first 18, the forecast is of a fit on all.
    horizon, border = "5m", fold.train_until_ns - CORRECTION_NS
    seen, boosted = [], boosting._boosted
    monkeypatch.setattr(boosting, "_boosted", lambda *where: seen.append(boosted(*where)) or seen[-1])
    level = boosting.level(panel, fold, horizon)
    of_first, of_all = seen
    known = np.isfinite(of_first) & np.isfinite(of_all)
    corrected = known & (panel.row_time_ns > border) & (panel.row_time_ns <= fold.train_until_ns)
    np.testing.assert_array_equal(level[corrected], of_first[corrected])
    later = known & (panel.row_time_ns > fold.train_until_ns)
    np.testing.assert_array_equal(level[later], of_all[later])
    assert (of_first != of_all)[known].mean() > 0.9
    assert (of_all != reference_level(panel, fold, horizon))[known].mean() > 0.9


def test_boosting_is_its_base_where_two_leaves_are_too_many(panel):
    np.testing.assert_array_equal(boosting.level(panel, FOLD, "1d"), reference_level(panel, FOLD, "1d"))


def test_every_baseline_has_a_name_of_its_own():
    names = [expert.name for expert in experts()]
    assert len(names) == len(set(names)) == 12
