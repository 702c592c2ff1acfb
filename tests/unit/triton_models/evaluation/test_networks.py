import importlib

import msgspec
import numpy as np
import pytest

from schemas.errors import SettingsError, StateError
from schemas.rules import BARS, DAY_NS
from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.bundle import Size
from triton_models.evaluation.bases import base_of
from triton_models.evaluation.folds import Folds, day_ns
from triton_models.evaluation.networks import NetworkExpert, Walk
from triton_models.evaluation.panel import Forecasts, Panel
from triton_models.evaluation.scores import qlike
from triton_models.evaluation.tuning import configured, objective
from triton_models.material import Options
from triton_models.networks import ABLATIONS, NO_BASE
from triton_models.search import Choice, search

BAR = BARS.row_interval_ns
COUNT = 5000
FEATURES = ("bar_realised_variance_5m", "bar_realised_variance_1h", "bar_volume_surprise_1d", "hour_sine")
QUICK = Options(
    intervals=3,
    size=Size(width=16, heads=2, layers=1, random_features=8),
    epochs=3,
    examples=2048,
    batch=128,
    learning_rate=5e-3,
    validation_examples=512,
    dropout=0.1,
)
WALK = Walk(first=QUICK, refresh=None, seeds=(0,))
FROM = day_ns("2023-05-26")
FOLDS = Folds(FROM - DAY_NS, FROM, day_ns("2023-05-28"))
TWO_FOLDS = Folds(FROM - DAY_NS, FROM, day_ns("2023-06-03"))
HORIZONS = ("5m", "1h", "1d")


def rolling_sum(x, window):
    total = np.cumsum(np.concatenate([[0.0], x]))
    return np.concatenate([np.full(window - 1, np.nan), total[window:] - total[:-window]])


