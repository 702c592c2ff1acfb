"""Records as infer and score write them, of made-up instruments: numbers of the right size, and nothing behind them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from schemas.calibration import Calibration, CalibrationShift, Coverage
from schemas.forecasts import (
    Attention,
    ExpertForecast,
    Forecast,
    ForecastScore,
    HeadSummary,
    HorizonForecast,
    HorizonScore,
    ModelName,
    Receipt,
    encode_json,
)
from schemas.instruments import base_asset, partition_of
from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.tensors import HORIZON_NS, HORIZONS, QUANTILES, YEAR_NS
from schemas.topics import ATTENTION, CALIBRATION, FEATURE_ROW, FORECAST, FORECAST_SCORE

_EXPERTS = ("har", "ewma", "lstm", "performer")
_MODALITIES = ("trade", "quote", "depth", "derivative", "liquidation", "option", "flow", "score", "clock")
_HEADS = 4
_HORIZONS = HORIZONS["ticks"]
_SPREAD = 0.35
"""Standard deviation of the log of the variance, over horizons."""
_NORMAL = dict(zip(QUANTILES, (-1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645), strict=True))
_SPARSE_NS = 5 * MINUTE_NS
_MODEL = ModelName(name="combined", version="1+1", hash="0" * 64)


class Record(NamedTuple):
    """One record for a topic; `partition` is that of the instrument."""

    topic: str
    partition: int
    key: bytes
    value: bytes


def instruments(count: int) -> list[str]:
    """Return names of so many instruments.

    >>> instruments(2)
    ['bench:A00-USDT', 'bench:A01-USDT']
    """
    return [f"bench:A{number:02d}-USDT" for number in range(count)]


def second_of(names: list[str], origin_ns: int, partitions: int) -> Iterator[Record]:
    """Yield all that infer and score write in one second of live running."""
    for place, name in enumerate(names):
        partition = partition_of(base_asset(name), partitions)
        pairs: list[tuple[str, msgspec.Struct]] = [
            (FORECAST, forecast_of(name, origin_ns, place)),
            (ATTENTION, attention_of(name, origin_ns)),
        ]
        for horizon in _HORIZONS:
            scored_ns = origin_ns - HORIZON_NS[horizon]
            if HORIZON_NS[horizon] <= _SPARSE_NS or scored_ns % _SPARSE_NS == 0:
                pairs += [(FORECAST_SCORE, score_of(name, scored_ns, horizon, place))]
                pairs += [(CALIBRATION, calibration_of(name, origin_ns, horizon))]
        for topic, record in pairs:
            yield Record(topic, partition, name.encode(), encode_json(record))


def _variance(place: int, time_ns: int, horizon: str) -> float:
    """Return a variance that moves slowly, around 40 to 90 % a year."""
    level = 0.4 + 0.005 * (place % 100)
    wave = 1 + 0.2 * math.sin(time_ns / (90 * SECOND_NS) + place)
    return (level * wave) ** 2 * HORIZON_NS[horizon] / YEAR_NS


def _quantiles(middle: float) -> dict[str, float]:
    return {str(level): middle * math.exp(_SPREAD * score) for level, score in _NORMAL.items()}


def forecast_of(name: str, origin_ns: int, place: int = 0, status: str = "model") -> Forecast:
    """Return a forecast as long as one of four experts is."""
    middles = {horizon: _variance(place, origin_ns, horizon) for horizon in _HORIZONS}
    experts = {
        expert: ExpertForecast(
            weight=0.25,
            hash="0" * 64,
            means={horizon: middle * 1.01 for horizon, middle in middles.items()},
            quantiles={horizon: _quantiles(middle * 1.001) for horizon, middle in middles.items()},
            weights=dict.fromkeys(_HORIZONS, (0.25, 0.25)),
        )
        for expert in _EXPERTS
    }
    horizons = {
        horizon: HorizonForecast(
            mean=middle * 1.06,
            quantiles=_quantiles(middle),
            volatility_annualised=math.sqrt(middle * YEAR_NS / HORIZON_NS[horizon]),
            uncertainty=0.4,
        )
        for horizon, middle in middles.items()
    }
    return Forecast(
        id=f"{name}@{origin_ns}",
        instrument_id=name,
        origin_time_ns=origin_ns,
        status="fallback" if status == "fallback" else "model",
        reason="deadline" if status == "fallback" else "",
        horizons=horizons,
        model=_MODEL,
        feature_set_id="bench",
        valid_until_ns=origin_ns + MINUTE_NS,
        calibration=dict.fromkeys(_HORIZONS, CalibrationShift(shift=(-0.1, 0.1), shifts=(0.0,) * 7, regime=0)),
        experts=experts,
        receipt=Receipt(rows=[(FEATURE_ROW, 0, 0, 31)], features_hash="0" * 64, batch=(128, place % 128)),
    )


def attention_of(name: str, origin_ns: int) -> Attention:
    """Return attention over nine modalities and four heads."""
    total = sum(range(1, len(_MODALITIES) + 1))
    masses = {modality: (rank + 1) / total for rank, modality in enumerate(_MODALITIES)}
    heads = [
        HeadSummary(
            half_life_seconds=float(4 << head),
            mean_look_back_seconds=float(2 << head),
            entropy=2.5,
            modalities=masses,
            top=[(modality, float(head), 0.05) for modality in _MODALITIES[:3]],
        )
        for head in range(_HEADS)
    ]
    return Attention(
        id=f"{name}@{origin_ns}",
        instrument_id=name,
        origin_time_ns=origin_ns,
        model=_MODEL,
        modalities=masses,
        heads=heads,
        faithfulness=(0.6, 50),
    )


def score_of(name: str, origin_ns: int, horizon: str, place: int = 0) -> ForecastScore:
    """Return what happened after a forecast, as it is scored for the combination and each expert."""
    realised = _variance(place, origin_ns, horizon) * math.exp(0.5 * math.sin(origin_ns / (7 * SECOND_NS) + place))
    one = HorizonScore(
        mean=realised, qlike=0.1, pinball=0.1, crps=0.1, coverage={"0.5": True, "0.8": True, "0.9": True}
    )
    return ForecastScore(
        id=f"{name}@{origin_ns}/{horizon}",
        forecast_id=f"{name}@{origin_ns}",
        instrument_id=name,
        origin_time_ns=origin_ns,
        horizon=horizon,
        status="model",
        realised_variance=realised,
        scores=dict.fromkeys(("combined", *_EXPERTS), one),
        regime=0,
    )


def calibration_of(name: str, as_of_ns: int, horizon: str) -> Calibration:
    """Return a calibration state of a long run."""
    coverage = Coverage(count=5_000, ratio=0.903, recent_count=1_000, recent_ratio=0.896)
    return Calibration(
        instrument_id=name,
        horizon=horizon,
        as_of_ns=as_of_ns,
        shift=(-0.1, 0.1),
        coverage_ratio=0.903,
        count=5_000,
        weights=dict.fromkeys(_EXPERTS, 0.25),
        quantile_weights=dict.fromkeys(_EXPERTS, 0.25),
        regime=0,
        coverage=coverage,
    )
