import json

import numpy as np
import pytest
from bar_panels import DAY_NS, START_NS, simulated_panel

from schemas.errors import StateError
from triton_models.baselines import har, naive
from triton_models.evaluation import cells, combine, summary
from triton_models.evaluation.buckets import Buckets
from triton_models.evaluation.comparison import diebold_mariano
from triton_models.evaluation.definitions import HAC_LAGS, ORIGIN_STEP_NS
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.hits import hit_tests
from triton_models.evaluation.panel import Forecasts
from triton_models.evaluation.report import evaluate
from triton_models.evaluation.scores import qlike
from triton_models.evaluation.walk import Grid, Walked, walk

FOLDS = Folds(START_NS + 45 * DAY_NS, START_NS + 46 * DAY_NS, START_NS + 68 * DAY_NS)
EXPERTS = (*naive.experts(), *har.experts())


@pytest.fixture(scope="module")
def panel():
    return simulated_panel(days=70, instruments=2, seed=4, held_out=["venue:COIN1-USDT"])


@pytest.fixture(scope="module")
def walked(panel):
    (found,) = walk(panel, FOLDS, EXPERTS, ["1h"])
    return found


def _walked(realised, forecasts, horizon="1h"):
    """Return a walk of one instrument with these outcomes (T,) and means (T,) by model."""
    times = START_NS + ORIGIN_STEP_NS[horizon] * np.arange(len(realised))
    grid = Grid(times, np.zeros((len(realised), 1), np.int64))
    made = {
        name: Forecasts(mean[:, None], mean[:, None, None] * np.exp(np.linspace(-1.6, 1.6, 7)))
        for name, mean in forecasts.items()
    }
    return Walked(horizon, grid, realised[:, None], made)


def test_a_ratio_and_its_test_are_on_the_origins_that_both_know():
    random = np.random.default_rng(0)
    realised = random.gamma(5, 0.2, 2000)
    base, model = np.ones(2000), np.full(2000, 1.3)
    model[:500] = np.nan
    cell = cells.cell_of(_walked(realised, {"har-ref": base, "other": model}), 0, None)
    ours, theirs = qlike(realised, model), qlike(realised, base)
    against = cell["other"]["against"]["har-ref"]
    assert against["ratio"] == pytest.approx(ours[500:].mean() / theirs[500:].mean())
    test = diebold_mariano(ours, theirs, lags=HAC_LAGS["1h"], steps=4)
    assert (against["dm_p"], against["origins"]) == (test.p_value, 1500)
    # A constant factor is all that is wrong with it: bias apart, nothing is.
    assert against["centred_ratio"] == pytest.approx(1)
    assert cell["other"]["bias"] == pytest.approx(realised[500:].mean() / 1.3 - 1)


def test_the_worst_week_is_the_one_that_is_left_out():
    realised = np.ones(4 * 672)
    realised[700:710] = 1e4
    cell = cells.cell_of(_walked(realised, {"har-ref": np.ones(len(realised))}), 0, None)
    assert cell["har-ref"]["qlike"] > 10
    assert cell["har-ref"]["qlike_without_worst_week"] == 0


def test_coverage_is_told_by_regime_and_of_the_worst_week():
    realised = np.ones(4 * 672)
    realised[672:1344] = 100.0
    regime = np.zeros(len(realised))
    regime[672:1344] = 1
    cell = cells.cell_of(_walked(realised, {"har-ref": np.ones(len(realised))}), 0, regime)["har-ref"]
    assert cell["coverage_90"] == 0.75
    assert cell["coverage_90_by_regime"] == {"calm": 1.0, "wild": 0.0}
    assert cell["worst_rolling_coverage_90"] == 0
    assert cell["hits_by_level"]["0.95"] == 0.75


