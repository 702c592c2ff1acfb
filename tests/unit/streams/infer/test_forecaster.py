"""From rows to forecasts: what is asked, what is said when nothing is answered, and what a restart repeats."""

import hashlib
import random

import numpy as np
import pytest
from msgspec.structs import replace

from schemas.calibration import Calibration
from schemas.errors import DecodeError, StateError
from schemas.forecasts import Attention, Forecast, decode_json, encode_json
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZON_NS, QUANTILES, YEAR_NS
from schemas.topics import ATTENTION, FORECAST, FORECAST_LATEST
from streams.infer.calibrations import MOST_SHIFT
from streams.infer.forecaster import BATCH_ROWS, WIDTH_EVERY_NS
from streams.infer.models import Models
from tests.unit.streams.infer.infer_cases import BASE, MODELS, T0, answer, forecaster, network, row_message

BTC, ETH = "binance:BTC-USDT", "binance:ETH-USDT"


def run(one, reason="", scale=1.1):
    """Settle all that waits and return the records."""
    records = []
    while (batch := one.next_batch()) is not None:
        answers = answer(batch, scale) if not reason and batch.asked else {}
        records += one.explain(batch, answers) + one.settle(batch, answers, reason)
    return records


def forecasts(records, topic=FORECAST):
    return [decode_json(record.value, Forecast) for record in records if record.topic == topic]


def feed(one, seconds, **row):
    for second in seconds:
        one.take_row(second, row_message(second, **row))


def test_a_healthy_answer_gives_one_model_forecast_per_instrument_with_attention():
    one = forecaster()
    one.take_row(7, row_message(0, (BTC, ETH)))
    records = run(one)
    assert [record.topic for record in records] == [ATTENTION] * 2 + [FORECAST, FORECAST_LATEST] * 2
    assert {record.partition for record in records} == {0}
    first = forecasts(records)[0]
    assert (first.id, first.status, first.reason) == (f"{BTC}@{T0}", "model", "")
    assert records[2].key == BTC.encode()
    assert dict(records[2].headers)["ce_type"] == b"foreshock.forecast.v1"
    assert set(first.horizons) == {"1m", "5m", "1h", "1d"}
    assert {name: expert.weight for name, expert in first.experts.items()} == pytest.approx(
        {"har": 1 / 3, "lstm": 1 / 3, "performer": 1 / 3}
    )
    assert first.receipt.rows == [("feature.row.v1", 0, 7, 7)]
    assert first.receipt.batch == (16, 0)
    assert first.valid_until_ns == T0 + HORIZON_NS["1m"]


def test_volatility_is_the_mean_annualised_on_365_days():
    one = forecaster()
    feed(one, [0])
    horizon = forecasts(run(one))[0].horizons["5m"]
    assert horizon.volatility_annualised == pytest.approx((horizon.mean * YEAR_NS / HORIZON_NS["5m"]) ** 0.5)


def test_an_equal_weight_combination_averages_the_experts():
    one = forecaster()
    feed(one, [0])
    forecast = forecasts(run(one, scale=4.0))[0]
    har, lstm = forecast.experts["har"], forecast.experts["lstm"]
    mean = (har.means["1m"] * lstm.means["1m"] ** 2) ** (1 / 3)
    assert forecast.horizons["1m"].mean == pytest.approx(mean)
    median = (har.quantiles["1m"]["0.5"] * lstm.quantiles["1m"]["0.5"] ** 2) ** (1 / 3)
    assert forecast.horizons["1m"].quantiles["0.5"] == pytest.approx(median)


def test_without_an_answer_log_har_forecasts_and_says_why():
    one = forecaster()
    feed(one, [0])
    records = run(one, reason="lstm-ticks: the breaker is open")
    forecast = forecasts(records)[0]
    assert (forecast.status, forecast.reason) == ("fallback", "lstm-ticks: the breaker is open")
    assert list(forecast.experts) == ["har"]
    assert forecast.experts["har"].weight == 1.0
    assert forecast.experts["har"].weights == dict.fromkeys(BASE.horizons, (1.0, 1.0))
    assert forecast.model.name == "har"
    assert forecast.horizons["1m"].mean == pytest.approx(forecast.experts["har"].means["1m"])
    assert not [record for record in records if record.topic == ATTENTION]


def test_without_the_shortest_lag_nothing_is_known_and_that_is_said():
    one = forecaster()
    feed(one, [0], masked=("realised_variance_1m",))
    batch = one.next_batch()
    assert batch.asked == batch.padded == 0
    forecast = forecasts(one.settle(batch, {}))[0]
    assert (forecast.status, forecast.horizons) == ("unavailable", {})
    assert forecast.reason == "realised_variance_1m is not known"


