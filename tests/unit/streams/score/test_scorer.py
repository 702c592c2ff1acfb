"""Joining forecasts with rows: any interleaving, gaps, masks, restarts."""

import random

import numpy as np
import pytest

from schemas.errors import StateError
from schemas.forecasts import (
    Calibration,
    CalibrationShift,
    ExpertForecast,
    Forecast,
    ForecastScore,
    HorizonForecast,
    ModelName,
    Receipt,
    decode_json,
)
from schemas.rows import AGED, RowHeader, Rows, encode_rows
from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.tensors import HORIZON_NS, HORIZONS, QUANTILES
from schemas.topics import CALIBRATION, FORECAST_SCORE
from streams.score.scorer import Scorer

BTC, ETH = "binance:BTC-USDT", "binance:ETH-USDT"
T0 = 1_700_000_100 * SECOND_NS
"""On a border of 5 minutes."""
FEATURES = tuple(f"realised_variance_{horizon}" for horizon in HORIZONS["ticks"])


def row(second, instruments=(BTC,), variance=1e-6):
    values = np.full((len(instruments), len(FEATURES)), variance)
    header = RowHeader(T0 + second * SECOND_NS, 1, "r", "f")
    bits = np.zeros(len(instruments), np.uint32)
    return encode_rows(Rows(header, tuple(instruments), FEATURES, values, np.zeros((len(values), len(AGED))), bits))


def forecast(second, instrument=BTC, horizons=("1m",), status="model", mean=1e-6, shift=(0.0, 0.0)):
    quantiles = {str(level): mean * 2 ** (4 * level - 2) for level in QUANTILES}
    experts = ("har", "lstm") if status == "model" else ("har",)
    if status == "unavailable":
        horizons = ()
    return Forecast(
        id=f"{instrument}@{T0 + second * SECOND_NS}",
        instrument_id=instrument,
        origin_time_ns=T0 + second * SECOND_NS,
        status=status,
        horizons={h: HorizonForecast(mean=mean, quantiles=quantiles, volatility_annualised=0.5) for h in horizons},
        model=ModelName(name="combined", version="1", hash="x"),
        feature_set_id="f",
        valid_until_ns=0,
        calibration={h: CalibrationShift(shift=shift) for h in horizons},
        experts={
            name: ExpertForecast(
                weight=1 / len(experts),
                hash="x",
                means=dict.fromkeys(horizons, mean),
                quantiles=dict.fromkeys(horizons, quantiles),
            )
            for name in experts
        },
        receipt=Receipt(rows=[("feature.row.v1", 1, 0, 0)], features_hash="", batch=(16, 0)),
    )


def scores(records):
    return [decode_json(record.value, ForecastScore) for record in records if record.topic == FORECAST_SCORE]


def calibrations(records):
    return [decode_json(record.value, Calibration) for record in records if record.topic == CALIBRATION]


def scorer():
    return Scorer(HORIZONS["ticks"])


def test_a_forecast_is_scored_with_all_experts_by_the_row_at_its_end():
    one = scorer()
    one.take_row(0, row(0))
    assert one.take_forecast(0, forecast(0), 1) == []
    assert one.take_row(1, row(59)) == []
    records = one.take_row(2, row(60, variance=2e-6))
    (found,) = scores(records)
    assert found.id == f"{BTC}@{T0}/1m"
    assert found.realised_variance == 2e-6
    assert set(found.scores) == {"combined", "har", "lstm"}
    assert {record.partition for record in records} == {1}
    assert dict(records[0].headers)["ce_type"] == b"foreshock.forecast-score.v1"


def test_a_fallback_is_scored_and_moves_no_weights():
    one = scorer()
    one.take_forecast(0, forecast(0, status="fallback"), 1)
    records = one.take_row(0, row(60))
    assert set(scores(records)[0].scores) == {"combined", "har"}
    assert calibrations(records)[0].weights == {}
    assert calibrations(records)[0].count == 1


def test_long_horizons_are_scored_on_five_minute_origins():
    one = scorer()
    for offset, second in enumerate([0, 1, 300]):
        one.take_forecast(offset, forecast(second, horizons=("1m", "1h")), 1)
    made = [found for second in (3600, 3601, 3900) for found in scores(one.take_row(second, row(second)))]
    assert [found.origin_time_ns for found in made if found.horizon == "1h"] == [T0, T0 + 5 * MINUTE_NS]


