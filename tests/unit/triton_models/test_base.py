"""The base of live networks is the strong log-HAR of the evaluation, from one row alone."""

import msgspec
import numpy as np
import pytest
from bar_panels import DAY_NS, START_NS, simulated_panel

from schemas.errors import StateError
from schemas.rules import BARS
from triton_models import ewma
from triton_models.baselines.har import reference_level
from triton_models.evaluation.folds import Fold
from triton_models.fitting import fit_ewma, fit_har
from triton_models.har import forecast
from triton_models.terms import DECAYED, REF, Reads

FOLD = Fold(START_NS + 45 * DAY_NS, START_NS + 46 * DAY_NS, START_NS + 55 * DAY_NS)


@pytest.fixture(scope="module")
def panel():
    return simulated_panel(days=58, instruments=2, seed=5)


def _learned(panel, names):
    """Return features, times and targets of the rows that a fold may learn from."""
    rows = panel.row_time_ns <= FOLD.train_until_ns
    columns = {name: panel.columns[name][rows] for name in names}
    week = np.isfinite(panel.columns["bar_realised_variance_7d"])
    targets = {
        name: np.where(FOLD.learned(panel, name) & week, panel.target[name], np.nan)[rows]
        for name in ("5m", "1h", "1d")
    }
    return columns, panel.row_time_ns[rows], targets


@pytest.fixture(scope="module")
def har(panel):
    return fit_har(REF, *_learned(panel, REF.features))


def _one(panel, row, hidden=()):
    """Return one row's features and time, some of them masked."""
    columns = {name: np.array([np.nan if name in hidden else panel.columns[name][row]]) for name in REF.features}
    return columns, panel.row_time_ns[row : row + 1]


@pytest.mark.parametrize(("horizon", "tolerance"), [("5m", 1e-7), ("1d", 1e-7)])
def test_a_row_alone_gives_what_the_evaluation_makes_of_the_panel(panel, har, horizon, tolerance):
    level = reference_level(panel, FOLD, horizon)
    (rows,) = np.nonzero(np.isfinite(level) & FOLD.forecast(panel) & panel.origins(horizon))
    place = har.horizons.index(horizon)
    for row in rows[:: len(rows) // 40]:
        found = forecast(har, *_one(panel, row))
        # The median less its own correction is the level before any.
        raw = found.median[0, place] - har.residuals[-1][place][3]
        assert raw == pytest.approx(level[row], abs=tolerance)


def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it(panel, har):
    rows = slice(2500, 2600)
    whole = forecast(har, {name: panel.columns[name][rows] for name in REF.features}, panel.row_time_ns[rows])
    for place in (0, 1, 50, 99):
        alone = forecast(har, *_one(panel, 2500 + place))
        assert [part.tobytes() for part in alone] == [part[place : place + 1].tobytes() for part in whole]


def test_a_row_that_knows_little_still_has_a_forecast(panel, har):
    row = 40 * 288
    full = forecast(har, *_one(panel, row)).median
    for window in ("5m", "1h", "1d"):
        longer = [name for name in REF.features if _minutes(name) > _minutes(f"x_{window}")]
        short = forecast(har, *_one(panel, row, longer)).median
        assert np.abs(short - full).max() < 1.5
    extras = [name for name in REF.features if name not in REF.variances]
    assert np.abs(forecast(har, *_one(panel, row, extras)).median - full).max() < 1.5
    assert np.isnan(forecast(har, *_one(panel, row, REF.variances[:1])).median).all()


def _minutes(name):
    window = name.rpartition("_")[2]
    return int(window[:-1]) * {"m": 1, "h": 60, "d": 1440}[window[-1]]


def test_what_a_short_window_serves_reads_nothing_longer(panel, har):
    row = 40 * 288
    longer = [name for name in REF.features if _minutes(name) > 60]
    columns, time = _one(panel, row, [name for name in longer if name in REF.variances])
    wild = columns | {name: columns[name] * 1e3 for name in longer}
    assert forecast(har, wild, time).median.tobytes() == forecast(har, columns, time).median.tobytes()


def test_what_the_features_allow_is_read():
    reads = REF.among(["bar_realised_variance_5m", "bar_negative_semivariance_1h", "bar_signed_return_5m"])
    assert reads == Reads(variances=("bar_realised_variance_5m",), returns=("bar_signed_return_5m",))
    assert (REF.terms, reads.terms) == (4 + 13 + 2 + 6 + 3 + 2 + 1, 1 + 2 + 1)


@pytest.mark.parametrize(
    "reads",
    [
        Reads(variances=("realised_variance",)),
        Reads(variances=("realised_variance_1h", "realised_variance_5m")),
        Reads(variances=("realised_variance_5m",), losses=("negative_semivariance_1h",)),
        Reads(variances=("realised_variance_0m",)),
    ],
)
def test_names_that_tell_no_window_or_no_order_are_noticed(reads):
    assert REF.is_sound()
    assert not reads.is_sound()


@pytest.fixture(scope="module")
def average(panel):
    return fit_ewma(DECAYED["bars"], BARS.tile_interval_ns, *_learned(panel, DECAYED["bars"]))


def test_the_moving_average_is_unbiased_and_longer_for_longer_horizons(panel, average):
    columns, _, targets = _learned(panel, DECAYED["bars"])
    mean, quantiles = ewma.forecast(average, columns).levels()
    assert average.chosen[0] < average.chosen[2]
    for index, target in enumerate(targets.values()):
        known = np.isfinite(target) & np.isfinite(mean[:, index])
        assert (target[known] / mean[known, index]).mean() == pytest.approx(1, abs=0.05)
        assert (target[known] < quantiles[known, index, 3]).mean() == pytest.approx(0.5, abs=0.05)
    assert (np.diff(quantiles[np.isfinite(mean).all(-1)]) > 0).all()


def test_the_moving_average_falls_back_on_shorter_memories(panel, average):
    row = 40 * 288
    columns = {name: panel.columns[name][row : row + 1] for name in average.features}
    last = average.chosen[2]
    without = columns | {name: np.array([np.nan]) for name in average.features[last:]}
    only = columns | {name: np.array([np.nan]) for name in average.features if name != average.features[last - 1]}
    found = [ewma.forecast(average, each).levels()[0][0, 2] for each in (without, only)]
    assert found[0] == found[1]
    nothing = {name: np.array([np.nan]) for name in average.features}
    assert np.isnan(ewma.forecast(average, nothing).levels()[0]).all()


def test_an_average_that_does_not_fit_itself_is_noticed(average):
    assert average.fits()
    for change in ({"chosen": (0, 0, 9)}, {"smearing": ((0.0,),)}, {"features": ()}, {"unit_ns": 0}):
        assert not msgspec.structs.replace(average, **change).fits()


def test_without_decayed_variances_there_is_no_average_and_with_few_rows_an_error(panel):
    columns, times, targets = _learned(panel, DECAYED["bars"])
    assert fit_ewma((), BARS.tile_interval_ns, columns, times, targets) is None
    few = {name: np.where(np.arange(len(times)) < 100, values, np.nan) for name, values in targets.items()}
    with pytest.raises(StateError, match="200 rows"):
        fit_ewma(DECAYED["bars"], BARS.tile_interval_ns, columns, times, few)