def test_one_row_that_is_not_finite_is_a_fallback_and_its_neighbours_are_not():
    one = forecaster()
    one.take_row(0, row_message(0, (BTC, ETH)))
    batch = one.next_batch()
    answers = answer(batch)
    answers["lstm"]["quantiles"][1, 2, 3] = np.nan
    attention = one.explain(batch, answers)
    assert [record.key for record in attention] == [BTC.encode()]
    made = forecasts(one.settle(batch, answers))
    assert [forecast.status for forecast in made] == ["model", "fallback"]
    assert made[1].reason == "the answer is not finite"
    assert all(np.isfinite(list(made[1].horizons["1h"].quantiles.values())))


def test_model_forecasts_come_back_after_fallbacks():
    one = forecaster()
    feed(one, [0, 1])
    statuses = [forecast.status for forecast in forecasts(run(one, reason="down"))]
    feed(one, [2])
    statuses += [forecast.status for forecast in forecasts(run(one))]
    assert statuses == ["fallback", "fallback", "model"]


def test_small_batches_are_padded_with_copies_and_large_ones_are_cut():
    one = forecaster()
    feed(one, [0])
    batch = one.next_batch()
    assert (batch.asked, batch.padded) == (1, 16)
    assert (batch.arrays["features"] == batch.arrays["features"][0]).all()
    run(one)
    names = tuple(f"binance:A{number}-USDT" for number in range(100))
    for second in range(1, 5):
        one.take_row(second, row_message(second, names))
    assert [len(forecasts(run_one(one))) for _ in range(2)] == [200, 200]
    many = tuple(f"binance:A{number}-USDT" for number in range(300))
    one.take_row(5, row_message(5, many))
    assert [len(forecasts(run_one(one))) for _ in range(2)] == [BATCH_ROWS, 300 - BATCH_ROWS]


def run_one(one):
    batch = one.next_batch()
    return one.settle(batch, answer(batch))


def test_repeated_rows_ask_for_nothing():
    one = forecaster()
    for offset, second in enumerate([0, 1, 0, 1, 2]):
        one.take_row(offset, row_message(second))
    assert [f.origin_time_ns for f in forecasts(run(one))] == [T0, T0 + SECOND_NS, T0 + 2 * SECOND_NS]
    assert one.done == 5


def test_bytes_that_are_no_row_are_an_error():
    with pytest.raises(DecodeError):
        forecaster().take_row(0, b"no row")


def test_warming_ends_when_window_and_variances_are_filled():
    one = forecaster()
    feed(one, range(4), masked=("spread",))
    qualities = [forecast.quality for forecast in forecasts(run(one))]
    assert qualities == [["warming"], ["warming"], ["warming"], []]
    feed(one, [4], masked=("realised_variance_1d",))
    assert forecasts(run(one))[0].quality == ["warming"]


def test_the_receipt_names_the_rows_of_the_window_and_hashes_the_tensors():
    one = forecaster()
    feed(one, range(6))
    last = forecasts(run(one))[-1]
    assert last.receipt.rows == [("feature.row.v1", 0, 2, 5)]
    tensors = one._window.tensors((BTC,))
    parts = (tensors.features[0], tensors.mask[0], tensors.age[0])
    assert last.receipt.features_hash == hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def calibration(shifts=(0.0,) * 7, trust=None, as_of=0, horizon="5m", regimes=(0.0, 0.0, 0.0), regime=-1):
    """Return a state whose shared shifts are given, and those of each regime by one number."""
    return Calibration(
        instrument_id=BTC,
        horizon=horizon,
        as_of_ns=as_of,
        shift=(0.0, 0.0),
        coverage_ratio=0.9,
        count=1,
        trust=trust or {},
        shared_shifts=tuple(shifts),
        regime_shifts=[(one,) * 7 for one in regimes],
        regime=regime,
    )


def one_forecast(*calibrations, **answers):
    """Return the forecast of one row under calibration states."""
    one = forecaster()
    for state in calibrations:
        one.take_calibration(state)
    feed(one, [0])
    return forecasts(run(one, **answers))[0]


def test_the_latest_calibration_is_applied_to_all_quantiles_in_logs_and_recorded():
    before = one_forecast().horizons["5m"]
    shifts = (-0.2, -0.1, 0.0, 0.05, 0.1, 0.3, 0.4)
    forecast = one_forecast(calibration(shifts, as_of=2), calibration((9.0,) * 7, as_of=1))
    after = forecast.horizons["5m"]
    moved = [np.log(after.quantiles[level] / before.quantiles[level]) for level in after.quantiles]
    assert moved == pytest.approx(shifts)
    assert after.mean == before.mean
    assert forecast.calibration["5m"].shift == (-0.2, 0.4)
    assert forecast.calibration["5m"].shifts == shifts
    assert forecast.calibration["1h"].shifts == (0.0,) * 7


