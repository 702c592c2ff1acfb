"""Joining forecasts with rows: any interleaving, gaps, masks, restarts."""

import random

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from schemas.calibration import Calibration, CalibrationShift
from schemas.errors import DecodeError, StateError
from schemas.forecasts import (
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
from streams.score.coverage import RECENT
from streams.score.scorer import Scorer
from triton_models.evaluation.regimes import Regimes
from triton_models.online.conformal import LEVELS, PACE, Rates
from triton_models.online.regimes import Watched

BTC, ETH = "binance:BTC-USDT", "binance:ETH-USDT"
T0 = 1_700_000_100 * SECOND_NS
"""On a border of 5 minutes."""
FEATURES = tuple(f"realised_variance_{horizon}" for horizon in HORIZONS["ticks"])


WATCHED = Watched(
    short="realised_variance_5m",
    long="realised_variance_1h",
    step_ns=MINUTE_NS,
    regimes=Regimes(means=(1.0, 4.0), deviations=(1.0, 1.0), transitions=((0.9, 0.1), (0.2, 0.8))),
)


def row(second, instruments=(BTC,), variance=1e-6, ratio=1.0):
    """Return a row message `second` seconds after T0; `ratio`: of the variance of five minutes to the others."""
    values = np.full((len(instruments), len(FEATURES)), variance)
    values[:, FEATURES.index(WATCHED.short)] *= ratio
    header = RowHeader(T0 + second * SECOND_NS, 1, "r", "f")
    bits = np.zeros(len(instruments), np.uint32)
    return encode_rows(Rows(header, tuple(instruments), FEATURES, values, np.zeros((len(values), len(AGED))), bits))


def forecast(second, instrument=BTC, horizons=("1m",), status="model", mean=1e-6, shift=0.0, experts=None, regime=-1):
    """Return a forecast of experts (name to mean) with equal weights, all quantiles moved by `shift`."""
    told = experts or (dict.fromkeys(("har", "lstm"), mean) if status == "model" else {"har": mean})
    if status == "unavailable":
        horizons = ()
    taking_part = [name for name in told if "@" not in name]
    weight = {name: float(name in taking_part) / len(taking_part) for name in told}
    return Forecast(
        id=f"{instrument}@{T0 + second * SECOND_NS}",
        instrument_id=instrument,
        origin_time_ns=T0 + second * SECOND_NS,
        status=status,
        horizons={
            h: HorizonForecast(mean=mean, quantiles=quantiles(mean * np.exp(shift)), volatility_annualised=0.5)
            for h in horizons
        },
        model=ModelName(name="combined", version="1", hash="x"),
        feature_set_id="f",
        valid_until_ns=0,
        calibration={h: CalibrationShift(shift=(shift, shift), shifts=(shift,) * 7, regime=regime) for h in horizons},
        experts={
            name: ExpertForecast(
                weight=weight[name],
                hash="x",
                means=dict.fromkeys(horizons, one),
                quantiles=dict.fromkeys(horizons, quantiles(one)),
                weights=dict.fromkeys(horizons, (weight[name], weight[name])),
            )
            for name, one in told.items()
        },
        receipt=Receipt(rows=[("feature.row.v1", 1, 0, 0)], features_hash="", batch=(16, 0)),
    )


def quantiles(mean):
    return {str(level): float(mean * 2 ** (4 * level - 2)) for level in QUANTILES}


def scores(records):
    return [decode_json(record.value, ForecastScore) for record in records if record.topic == FORECAST_SCORE]


def calibrations(records):
    return [decode_json(record.value, Calibration) for record in records if record.topic == CALIBRATION]


def scorer(watched=WATCHED):
    return Scorer(HORIZONS["ticks"], SECOND_NS, watched)


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


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (forecast(0, horizons=("1w",)), r"\$.horizons: expected horizons among 1m, 5m, 1h, 1d, got '1w'"),
        (
            replace(forecast(0), calibration={"1m": CalibrationShift(shifts=(0.1, 0.2))}),
            r"\$.calibration.1m: expected 7 shifts and a regime from -1 to 2, got 2 and -1",
        ),
        (forecast(0, regime=9), "got 7 and 9"),
        (
            replace(
                forecast(0), experts={"har": ExpertForecast(weight=1, hash="", means={"1m": 1}, quantiles={"1m": {}})}
            ),
            r"\$.experts.har.quantiles.1m: expected the 7 quantiles, got none",
        ),
    ],
)
def test_a_forecast_that_cannot_be_scored_is_an_error_and_leaves_no_trace(wrong, told):
    one = scorer()
    with pytest.raises(DecodeError, match=told):
        one.take_forecast(0, wrong, 1)
    assert one.take_forecast(1, forecast(0), 1) == []
    assert len(scores(one.take_row(0, row(60)))) == 1