def test_what_cannot_be_scored_is_counted():
    one = scorer()
    one.take_forecast(0, forecast(0, status="unavailable"), 1)
    for offset, second in enumerate([1, 2, 3]):
        one.take_forecast(offset + 1, forecast(second), 1)
    assert one.take_row(0, row(61, variance=np.nan)) == []
    assert one.take_row(1, row(63, instruments=(ETH,))) == []
    assert one.left_out == {"unavailable": 1, "masked": 2, "no-row": 1}


def test_the_first_forecast_of_an_id_counts_and_repeated_rows_change_nothing():
    one = scorer()
    one.take_forecast(0, forecast(0, mean=1e-6), 1)
    one.take_forecast(1, forecast(0, mean=9e-6), 1)
    (found,) = scores(one.take_row(0, row(60)))
    assert found.scores["combined"].mean == 1e-6
    assert one.take_row(1, row(60)) == []


def test_calibration_states_are_keyed_by_instrument_and_horizon_for_compaction():
    one = scorer()
    one.take_forecast(0, forecast(0), 1)
    (record,) = (record for record in one.take_row(0, row(60)) if record.topic == CALIBRATION)
    assert record.key == f"{BTC}|1m".encode()


def test_the_shift_is_learned_against_the_quantile_before_the_published_shift():
    one = scorer()
    # Published quantiles are far above what happened only because of the shift recorded in them.
    one.take_forecast(0, forecast(0, mean=1e-6 * float(np.exp(2.0)), shift=(2.0, 2.0)), 1)
    (state,) = calibrations(one.take_row(0, row(60)))
    assert state.shift == pytest.approx((0.001, -0.001))


@pytest.mark.parametrize("seed", range(8))
def test_any_interleaving_and_any_restart_gives_the_same_scores_and_calibration(seed):
    rng = np.random.default_rng(7)
    seconds = [*range(200), *range(230, 700, 3)]
    rows = [row(second, (BTC, ETH), float(np.exp(rng.normal(-14, 1)))) for second in seconds]
    told = [forecast(s, name, horizons=("1m", "5m")) for s in seconds for name in (BTC, ETH)]

    straight = scorer()
    wanted = {record.value for o, f in enumerate(told) for record in straight.take_forecast(o, f, 1)}
    wanted |= {record.value for offset, value in enumerate(rows) for record in straight.take_row(offset, value)}

    chance = random.Random(seed)
    one, at = scorer(), {"feature.row.v1": 0, "forecast.volatility.v1": 0}
    saved, found = None, []
    while at["feature.row.v1"] < len(rows) or at["forecast.volatility.v1"] < len(told):
        for _ in range(chance.randint(1, 60)):
            if chance.random() < 0.4 and at["feature.row.v1"] < len(rows):
                found += one.take_row(at["feature.row.v1"], rows[at["feature.row.v1"]])
                at["feature.row.v1"] += 1
            elif at["forecast.volatility.v1"] < len(told):
                found += one.take_forecast(at["forecast.volatility.v1"], told[at["forecast.volatility.v1"]], 1)
                at["forecast.volatility.v1"] += 1
        event = chance.random()
        if event < 0.3:
            saved = one.state()
        elif event < 0.4:
            one, at = scorer(), {"feature.row.v1": 0, "forecast.volatility.v1": 0}
            if saved is not None:
                at = dict(one.restore(saved))
    assert {record.value for record in found} == wanted
    assert len({decode_json(v, ForecastScore).id for v in wanted if b"realised_variance" in v}) > 500


def test_rows_are_kept_only_while_forecasts_are_behind():
    one = scorer()
    for second in range(200):
        one.take_row(second, row(second))
    assert one.kept == 200
    one.take_forecast(0, forecast(100), 1)
    assert one.kept == 40  # those at 160 s and later: ends of forecasts from 100 s on
    one.take_forecast(1, forecast(199), 1)
    assert one.kept == 0


def test_a_checkpoint_of_other_bytes_is_an_error():
    with pytest.raises(StateError, match="unreadable checkpoint"):
        scorer().restore(b"\x01")


def test_the_end_of_a_bar_forecast_is_read_from_bar_rows():
    one = Scorer(HORIZONS["bars"])
    assert HORIZON_NS["5m"] == 300 * SECOND_NS
    one.take_forecast(0, forecast(0, horizons=("5m",)), 1)
    header = RowHeader(T0 + 300 * SECOND_NS, 1, "r", "f")
    bars = Rows(
        header,
        (BTC,),
        ("bar_realised_variance_5m",),
        np.array([[1e-6]]),
        np.zeros((1, len(AGED))),
        np.zeros(1, np.uint32),
    )
    assert len(scores(one.take_row(0, encode_rows(bars)))) == 1