def test_a_fallback_is_calibrated_all_the_same():
    before = one_forecast(reason="down").horizons["5m"].quantiles
    after = one_forecast(calibration((0.5,) * 7), reason="down").horizons["5m"].quantiles
    assert [np.log(after[level] / before[level]) for level in after] == pytest.approx([0.5] * 7)


def test_the_regime_that_was_told_last_decides_which_shifts_are_added():
    regimes = (0.25, 0.5, 1.0)
    old = calibration((0.125,) * 7, regimes=regimes, as_of=1, regime=0)
    forecast = one_forecast(old, calibration(as_of=2, horizon="1h", regime=1))
    assert forecast.calibration["5m"].shifts == (0.625,) * 7
    assert {shift.regime for shift in forecast.calibration.values()} == {1}
    assert one_forecast(calibration(regimes=regimes)).calibration["5m"].shifts == (0.0,) * 7


def test_weights_are_by_horizon_and_one_set_is_for_the_mean_and_one_for_quantiles():
    trust = {"har": (0.0, 3.0), "lstm": (1.0, 0.0), "performer": (2.0, 0.0)}
    forecast = one_forecast(calibration(trust=trust), scale=4.0)
    experts = forecast.experts
    of_mean, of_quantiles = zip(*(expert.weights["5m"] for expert in experts.values()), strict=True)
    assert of_mean == pytest.approx(0.9 * np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum() + 0.1 / 3)
    assert of_quantiles == pytest.approx(0.9 * np.exp([3, 0, 0]) / np.exp([3, 0, 0]).sum() + 0.1 / 3)
    for expert in experts.values():
        assert expert.weights["1h"] == pytest.approx((1 / 3, 1 / 3))
        assert expert.weight == pytest.approx(np.mean([mean for mean, _ in expert.weights.values()]))
    mean = sum(weight * np.log(expert.means["5m"]) for weight, expert in zip(of_mean, experts.values(), strict=True))
    assert forecast.horizons["5m"].mean == pytest.approx(np.exp(mean))
    logs = [np.log(expert.quantiles["5m"]["0.9"]) for expert in experts.values()]
    assert forecast.horizons["5m"].quantiles["0.9"] == pytest.approx(np.exp(np.dot(of_quantiles, logs)))


def test_weights_are_equal_until_each_expert_was_judged():
    forecast = one_forecast(calibration(trust={"har": (0.0, 0.0), "lstm": (5.0, 5.0)}))
    assert [expert.weights["5m"] for expert in forecast.experts.values()] == [pytest.approx((1 / 3, 1 / 3))] * 3


def test_shifts_of_another_shape_are_refused():
    with pytest.raises(DecodeError, match=r"shared_shifts: expected 7 shared shifts and 3 .* got 2 and \[7, 7, 7\]"):
        forecaster().take_calibration(calibration((0.1, 0.2)))


@pytest.mark.parametrize("sign", [1, -1])
def test_shifts_that_would_make_a_quantile_infinite_are_refused(sign):
    # It would be null in the forecast's record, which nobody could read.
    with pytest.raises(DecodeError, match=r"shared_shifts: expected shifts of at most 100, got 1e\+300"):
        forecaster().take_calibration(calibration(regimes=(0.0, sign * 1e300, 0.0)))
    forecast = one_forecast(calibration((sign * MOST_SHIFT,) * 7, regimes=(0.0, sign * MOST_SHIFT, 0.0), regime=1))
    assert decode_json(encode_json(forecast), Forecast) == forecast


def test_an_expert_that_is_only_watched_is_told_and_changes_nothing():
    watched = MODELS._replace(networks=(*MODELS.networks, network("lstm@2")))
    plain = one_forecast()
    found = {}
    for name in ("well", "broken", "silent"):
        one = forecaster(watched)
        feed(one, [0])
        batch = one.next_batch()
        answers = answer(batch)
        if name != "silent":
            answers["lstm@2"] = {"mean": 9 * answers["lstm"]["mean"], "quantiles": 9 * answers["lstm"]["quantiles"]}
        if name == "broken":
            answers["lstm@2"]["mean"][:] = np.nan
        found[name] = forecasts(one.settle(batch, answers))[0]
        assert (found[name].status, found[name].model) == ("model", plain.model)
        assert found[name].horizons == plain.horizons
        assert {key: one for key, one in found[name].experts.items() if key != "lstm@2"} == plain.experts
    beside = found["well"].experts["lstm@2"]
    assert (beside.weight, beside.weights) == (0.0, dict.fromkeys(BASE.horizons, (0.0, 0.0)))
    assert beside.means["1m"] == pytest.approx(9 * found["well"].experts["lstm"].means["1m"])
    assert found["broken"].experts["lstm@2"].means == {}
    assert "lstm@2" not in found["silent"].experts