def test_calibration_states_are_keyed_by_instrument_and_horizon_for_compaction():
    one = scorer()
    one.take_forecast(0, forecast(0), 1)
    (record,) = (record for record in one.take_row(0, row(60)) if record.topic == CALIBRATION)
    assert record.key == f"{BTC}|1m".encode()


def test_what_was_published_is_judged_shift_included():
    one = scorer()
    # Experts say 1e-6 and are right; published were quantiles e^2 above, because of the shift in the record.
    one.take_forecast(0, forecast(0, shift=2.0), 1)
    (state,) = calibrations(one.take_row(0, row(60)))
    rate = Rates.of("1m", SECOND_NS).shared
    assert state.shared_shifts == pytest.approx(-rate * (1 - LEVELS) * PACE)
    assert state.shift == (state.shared_shifts[0], state.shared_shifts[-1])
    assert (state.regime, state.regime_shifts) == (0, [(0.0,) * 7] * 3)


def test_shifts_are_learned_for_the_regime_that_the_forecast_was_made_in():
    one = scorer()
    one.take_forecast(0, forecast(0, shift=2.0, regime=1), 1)
    found = one.take_row(0, row(60, ratio=np.exp(4.0) / 12))  # By now it is wild.
    (state,) = calibrations(found)
    assert state.regime_shifts[1][0] < 0
    assert state.regime_shifts[0] == state.regime_shifts[2] == (0.0,) * 7
    assert state.shift[0] == state.shared_shifts[0] + state.regime_shifts[1][0]
    assert scores(found)[0].regime == 1
    assert (state.regime, state.regime_coverage.keys()) == (1, {1})


def test_the_expert_that_is_right_gains_weight_and_one_that_is_only_watched_changes_nothing():
    states = []
    for watched in ({}, {"lstm@2": 1.1e-6}):
        one = scorer()
        for second in range(40):
            one.take_forecast(second, forecast(second, experts={"har": 3e-6, "lstm": 1e-6} | watched), 1)
        records = [record for second in range(40) for record in one.take_row(second, row(60 + second))]
        assert set(scores(records)[-1].scores) == {"combined", "har", "lstm"} | watched.keys()
        states.append(calibrations(records)[-1])
    assert states[0] == states[1]
    assert states[0].weights["lstm"] > 0.7
    assert states[0].quantile_weights["lstm"] > 0.7
    assert states[0].weights.keys() == states[0].trust.keys() == {"har", "lstm"}


def test_experts_that_stay_keep_their_past_when_another_joins():
    one = scorer()
    for second in range(60):
        experts = {"har": 3e-6, "lstm": 1e-6} if second < 40 else {"har": 3e-6, "ewma": 2e-6, "lstm": 1e-6}
        one.take_forecast(second, forecast(second, experts=experts), 1)
    states = [state for second in range(60) for state in calibrations(one.take_row(second, row(60 + second)))]
    assert states[3].weights["lstm"] > 0.7
    assert states[4].weights["har"] < states[3].weights["har"] < states[4].weights["lstm"]
    assert 0.2 < states[4].weights["ewma"] < 0.5
    assert sum(states[5].weights.values()) == pytest.approx(1)


