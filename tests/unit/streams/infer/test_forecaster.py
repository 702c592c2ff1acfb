"""From rows to forecasts: what is asked, what is said when nothing is answered, and what a restart repeats."""

import hashlib
import random

import numpy as np
import pytest

from schemas.errors import DecodeError, StateError
from schemas.forecasts import Attention, Calibration, Forecast, decode_json
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZON_NS, QUANTILES, YEAR_NS
from schemas.topics import ATTENTION, FORECAST, FORECAST_LATEST
from streams.infer.forecaster import BATCH_ROWS, WIDTH_EVERY_NS
from tests.unit.streams.infer.infer_cases import BASE, MODELS, T0, answer, forecaster, row_message

BTC, ETH = "binance:BTC-USDT", "binance:ETH-USDT"


def run(one, reason="", scale=1.0):
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
    assert forecast.horizons["1m"].mean == pytest.approx((har.means["1m"] + 2 * lstm.means["1m"]) / 3)
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
    assert forecast.model.name == "har"
    assert forecast.horizons["1m"].mean == forecast.experts["har"].means["1m"]
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


def calibration(shift=(0.0, 0.0), weights=None, as_of=0, horizon="5m"):
    return Calibration(
        instrument_id=BTC,
        horizon=horizon,
        as_of_ns=as_of,
        shift=shift,
        coverage_ratio=0.9,
        count=1,
        weights=weights or {},
    )


def test_the_latest_calibration_is_applied_in_logs_and_recorded():
    plain = forecaster()
    feed(plain, [0])
    before = forecasts(run(plain))[0].horizons["5m"].quantiles
    one = forecaster()
    one.take_calibration(calibration((-0.2, 0.4), as_of=2))
    one.take_calibration(calibration((9.0, 9.0), as_of=1))
    feed(one, [0])
    forecast = forecasts(run(one))[0]
    after = forecast.horizons["5m"].quantiles
    assert forecast.calibration["5m"].shift == (-0.2, 0.4)
    assert forecast.calibration["1h"].shift == (0.0, 0.0)
    assert np.log(after["0.05"] / before["0.05"]) == pytest.approx(-0.2)
    assert np.log(after["0.95"] / before["0.95"]) == pytest.approx(0.4)
    assert after["0.5"] == pytest.approx(before["0.5"])


def test_weights_of_the_calibration_are_used_and_recorded():
    one = forecaster()
    one.take_calibration(calibration(weights={"har": 0.2, "lstm": 0.3, "performer": 0.5}))
    feed(one, [0])
    weights = {name: expert.weight for name, expert in forecasts(run(one))[0].experts.items()}
    assert weights == pytest.approx({"har": 0.2, "lstm": 0.3, "performer": 0.5})


def test_uncertainty_is_the_rank_of_the_width_in_its_past():
    one = forecaster()
    every = WIDTH_EVERY_NS // SECOND_NS
    shifts = [0.1, 0.2, 0.3, 0.15]
    ranks = []
    for number, shift in enumerate(shifts):
        one.take_calibration(calibration((-shift, shift), as_of=number))
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
            one.take_calibration(calibration(tuple(rng.normal(0, 3, 2)), horizon=horizon))
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