def test_a_network_that_gave_a_horizon_back_to_log_har_is_no_second_opinion_there():
    one = forecaster()
    feed(one, [0])
    batch = one.next_batch()
    answers = answer(batch)
    answers["lstm"]["mean"] = answers["lstm"]["mean"].copy()
    answers["lstm"]["mean"][:, 1] = batch.base.mean[0, 1] * (1 + 1e-6)
    experts = forecasts(one.settle(batch, answers))[0].experts
    assert {name: expert.weights["5m"] for name, expert in experts.items()} == {
        "har": pytest.approx((0.5, 0.5)),
        "lstm": (0.0, 0.0),
        "performer": pytest.approx((0.5, 0.5)),
    }
    assert experts["lstm"].means["5m"] == pytest.approx(experts["har"].means["5m"])
    assert experts["lstm"].weights["1h"] == pytest.approx((1 / 3, 1 / 3))


class Warming(Models):
    """Models whose second baseline does not know the first horizon."""

    def baselines(self, features, mask, origin):
        mean, quantiles = self.base(features, mask, origin)
        warming = 2 * mean, 2 * quantiles
        warming[0][:, 0], warming[1][:, 0] = np.nan, np.nan
        return {"har": (mean, quantiles), "ewma": warming}


def test_a_baseline_that_warms_is_left_out_where_it_knows_nothing():
    one = forecaster(Warming(*MODELS))
    feed(one, [0])
    forecast = forecasts(run(one))[0]
    assert forecast.status == "model"
    assert list(forecast.experts) == ["har", "ewma", "lstm", "performer"]
    ewma = forecast.experts["ewma"]
    assert (ewma.weights["1m"], ewma.weights["5m"]) == ((0.0, 0.0), pytest.approx((0.25, 0.25)))
    assert set(ewma.means) == set(ewma.quantiles) == {"5m", "1h", "1d"}
    assert ewma.hash == MODELS.har_hash
    one = forecaster(Warming(*MODELS))
    feed(one, [0])
    assert list(forecasts(run(one, reason="down"))[0].experts) == ["har"]


def test_the_bits_of_a_forecast_do_not_depend_on_the_rows_beside():
    names = tuple(f"binance:A{number}-USDT" for number in range(40))
    together = forecaster()
    alone = {name: forecaster() for name in names}
    trust = {"har": (0.1, 0.2), "lstm": (0.3, -0.4), "performer": (-0.5, 0.6)}
    for number, name in enumerate(names):
        state = replace(calibration(np.linspace(-0.3, 0.3, 7) * number, trust), instrument_id=name)
        together.take_calibration(state)
        alone[name].take_calibration(state)
    together.take_row(0, row_message(0, names))
    batch = together.next_batch()
    answers = answer(batch)
    for name, outputs in answers.items():
        scale = np.linspace(0.5, len(name) / 3, 40, dtype=np.float32)
        outputs["mean"] *= scale[:, None]
        outputs["quantiles"] *= scale[:, None, None]
    for forecast in forecasts(together.settle(batch, answers)):
        one = alone[forecast.instrument_id]
        one.take_row(0, row_message(0, (forecast.instrument_id,)))
        place = names.index(forecast.instrument_id)
        own = {
            name: {kind: np.repeat(output[place : place + 1], 16, axis=0) for kind, output in outputs.items()}
            for name, outputs in answers.items()
        }
        (single,) = forecasts(one.settle(one.next_batch(), own))
        assert replace(single, receipt=forecast.receipt) == forecast


def test_uncertainty_is_the_rank_of_the_width_in_its_past():
    one = forecaster()
    every = WIDTH_EVERY_NS // SECOND_NS
    ranks = []
    for number, shift in enumerate([0.1, 0.2, 0.3, 0.15]):
        one.take_calibration(calibration((-shift, 0, 0, 0, 0, 0, shift), as_of=number))
        feed(one, [number * every])
        ranks.append(forecasts(run(one))[0].horizons["5m"].uncertainty)
    assert ranks == pytest.approx([0.5, 1.0, 1.0, 1 / 3])