def test_coverage_is_told_over_all_outcomes_the_last_ones_and_by_regime():
    one = scorer()
    held = [second % 4 != 0 for second in range(RECENT + 200)]
    told = []
    for second, inside in enumerate(held):
        one.take_forecast(second, forecast(second, mean=1e-6 if inside else 1e-3, regime=int(inside)), 1)
        told += calibrations(one.take_row(second, row(second)))
    (state,) = [state for state in told if state.as_of_ns == T0 + 1190 * SECOND_NS]
    assert state.count == state.coverage.count == 1131  # origins from 0 to 1130 s
    assert state.coverage_ratio == state.coverage.ratio == sum(held[:1131]) / 1131
    assert (state.coverage.recent_count, state.coverage.recent_ratio) == (RECENT, sum(held[131:1131]) / RECENT)
    assert {at: one.ratio for at, one in state.regime_coverage.items()} == {0: 0.0, 1: 1.0}


def test_a_record_of_an_earlier_release_is_scored_by_what_it_published():
    whole = forecast(0, mean=1e-3)
    old = replace(
        whole,
        calibration={"1m": CalibrationShift(shift=(2.0, 2.0))},
        experts={name: replace(expert, weights={}) for name, expert in whole.experts.items()},
    )
    one = scorer()
    one.take_forecast(0, old, 1)
    (state,) = calibrations(one.take_row(0, row(60)))
    assert state.weights == {}
    assert max(state.shared_shifts) < 0


def wandering(rng, second, name):
    """Return a forecast of two horizons, of experts that differ, one of which sometimes joins late."""
    experts = {"har": float(np.exp(rng.normal(-14, 0.5))), "lstm": float(np.exp(rng.normal(-14, 0.2)))}
    if second > 300:
        experts["performer"] = float(np.exp(rng.normal(-14, 0.1)))
    status = "fallback" if rng.random() < 0.1 else "model"
    shift, regime = float(rng.normal(0, 0.1)), int(rng.integers(-1, 2))
    told = {"har": experts["har"]} if status == "fallback" else experts
    return forecast(second, name, ("1m", "5m"), status, experts["har"], shift, told, regime)


@pytest.mark.parametrize("seed", range(8))
def test_any_interleaving_and_any_restart_gives_the_same_scores_and_calibration(seed):
    rng = np.random.default_rng(7)
    seconds = [*range(200), *range(230, 700, 3)]
    rows = [row(second, (BTC, ETH), float(np.exp(rng.normal(-14, 1))), np.exp(rng.normal(0, 2))) for second in seconds]
    told = [wandering(rng, second, name) for second in seconds for name in (BTC, ETH)]

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
    assert {decode_json(v, Calibration).regime for v in wanted if b"coverage_ratio" in v} == {0, 1}


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
    with pytest.raises(StateError, match=r"unreadable checkpoint: .*; another release wrote it; .* begins anew"):
        scorer().restore(b"\x01")


def test_a_checkpoint_of_an_earlier_release_is_an_error():
    earlier = {"resume": {}, "row_ns": 0, "forecast_ns": 0, "origins": {}, "waiting": [], "trackers": {}}
    with pytest.raises(StateError, match=r"missing required field `cells`; another release wrote it"):
        scorer().restore(msgspec.msgpack.encode(earlier))


def test_another_chain_of_regimes_begins_anew_and_the_weights_go_on():
    one = scorer()
    one.take_forecast(0, forecast(0), 1)
    one.take_forecast(1, forecast(10), 1)
    assert calibrations(one.take_row(0, row(60)))[0].regime == 0
    found = []
    for watched in (WATCHED, replace(WATCHED, short="realised_variance_1m"), None):
        other = scorer(watched)
        other.restore(one.state())
        (state,) = calibrations(other.take_row(1, row(70)))
        found.append((state.regime, state.count))
    assert found == [(0, 2), (-1, 2), (-1, 2)]


def test_the_end_of_a_bar_forecast_is_read_from_bar_rows():
    one = Scorer(HORIZONS["bars"], 5 * MINUTE_NS)
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
