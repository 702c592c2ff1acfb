import numpy as np
import pytest
from bar_panels import DAY_NS, START_NS, simulated_panel

from schemas.errors import SettingsError
from triton_models.evaluation.folds import Fold, Folds, day_ns


def test_refits_are_at_the_start_of_months_an_embargo_behind_what_they_learned():
    #  10-31 (end of training) 11-05 ... 12-01 ... 2024-01-01 ... 01-10
    folds = list(Folds(day_ns("2023-11-01"), day_ns("2023-11-05"), day_ns("2024-01-10"), embargo_ns=DAY_NS))
    assert [fold.from_ns for fold in folds] == [day_ns(day) for day in ("2023-11-05", "2023-12-01", "2024-01-01")]
    assert [fold.until_ns for fold in folds] == [day_ns(day) for day in ("2023-12-01", "2024-01-01", "2024-01-10")]
    assert [fold.train_until_ns for fold in folds] == [
        day_ns(day) for day in ("2023-11-01", "2023-11-30", "2023-12-31")
    ]


def test_the_embargo_holds_for_the_first_fit_too():
    (fold,) = Folds(day_ns("2023-11-05"), day_ns("2023-11-05"), day_ns("2023-11-20"), embargo_ns=2 * DAY_NS)
    assert fold.train_until_ns == day_ns("2023-11-03")


@pytest.mark.parametrize(
    "days", [("2023-11-06", "2023-11-05", "2023-12-01"), ("2023-11-01", "2023-11-05", "2023-11-05")]
)
def test_times_out_of_order_are_refused(days):
    with pytest.raises(SettingsError, match="end of training <= start < end"):
        Folds(*map(day_ns, days))


def test_what_is_learned_from_ends_before_the_fit():
    panel = simulated_panel(days=20, instruments=2, held_out=["venue:COIN1-USDT"])
    until = START_NS + 12 * DAY_NS
    fold = Fold(until, until + DAY_NS, until + 5 * DAY_NS)
    times = panel.row_time_ns[fold.learned(panel, "1d")]
    assert times.max() == until - DAY_NS
    assert panel.row_time_ns[fold.learned(panel, "5m")].max() == until - DAY_NS // 288
    assert set(panel.instrument[fold.learned(panel, "1h")]) == {0}
    assert set(panel.instrument[fold.forecast(panel)]) == {0, 1}


def test_weights_halve_in_a_half_life():
    panel = simulated_panel(days=8, instruments=1)
    fold = Fold(START_NS + 8 * DAY_NS, START_NS + 9 * DAY_NS, START_NS + 10 * DAY_NS)
    weights = fold.weights(panel)
    assert weights[-1] == 1.0
    assert weights[-1 - 5 * 288] == pytest.approx(0.5 ** (5 / 90))
    assert np.all(np.diff(weights) > 0)


def test_a_date_that_is_none_is_told():
    with pytest.raises(SettingsError, match="expected a date as 2024-02-29, got '2024-02-30'"):
        day_ns("2024-02-30")