def test_attention_is_summarised_per_head():
    one = forecaster()
    feed(one, [0])
    (record,) = (record for record in run(one) if record.topic == ATTENTION)
    attention = decode_json(record.value, Attention)
    assert attention.modalities == pytest.approx({"trade": 0.5, "clock": 0.5})
    assert [head.half_life_seconds for head in attention.heads] == [1.0, 4.0]
    assert attention.heads[0].mean_look_back_seconds == pytest.approx(1.5)
    assert attention.heads[0].entropy == pytest.approx(np.log(8))
    assert len(attention.heads[0].top) == 3


def test_quantiles_never_cross_whatever_calibration_says():
    rng = np.random.default_rng(5)
    for trial in range(50):
        one = forecaster()
        for horizon in BASE.horizons:
            one.take_calibration(calibration(rng.normal(0, 3, 7).tolist(), horizon=horizon))
        feed(one, [trial], variance=float(10 ** rng.uniform(-12, 2)))
        for horizon in forecasts(run(one, scale=float(rng.uniform(0.1, 10))))[0].horizons.values():
            assert len(horizon.quantiles) == len(QUANTILES)
            assert list(horizon.quantiles.values()) == sorted(horizon.quantiles.values())
            assert 0 <= horizon.uncertainty <= 1


class Crashing:
    """A partition of infer whose process may die at any record; only what Kafka has survives."""

    def __init__(self, rows):
        self.rows = rows
        self.log = []
        self.checkpoint = None
        self.start()

    def start(self):
        self.one = forecaster()
        if self.checkpoint is not None:
            self.one.restore(self.checkpoint)
        for offset, forecast in enumerate(self.log):
            if offset >= self.one.output_offset:
                self.one.recall(forecast)
        self.one.output_offset = len(self.log)
        self.position = max(0, self.one.rewind)

    def step(self, chance):
        """Read some rows, write some of their forecasts, and perhaps die in between."""
        for _ in range(chance.randint(1, 3)):
            if self.position < len(self.rows):
                self.one.take_row(self.position, self.rows[self.position])
                self.position += 1
        batch = self.one.next_batch()
        if batch is not None:
            reason = "" if chance.random() < 0.5 else "down"
            made = forecasts(self.one.settle(batch, {} if reason else answer(batch), reason))
            if chance.random() < 0.3:
                self.log += made[: chance.randrange(len(made) + 1)]
                return self.start()
            self.log += made
        if chance.random() < 0.3:
            self.checkpoint = self.one.state()
        return None

    @property
    def is_done(self):
        return self.position >= len(self.rows) and self.one.next_batch() is None


@pytest.mark.parametrize("seed", range(30))
def test_whatever_crashes_every_forecast_is_there_once(seed):
    # rows with repeats, gaps longer than the window, and instruments that come and go
    chance = random.Random(seed)
    seconds, last = [], 0
    for _ in range(40):
        last += chance.choice([1, 1, 1, 2, 9])
        seconds.append(last)
    listed = {second: (BTC, ETH)[: chance.randint(1, 2)] for second in seconds}
    order = [second for second in seconds for _ in range(chance.choice([1, 1, 2]))]
    world = Crashing([row_message(second, listed[second]) for second in order])
    while not world.is_done:
        world.step(chance)
    ids = [forecast.id for forecast in world.log]
    assert len(ids) == len(set(ids))
    assert ids == [f"{name}@{T0 + second * SECOND_NS}" for second in seconds for name in listed[second]]
    # A restart changes nothing of what a forecast was made from.
    straight = forecaster()
    for offset, row in enumerate(world.rows):
        straight.take_row(offset, row)
    clean = {f.id: (f.receipt.features_hash, f.receipt.rows, f.quality) for f in forecasts(run(straight))}
    assert {f.id: (f.receipt.features_hash, f.receipt.rows, f.quality) for f in world.log} == clean


def test_a_checkpoint_of_other_bytes_is_an_error():
    with pytest.raises(StateError, match="unreadable checkpoint"):
        forecaster().restore(b"\x01")


def test_models_without_networks_forecast_by_persistence():
    one = forecaster(BASE._replace(shape=MODELS.shape))
    feed(one, [0])
    batch = one.next_batch()
    forecast = forecasts(one.settle(batch, {}, "no model bundle"))[0]
    assert (forecast.status, forecast.reason, forecast.model.hash) == ("fallback", "no model bundle", "persistence")
    assert forecast.horizons["5m"].quantiles["0.5"] == pytest.approx(5 * forecast.horizons["1m"].quantiles["0.5"])