def test_better_worse_and_medians_are_counted_over_cells(walked, panel):
    found = {name: cells.cell_of(walked, index, None) for index, name in enumerate(panel.instruments)}
    told = summary.summarise(found, panel.held_out)
    ratios = [cell["har-plain"]["against"]["har-ref"]["ratio"] for cell in found.values()]
    against = told["har-plain"]["against"]["har-ref"]
    assert against["median_ratio"] == pytest.approx(np.median(ratios))
    assert against["median_ratio_held_out"] == pytest.approx(ratios[1])
    of_a_walk = told["random-walk"]["against"]["har-ref"]
    assert (of_a_walk["better"], of_a_walk["worse"], of_a_walk["cells"]) == (0, 2, 2)
    turned = told["har-ref"]["against"]["har-plain"]
    assert (turned["better"], turned["worse"]) == (against["worse"], against["better"])
    assert told["har-ref"]["in_confidence_set"] == 2
    assert told["random-walk"]["in_confidence_set"] == 0
    lines = summary.first_lines("1h", told)
    assert lines[0] == "1h: networks: none was evaluated, so they add nothing here"
    assert any(line.startswith("1h: random-walk: QLIKE ratio 1.") for line in lines)
    assert any(line.endswith("better in 0, worse in 2 of 2 cells") for line in lines)


def test_what_networks_add_is_the_first_line_even_where_it_is_nothing():
    realised = np.random.default_rng(1).gamma(5, 0.2, 3000)
    ones = np.ones(3000)
    made = {"har-ref": ones, "lstm": ones * 1.2, "combined-without-networks": ones, "combined": ones * 1.1}
    cell = {"venue:X": cells.cell_of(_walked(realised, made), 0, None)}
    line = summary.first_lines("1h", summary.summarise(cell, []))[0]
    assert line.startswith("1h: networks over har-ref: lstm QLIKE ratio 1.")
    assert "combined over combined-without-networks: QLIKE ratio 1." in line


def test_hits_of_value_at_risk_come_at_their_rate_where_volatility_is_known(panel):
    (walked,) = walk(panel, FOLDS, har.experts()[2:3], ["5m"])
    found = hit_tests(panel, FOLDS, walked)["har-ref"]["venue:COIN0-USDT"]["0.05"]
    assert found["rate"] == pytest.approx(0.05, abs=0.012)
    assert found["kupiec_p"] > 0.001
    # Only the second fold is tested: the first one's returns say what quantile to take.
    assert found["origins"] == sum(1 for time in walked.grid.origin_time_ns if time >= list(FOLDS)[1].from_ns)


def test_regimes_follow_the_variance_and_know_no_future(panel, walked):
    buckets = Buckets(panel, FOLDS)
    state = buckets.of(walked)
    assert state.shape == walked.realised.shape
    assert 0.05 < state.mean() < 0.95
    past = walked.grid.of(panel.columns["bar_realised_variance_6h"] / panel.columns["bar_realised_variance_7d"])
    assert np.median(past[state == 1]) > 1.5 * np.median(past[state == 0])
    longer = Folds(START_NS + 45 * DAY_NS, START_NS + 46 * DAY_NS, START_NS + 60 * DAY_NS)
    (part,) = walk(panel, longer, EXPERTS[:1], ["1h"])
    np.testing.assert_array_equal(Buckets(panel, longer).of(part), state[: len(part.realised)])


def test_the_combination_is_no_worse_than_its_members_and_learns_late(walked):
    found = combine.with_combinations(walked, None).forecasts[combine.WITHOUT]
    losses = {name: np.nanmean(qlike(walked.realised, one.mean)) for name, one in walked.forecasts.items()}
    assert np.nanmean(qlike(walked.realised, found.mean)) < 1.03 * min(losses.values())
    assert combine.COMBINED not in combine.with_combinations(walked, None).forecasts
    # An outcome that is changed is not felt before it is known, an hour later.
    realised = walked.realised.copy()
    realised[500] *= 50
    other = combine.with_combinations(walked._replace(realised=realised), None).forecasts[combine.WITHOUT]
    np.testing.assert_array_equal(found.mean[:504], other.mean[:504])
    np.testing.assert_array_equal(found.quantiles[:504], other.quantiles[:504])
    assert not np.array_equal(found.quantiles[504], other.quantiles[504])


def test_a_report_is_the_same_bytes_again_and_needs_outcomes(panel, tmp_path):
    about = {"train_until": "a", "from": "b", "to": "c"}
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        evaluate(panel, FOLDS, EXPERTS[2:5], folder, about=about)
    for name in ("report.json", "forecasts.parquet"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    report = json.loads((folders[0] / "report.json").read_text())
    assert report["about"]["panel_hash"] == panel.data_hash()
    unknown = panel.with_targets({name: np.full(len(panel), np.nan) for name in panel.target})
    with pytest.raises(StateError, match="nothing was forecast that came to be known"):
        evaluate(unknown, FOLDS, EXPERTS[:1], tmp_path, about=about)