def market(seed):
    """A coin whose volume tells of tomorrow's volatility what its noisy variance does not."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.3, COUNT)
    log = np.zeros(COUNT)
    for i in range(1, COUNT):
        log[i] = 0.95 * log[i - 1] + noise[i]
    variance = np.exp(log - 12) * random.chisquare(4, COUNT) / 4
    columns = {f"bar_realised_variance_{name}": rolling_sum(variance, n) for name, n in WINDOWS.items()}
    columns["bar_volume_surprise_1d"] = log + random.normal(0, 0.1, COUNT)
    columns["hour_sine"] = np.sin(2 * np.pi * np.arange(COUNT) / 288)
    return columns


WINDOWS = {"5m": 1, "1h": 12, "1d": 288, "7d": 2016}


@pytest.fixture(scope="module")
def panel():
    coins = ["binance:BTC-USDT", "binance:ETH-USDT", "binance:LTC-USDT"]
    parts = [market(seed) for seed in range(len(coins))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    times = day_ns("2023-05-18") + np.arange(1, COUNT + 1) * BAR
    return Panel(np.repeat(coins, COUNT).tolist(), np.tile(times, len(coins)), columns, held_out=["binance:LTC-USDT"])


@pytest.fixture(scope="module")
def base(panel):
    """Forecasts by the variance before, half way to its mean, and honest quantiles around them."""
    forecasts = {}
    for horizon in HORIZONS:
        past = np.log(panel.columns[f"bar_realised_variance_{horizon}"])
        level = 0.5 * past + 0.5 * np.nanmean(past)
        error = np.log(panel.target[horizon]) - level
        smearing = np.log(np.nanmean(np.exp(error)))
        offsets = np.nanquantile(error, QUANTILES)
        forecasts[horizon] = Forecasts(np.exp(level + smearing), np.exp(level[:, None] + offsets))
    return forecasts


def expert(base, kind="lstm", walk=WALK, features=FEATURES):
    return NetworkExpert(kind, base, features=features, walk=walk)


def forecast_rows(panel, folds=FOLDS):
    return np.logical_or.reduce([fold.forecast(panel) for fold in folds])


def ratio(panel, forecasts, base, horizon, rows):
    realised = panel.target[horizon]
    rows = rows & np.isfinite(realised) & np.isfinite(forecasts.mean)
    return qlike(realised[rows], forecasts.mean[rows]).mean() / qlike(realised[rows], base[horizon].mean[rows]).mean()


@pytest.fixture(scope="module")
def learnt(panel, base):
    one = expert(base)
    return one, {horizon: one.forecasts(panel, FOLDS, horizon) for horizon in HORIZONS}


def test_a_network_that_has_learnt_nothing_is_its_base(panel, base):
    still = Walk(first=msgspec.structs.replace(QUICK, learning_rate=0.0, epochs=1), refresh=None, seeds=(0, 1))
    one = expert(base, walk=still)
    rows = forecast_rows(panel)
    for horizon in HORIZONS:
        found = one.forecasts(panel, FOLDS, horizon)
        known = rows & np.isfinite(base[horizon].mean)
        assert np.allclose(found.mean[known], base[horizon].mean[known], rtol=1e-9)
        assert np.allclose(found.quantiles[known], base[horizon].quantiles[known], rtol=1e-6)


def test_it_learns_what_its_base_cannot_know_also_for_a_coin_it_never_saw(panel, base, learnt):
    rows = forecast_rows(panel)
    held_out = panel.instrument == panel.instruments.index("binance:LTC-USDT")
    for part in (rows & ~held_out, rows & held_out):
        assert ratio(panel, learnt[1]["5m"], base, "5m", part) < 0.9


def test_skill_vanishes_where_targets_are_shuffled(panel, base):
    random = np.random.default_rng(0)
    shuffled = {horizon: random.permutation(panel.target[horizon]) for horizon in HORIZONS}
    wrong = panel.with_targets(shuffled)
    error = {
        horizon: Forecasts(*(np.where(np.isfinite(part), np.nanmean(wrong.target[horizon]), part) for part in one))
        for horizon, one in base.items()
    }
    widths = np.exp(np.arange(7) - 3.0)
    constant = {horizon: Forecasts(one.mean, one.mean[:, None] * widths) for horizon, one in error.items()}
    found = expert(constant).forecasts(wrong, FOLDS, "5m")
    assert ratio(wrong, found, constant, "5m", forecast_rows(panel)) > 0.99


def test_only_rows_of_the_folds_are_forecast_and_quantiles_never_cross(panel, learnt):
    for found in learnt[1].values():
        assert np.isnan(found.mean[~forecast_rows(panel)]).all()
        known = np.isfinite(found.mean)
        assert known.any()
        assert (np.diff(found.quantiles[known], axis=-1) > 0).all()


def test_what_comes_later_changes_no_forecast(panel, base, learnt):
    # train_until ... from ------ changed ---- until
    #                  ^ bit-equal ^
    changed = FROM + DAY_NS
    later = panel.row_time_ns > changed
    random = np.random.default_rng(1)
    columns = {
        name: np.where(later, values * random.lognormal(size=len(panel)), values)
        for name, values in panel.columns.items()
    }
    names = np.asarray(panel.instruments)[panel.instrument].tolist()
    other = Panel(names, panel.row_time_ns, columns, held_out=panel.held_out)
    found = expert(base).forecasts(other, FOLDS, "1h")
    before = forecast_rows(panel) & ~later
    assert found.mean[before].tobytes() == learnt[1]["1h"].mean[before].tobytes()
    assert not np.array_equal(found.mean[later], learnt[1]["1h"].mean[later], equal_nan=True)


def test_nothing_is_learnt_from_targets_that_end_after_training(panel, base, learnt):
    #  t |---- horizon ----|
    #           train_until ^   one row later would end behind it: its target is free to change
    fold = next(iter(FOLDS))
    free = {
        horizon: np.where(panel.row_time_ns + HORIZON_NS[horizon] > fold.train_until_ns, 1e3 * target, target)
        for horizon, target in panel.target.items()
    }
    found = expert(base).forecasts(panel.with_targets(free), FOLDS, "5m")
    assert found.mean.tobytes() == learnt[1]["5m"].mean.tobytes()


def test_all_that_ends_before_training_does_is_learnt_from(panel, base, learnt):
    fold = next(iter(FOLDS))
    last = {}
    for horizon, target in panel.target.items():
        ends = panel.row_time_ns + HORIZON_NS[horizon]
        held = (ends > fold.train_until_ns - DAY_NS) & (ends <= fold.train_until_ns)
        last[horizon] = np.where(held, 1e3 * target, target)
    walk = msgspec.structs.replace(WALK, first=msgspec.structs.replace(QUICK, validation_ratio=0.0))
    found = [expert(base, walk=walk).forecasts(one, FOLDS, "5m").mean for one in (panel, panel.with_targets(last))]
    assert np.nanmean(np.log(found[1] / found[0])) > 0.1


def test_a_coin_that_is_held_out_is_forecast_and_not_learnt_from(panel, base, learnt):
    held_out = panel.instrument == panel.instruments.index("binance:LTC-USDT")
    other = panel.with_targets(
        {name: np.where(held_out, 1e3 * values, values) for name, values in panel.target.items()}
    )
    found = expert(base).forecasts(other, FOLDS, "5m")
    assert np.isfinite(found.mean[held_out & forecast_rows(panel)]).all()
    assert found.mean.tobytes() == learnt[1]["5m"].mean.tobytes()


def test_the_same_seed_gives_the_same_bits_and_seeds_are_averaged_in_log_variance(panel, base, learnt):
    first, second, both = (
        expert(base, walk=msgspec.structs.replace(WALK, seeds=seeds)).forecasts(panel, FOLDS, "5m")
        for seeds in ((0,), (1,), (0, 1))
    )
    assert first.mean.tobytes() == learnt[1]["5m"].mean.tobytes() != second.mean.tobytes()
    rows = forecast_rows(panel)
    for name in Forecasts._fields:
        apart = [np.log(getattr(one, name)[rows]) for one in (first, second)]
        assert np.allclose(np.log(getattr(both, name)[rows]), sum(apart) / 2, atol=1e-9)


def test_all_horizons_are_learnt_at_once_and_anew_for_other_rows(panel, base):
    one = expert(base)
    for horizon in HORIZONS:
        one.forecasts(panel, FOLDS, horizon)
    assert len(one.learned) == 1
    assert one.learned[0].seed == 0
    assert len(one.learned[0].history) == 1 + QUICK.epochs
    one.forecasts(panel.with_targets({"5m": panel.target["5m"] * 2}), FOLDS, "5m")
    assert one.learned[0].history[0] > 0
    assert len(one.learned) == 1


def test_later_folds_go_on_from_the_weights_at_hand_or_keep_them(panel, base):
    refresh = msgspec.structs.replace(QUICK, epochs=1, examples=512, validation_ratio=0.0)
    kept, refreshed = (expert(base, walk=msgspec.structs.replace(WALK, refresh=options)) for options in (None, refresh))
    found = [one.forecasts(panel, TWO_FOLDS, "5m").mean for one in (kept, refreshed)]
    first, second = (fold.forecast(panel) for fold in TWO_FOLDS)
    assert found[0][first].tobytes() == found[1][first].tobytes()
    assert np.isfinite(found[0][second]).all()
    assert not np.array_equal(found[0][second], found[1][second])
    assert [len(one.learned) for one in (kept, refreshed)] == [1, 2]


def test_horizons_that_are_not_trusted_are_the_bases(panel, base, learnt):
    rows = forecast_rows(panel) & np.isfinite(base["1d"].mean)
    assert learnt[0].learned[0].left_to_base == ("1d",)
    assert np.allclose(learnt[1]["1d"].mean[rows], base["1d"].mean[rows], rtol=1e-6)
    assert not np.allclose(learnt[1]["5m"].mean[rows], base["5m"].mean[rows], rtol=0.05)
    none = expert(base, walk=msgspec.structs.replace(WALK, trusted=()))
    assert np.allclose(none.forecasts(panel, FOLDS, "5m").mean[rows], base["5m"].mean[rows], rtol=1e-6)
    assert none.learned[0].left_to_base == HORIZONS


def test_gates_say_what_they_pruned(panel, base):
    columns = {**panel.columns, "weekday_sine": np.random.default_rng(0).normal(size=len(panel))}
    names = np.asarray(panel.instruments)[panel.instrument].tolist()
    noisy = Panel(names, panel.row_time_ns, columns, held_out=panel.held_out)
    options = msgspec.structs.replace(QUICK, gate_penalty=2e-3, epochs=6, intervals=1, validation_ratio=0.0)
    one = expert(base, walk=msgspec.structs.replace(WALK, first=options), features=(*FEATURES, "weekday_sine"))
    one.forecasts(noisy, FOLDS, "5m")
    pruned = one.learned[0].pruned
    assert "weekday_sine" in pruned
    assert "bar_volume_surprise_1d" not in pruned


def test_without_a_residual_the_values_of_the_base_are_not_read(panel, base):
    other = {name: Forecasts(one.mean * 3, one.quantiles * 3) for name, one in base.items()}
    found = [expert(part, NO_BASE).forecasts(panel, FOLDS, "1h") for part in (base, other)]
    assert found[0].mean.tobytes() == found[1].mean.tobytes()
    rows = forecast_rows(panel) & np.isfinite(panel.target["1h"])
    level = np.full_like(found[0].mean, np.nanmean(panel.target["1h"][~forecast_rows(panel)]))
    realised = panel.target["1h"][rows]
    assert qlike(realised, found[0].mean[rows]).mean() < qlike(realised, level[rows]).mean()


@pytest.mark.parametrize("kind", ["performer", *ABLATIONS])
def test_every_network_is_an_expert(panel, base, kind):
    quick = msgspec.structs.replace(QUICK, epochs=1, examples=256)
    one = expert(base, kind, walk=Walk(first=quick, refresh=None, seeds=(0,)))
    found = one.forecasts(panel, FOLDS, "5m")
    assert one.name == kind
    assert np.isfinite(found.mean[forecast_rows(panel)]).all()


def test_where_the_base_says_nothing_neither_does_a_network(panel, base):
    gap = np.arange(len(panel)) % 7 == 0
    holed = {name: Forecasts(np.where(gap, np.nan, one.mean), one.quantiles) for name, one in base.items()}
    found = expert(holed).forecasts(panel, FOLDS, "5m")
    assert np.isnan(found.mean[gap]).all()
    assert np.isfinite(found.mean[forecast_rows(panel) & ~gap]).all()


def test_a_base_is_walked_forward_over_the_training_span_too(panel):
    class Counting:
        name = "counting"
        seen = ()

        def forecasts(self, panel, folds, horizon):
            self.seen = (*self.seen, *folds)
            mean = np.full(len(panel), np.nan)
            for number, fold in enumerate(folds):
                assert fold.train_until_ns < fold.from_ns
                mean[fold.forecast(panel)] = number + 1
            return Forecasts(mean, np.tile(mean[:, None], 7))

    found = base_of(Counting(), panel, TWO_FOLDS, first_days=3)
    start = panel.row_time_ns.min() + 4 * DAY_NS
    for horizon in HORIZONS:
        known = np.isfinite(found[horizon].mean)
        assert np.array_equal(known, (panel.row_time_ns >= start) & (panel.row_time_ns < TWO_FOLDS.until_ns))
        second = [fold.forecast(panel) for fold in TWO_FOLDS][1]
        assert (found[horizon].mean[second] == 2).all()
    with pytest.raises(StateError, match="it needs 30 days of bars before any"):
        base_of(Counting(), panel, TWO_FOLDS, first_days=30)


def test_what_is_missing_is_told(panel, base):
    with pytest.raises(StateError, match="the panel lacks bar_signed_return_5m; backfill its rows"):
        expert(base, features=("bar_signed_return_5m",)).forecasts(panel, FOLDS, "5m")
    short = {name: Forecasts(one.mean[:10], one.quantiles[:10]) for name, one in base.items()}
    with pytest.raises(StateError, match=f"expected base forecasts of all {3 * COUNT} rows"):
        expert(short).forecasts(panel, FOLDS, "5m")
    nothing = {name: Forecasts(one.mean * np.nan, one.quantiles) for name, one in base.items()}
    with pytest.raises(StateError, match="a fold has no rows to learn from"):
        expert(nothing).forecasts(panel, FOLDS, "5m")


def test_settings_are_searched_by_the_ratio_to_the_base(panel, base, tmp_path, monkeypatch):
    tuning = importlib.import_module("triton_models.evaluation.tuning")
    monkeypatch.setattr(tuning, "FEW", FEATURES)
    space = {"learning_rate": Choice((0.0, 5e-3))}
    loss = objective(panel, base, "lstm", first=QUICK)
    result = search(loss, space, [FOLDS], method="grid", log=tmp_path / "trials.jsonl")
    assert result.trials == 2
    assert result.best.settings == {"learning_rate": 5e-3}
    assert loss({"learning_rate": 0.0}, FOLDS) == pytest.approx(1, abs=1e-6)


def test_settings_go_where_they_belong():
    found = configured(QUICK, {"width": 8, "dropout": 0.0, "features": "all"})
    assert (found.size.width, found.size.heads, found.dropout) == (8, 2, 0.0)
    with pytest.raises(SettingsError, match="no setting of a network: depth"):
        configured(QUICK, {"depth": 3})
