"""The walk leaks nothing: each way in which the future could enter is planted here, and seen."""

import functools

import numpy as np
import pytest
from bar_panels import DAY_NS, START_NS, panel_of_series, simulated_columns, simulated_panel

from triton_models.baselines import boosting, ewma, garch, har, naive, recursive, seasons
from triton_models.baselines.corrected import Corrected
from triton_models.evaluation.folds import Fold, Folds
from triton_models.evaluation.scores import qlike
from triton_models.evaluation.walk import EQUAL_WEIGHT, ForecastsFile, equal_weight, grid_of, read_forecasts, walk

DAYS = 70
FOLDS = Folds(START_NS + 52 * DAY_NS, START_NS + 53 * DAY_NS, START_NS + 68 * DAY_NS)
"""Two fits: before 22 February, and 1 March."""
EXPERTS = (
    *naive.experts(),
    *ewma.experts(),
    *garch.experts(),
    *har.experts(),
    *recursive.experts(),
    *boosting.experts(),
)
CHANGED_NS = START_NS + 63 * DAY_NS
"""What comes later is changed in the tests of the future."""


@functools.cache
def _panel():
    return simulated_panel(days=DAYS, instruments=2, seed=2)


def _loss(panel, expert, horizon="1h", folds=FOLDS):
    return float(np.nanmean(qlike(panel.target[horizon], expert.forecasts(panel, folds, horizon).mean)))


def _unconditional(panel, horizon="1h"):
    """Return the loss of the mean of the outcomes themselves: what no skill comes to."""
    rows = panel.origins(horizon) & (panel.row_time_ns >= FOLDS.from_ns) & (panel.row_time_ns < FOLDS.until_ns)
    target = panel.target[horizon][rows]
    return float(np.nanmean(qlike(target, np.full_like(target, np.nanmean(target)))))


def _with_another_future():
    times, series = simulated_columns(DAYS, 2, seed=2, persistence=0.97)
    later = times > CHANGED_NS
    random = np.random.default_rng(9)
    for values in series.values():
        for one in values:
            one[later] = random.permutation(one[later]) * 3.0
    return panel_of_series(times, series)


@pytest.mark.parametrize("expert", EXPERTS, ids=lambda expert: expert.name)
def test_no_forecast_changes_with_what_comes_after_it(expert):
    panel, other = _panel(), _with_another_future()
    for horizon in ("5m", "1h"):
        before = panel.row_time_ns <= CHANGED_NS
        ours, theirs = (one.forecasts(where, FOLDS, horizon) for one, where in ((expert, panel), (expert, other)))
        assert np.isfinite(ours.mean[before]).sum() > 500
        np.testing.assert_array_equal(ours.mean[before], theirs.mean[before])
        np.testing.assert_array_equal(ours.quantiles[before], theirs.quantiles[before])
        assert not np.array_equal(ours.mean[~before], theirs.mean[~before], equal_nan=True)


def test_a_profile_fitted_late_would_be_seen(monkeypatch):
    def late(panel, fold, log_relative):
        return seasons.profile_of(panel, fold._replace(train_until_ns=FOLDS.until_ns), log_relative)

    monkeypatch.setattr(har, "profile_of", late)
    with pytest.raises(AssertionError):
        test_no_forecast_changes_with_what_comes_after_it(Corrected("late", har.reference_level))


def test_a_fit_or_correction_on_later_targets_would_be_seen(monkeypatch):
    def unpurged(self, panel, horizon):
        return panel.in_training & (panel.row_time_ns < self.until_ns) & np.isfinite(panel.target[horizon])

    monkeypatch.setattr(Fold, "learned", unpurged)
    with pytest.raises(AssertionError):
        test_no_forecast_changes_with_what_comes_after_it(Corrected("late", har.reference_level))


def test_skill_vanishes_on_shuffled_targets():
    panel = _panel()
    random = np.random.default_rng(0)
    target = panel.target["1h"].copy()
    known = np.flatnonzero(np.isfinite(target))
    target[known] = random.permutation(target[known])
    shuffled = panel.with_targets({"1h": target})
    for expert in (*har.experts(), *recursive.experts(), *boosting.experts()):
        assert _loss(panel, expert) < 0.5 * _unconditional(panel)
        assert _loss(shuffled, expert) > 0.97 * _unconditional(shuffled)


