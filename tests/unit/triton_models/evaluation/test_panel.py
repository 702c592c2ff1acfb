import numpy as np
import pyarrow as pa
import pytest
from bar_panels import BAR_NS, DAY_NS, START_NS, simulated_panel

from schemas.errors import StateError
from triton_models.evaluation.definitions import FLOOR_RATIO
from triton_models.evaluation.panel import Panel, panel_of

NEEDED = (
    "bar_realised_variance_5m",
    "bar_realised_variance_1h",
    "bar_realised_variance_1d",
    "bar_realised_variance_7d",
)


def _panel(bars=600, instruments=("a:X", "a:Y"), **columns):
    count = bars * len(instruments)
    values = {name: np.ones(count) for name in NEEDED} | columns
    times = np.tile(START_NS + BAR_NS * np.arange(1, bars + 1), len(instruments))
    return Panel([name for name in instruments for _ in range(bars)], times, values)


def test_rows_are_sorted_by_instrument_and_time():
    times = START_NS + BAR_NS * np.array([2, 1, 1])
    values = {name: np.array([2.0, 1.0, 3.0]) for name in NEEDED}
    panel = Panel(["b:Y", "b:Y", "a:X"], times, values)
    assert panel.instruments == ("a:X", "b:Y")
    assert panel.columns["bar_realised_variance_1h"].tolist() == [3.0, 1.0, 2.0]
    with pytest.raises(StateError, match="one row per instrument and row time"):
        Panel(["a:X", "a:X"], times[1:], {name: np.ones(2) for name in NEEDED})
    with pytest.raises(StateError, match="rows lack bar_realised_variance_7d"):
        Panel(["a:X"], times[:1], {name: np.ones(1) for name in NEEDED[:3]})


def test_a_target_is_the_variance_that_followed_and_never_of_another_instrument():
    numbers = np.arange(1.0, 1201.0)
    panel = _panel(bar_realised_variance_5m=numbers, bar_realised_variance_1h=numbers * 10)
    assert panel.target["5m"][:3].tolist() == [2.0, 3.0, 4.0]
    assert panel.target["1h"][0] == 130.0
    assert np.isnan(panel.target["5m"][599])
    assert np.isnan(panel.target["1h"][588:600]).all()
    assert panel.target["5m"][600] == 602.0
    assert np.isnan(panel.target["1d"][600 - 288 : 600]).all()


def test_a_target_with_a_gap_is_not_known():
    bars = np.ones(1200)
    bars[100] = np.nan
    panel = _panel(bar_realised_variance_5m=bars)
    # One of twelve bars of the hour is missing: not 95 %. Of a day's 288 it is.
    assert np.isnan(panel.target["1h"][88:100]).all()
    assert panel.target["1h"][[87, 100]].tolist() == [1.0, 1.0]
    assert panel.target["1d"][50] == 1.0


def test_a_target_is_not_below_the_floor_of_the_week_before():
    panel = _panel(bar_realised_variance_5m=np.zeros(1200), bar_realised_variance_7d=np.full(1200, 2016.0))
    assert panel.target["5m"][0] == pytest.approx(FLOOR_RATIO)
    assert panel.floor("1h")[0] == pytest.approx(12 * FLOOR_RATIO)


def test_a_trailing_mean_needs_its_window_and_looks_back_alone():
    values = np.arange(1200.0)
    panel = _panel()
    mean = panel.trailing_mean(values, 4)
    assert np.isnan(mean[:3]).all()
    assert mean[3:5].tolist() == [1.5, 2.5]
    # The second instrument begins anew.
    assert np.isnan(mean[600:603]).all()
    later = values.copy()
    later[300:600] = 1e9
    np.testing.assert_array_equal(panel.trailing_mean(later, 4)[:300], mean[:300])


def test_shifts_look_past_no_instrument():
    panel = _panel()
    values = np.arange(1200.0)
    assert panel.shifted(values, 1)[:2].tolist() == [1.0, 2.0]
    assert np.isnan(panel.shifted(values, 1)[599])
    assert panel.shifted(values, -2)[602] == 600.0
    assert np.isnan(panel.shifted(values, -2)[601])


def test_the_hash_is_of_everything():
    one, same = simulated_panel(days=9, instruments=1), simulated_panel(days=9, instruments=1)
    assert one.data_hash() == same.data_hash()
    assert one.data_hash() != simulated_panel(days=9, instruments=1, seed=1).data_hash()
    assert one.data_hash() != simulated_panel(days=9, instruments=1, held_out=["venue:COIN0-USDT"]).data_hash()
    changed = one.with_targets({"5m": one.target["5m"] * 2})
    assert changed.data_hash() != one.data_hash()


def test_origins_are_where_the_definitions_put_them():
    panel = simulated_panel(days=9, instruments=1)
    # A week is known at the end of its last bar; from there on, two days.
    assert panel.origins("5m").sum() == 2 * 288 + 1
    assert panel.origins("1h").sum() == 2 * 24 * 4 + 1
    assert set(panel.row_time_ns[panel.origins("1d")] % DAY_NS // (12 * BAR_NS)) == set(range(24))


def test_rows_of_a_backfill_become_a_panel_and_unknown_names_are_told():
    table = pa.table(
        {
            "instrument_id": ["v:A-USDT", "v:B-USDT"],
            "row_time_ns": [START_NS, START_NS],
            "quality": [0, 0],
            **{name: [1.0, None] for name in NEEDED},
        }
    )
    panel = panel_of(table, held_out=["v:B-USDT"])
    assert panel.in_training.tolist() == [True, False]
    assert np.isnan(panel.columns[NEEDED[0]][1])
    assert panel_of(table, instruments=["v:A-USDT"]).instruments == ("v:A-USDT",)
    with pytest.raises(StateError, match="no rows of v:C-USDT; there are v:A-USDT, v:B-USDT"):
        panel_of(table, instruments=["v:C-USDT"])