def test_a_target_among_the_inputs_would_be_seen_on_shuffled_targets():
    def leaking(panel, fold, horizon):
        return [*har.plain(panel, fold, horizon), np.log(panel.target[horizon])]

    panel = _panel()
    target = panel.target["1h"].copy()
    known = np.flatnonzero(np.isfinite(target))
    target[known] = np.random.default_rng(0).permutation(target[known])
    shuffled = panel.with_targets({"1h": target})
    leaked = Corrected("leaking", lambda *where: har.fit_level(*where, leaking))
    assert _loss(shuffled, leaked) < 0.1 * _unconditional(shuffled)


def test_a_target_shifted_into_the_past_would_be_seen():
    panel = _panel()
    # Half of the hour that is to be forecast lies before the origin: the random walk gets much better.
    shifted = panel.with_targets({"1h": panel.shifted(panel.target["1h"], -6)})
    for expert in (naive.experts()[0], har.experts()[2]):
        assert _loss(shifted, expert) < 0.8 * _loss(panel, expert)
    # At the right place, an hour later is harder than now, and a random walk is not its own target.
    later = panel.with_targets({"1h": panel.shifted(panel.target["1h"], 6)})
    assert _loss(later, har.experts()[2]) > 1.05 * _loss(panel, har.experts()[2])
    assert _loss(panel, naive.experts()[0]) > 0.05


def test_baselines_differ_from_one_another_at_each_horizon():
    panel = _panel()
    losses = {}
    for horizon in ("5m", "1h", "1d"):
        for expert in EXPERTS:
            losses[expert.name, horizon] = _loss(panel, expert, horizon)
    # A day ahead there are too few rows for a tree: LightGBM is what it corrects.
    assert losses.pop(("lightgbm", "1d")) == losses["har-ref", "1d"]
    assert len({round(loss, 6) for loss in losses.values()}) == len(losses)


def test_the_grid_has_every_origin_once():
    panel = _panel()
    grid = grid_of(panel, FOLDS, "1h")
    assert grid.origin_time_ns[0] == FOLDS.from_ns
    assert len(grid.origin_time_ns) == 15 * 24 * 4
    assert (panel.row_time_ns[grid.row] == grid.origin_time_ns[:, None]).all()
    assert (panel.instrument[grid.row] == [0, 1]).all()


def test_the_equal_weight_mean_keeps_members_unbiased_and_quantiles_in_order():
    panel = _panel()
    members = [expert.forecasts(panel, FOLDS, "1h") for expert in har.experts()]
    found = equal_weight(members)
    known = np.isfinite(found.mean)
    ratios = [np.nanmean(panel.target["1h"][known] / one.mean[known]) for one in members]
    assert np.nanmean(panel.target["1h"][known] / found.mean[known]) == pytest.approx(np.mean(ratios))
    assert (np.diff(found.quantiles[known], axis=-1) >= 0).all()


def test_the_file_holds_what_was_walked(tmp_path):
    panel = _panel()
    experts = (*naive.experts(), *har.experts())
    told = []
    with ForecastsFile(tmp_path / "forecasts.parquet", panel.instruments) as file:
        (walked,) = walk(panel, FOLDS, experts, ["1h"], lambda text, ratio: told.append((text, ratio)))
        rows = file.write(walked)
    tables = read_forecasts(tmp_path / "forecasts.parquet")
    assert set(tables) == {*(expert.name for expert in experts), EQUAL_WEIGHT}
    assert sum(len(table) for table in tables.values()) == rows
    table = tables["har-ref"].to_pandas()
    levels = ["q05", "q10", "q25", "q50", "q75", "q90", "q95"]
    assert list(table) == ["instrument", "origin_time_ns", "horizon", "model", "mean", *levels, "realised"]
    # Anyone can recompute a score from the file alone, to the last digit.
    again = qlike(table["realised"].to_numpy(np.float64), table["mean"].to_numpy(np.float64))
    assert np.nanmean(again) == pytest.approx(
        np.nanmean(qlike(walked.realised, walked.forecasts["har-ref"].mean)), rel=1e-12
    )
    assert told[0][0] == "1h: random-walk"
    assert [ratio for _, ratio in told] == sorted(ratio for _, ratio in told)
