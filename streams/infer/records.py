"""Forecasts and attention as records of their topics."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.calibration import CalibrationShift
from schemas.forecasts import (
    Attention,
    ExpertForecast,
    Forecast,
    HorizonForecast,
    ModelName,
    Quantiles,
    Receipt,
    Status,
    cloud_event_headers,
    encode_json,
)
from schemas.tensors import HORIZON_NS, QUANTILES, YEAR_NS
from schemas.topics import ATTENTION, FEATURE_ROW, FORECAST, FORECAST_LATEST
from streams.infer.attention import Summary
from streams.infer.combine import Floats, Levels
from streams.infer.models import Models
from streams.stage import Record

_NAMES = tuple(str(level) for level in QUANTILES)


class Origin(NamedTuple):
    """Where and when forecasts are made: a row message, and the offsets of the window behind it."""

    time_ns: int
    partition: int
    feature_set_id: str
    first_offset: int
    last_offset: int
    instruments: tuple[str, ...]


class Made(NamedTuple):
    """The numbers of a batch of N instruments, K experts, H horizons, Q quantiles."""

    levels: Levels
    shifts: Floats
    """(N, H, Q)"""
    regime: npt.NDArray[np.int64]
    """(N,)"""
    widths: npt.NDArray[np.float32]
    """(N, H)"""
    experts: dict[str, Levels]
    """NaN where one knows nothing."""
    weights: dict[str, Floats]
    """(N, H, 2) of each expert, for means and for quantiles."""
    status: list[Status]
    reason: str


def forecast_record(
    models: Models,
    origin: Origin,
    instrument: str,
    quality: list[str],
    made: Made,
    place: int,
    ranks: npt.NDArray[np.float64],
    receipt: tuple[str, tuple[int, int]],
) -> Forecast:
    """Return the forecast of one instrument, which is at `place` of the batch."""
    status = made.status[place]
    known = status != "unavailable"
    reasons = {"model": "", "fallback": made.reason, "unavailable": f"{models.har.windows[0]} is not known"}
    digest, batch = receipt
    return Forecast(
        id=f"{instrument}@{origin.time_ns}",
        instrument_id=instrument,
        origin_time_ns=origin.time_ns,
        status=status,
        reason=reasons[status],
        quality=quality,
        horizons=_horizons(models, made, place, ranks) if known else {},
        model=models.combined if status == "model" else models.fallback,
        feature_set_id=origin.feature_set_id,
        valid_until_ns=origin.time_ns + HORIZON_NS[models.horizons[0]],
        calibration=_calibration(models, made, place, ranks) if known else {},
        experts=_experts(models, made, place) if known else {},
        receipt=Receipt(
            rows=[(FEATURE_ROW, origin.partition, origin.first_offset, origin.last_offset)],
            features_hash=digest,
            batch=batch,
        ),
    )


def _horizons(models: Models, made: Made, place: int, ranks: npt.NDArray[np.float64]) -> dict[str, HorizonForecast]:
    means = made.levels.mean[place]
    return {
        horizon: HorizonForecast(
            mean=float(means[index]),
            quantiles=_quantiles(made.levels, place, index),
            volatility_annualised=float(np.sqrt(means[index] * (YEAR_NS / HORIZON_NS[horizon]))),
            uncertainty=float(ranks[index]),
        )
        for index, horizon in enumerate(models.horizons)
    }


def _calibration(models: Models, made: Made, place: int, ranks: npt.NDArray[np.float64]) -> dict[str, CalibrationShift]:
    return {
        horizon: _shift(made.shifts[place, index].tolist(), int(made.regime[place]), float(ranks[index]))
        for index, horizon in enumerate(models.horizons)
    }


def _shift(shifts: list[float], regime: int, rank: float) -> CalibrationShift:
    return CalibrationShift(shift=(shifts[0], shifts[-1]), rank=rank, shifts=tuple(shifts), regime=regime)


def _experts(models: Models, made: Made, place: int) -> dict[str, ExpertForecast]:
    """Return the experts that took part, and those that are watched: log-HAR alone in a fallback."""
    hashes = {network.expert: network.hash for network in models.networks}
    names = list(made.experts) if made.status[place] == "model" else ["har"]
    return {name: _expert(models, made, place, name, hashes.get(name, models.har_hash)) for name in names}


def _expert(models: Models, made: Made, place: int, name: str, digest: str) -> ExpertForecast:
    levels, weights = made.experts[name], made.weights[name][place]  # (H, 2)
    known = [(index, models.horizons[index]) for index in np.flatnonzero(levels.known()[place]).tolist()]
    return ExpertForecast(
        weight=float(weights[:, 0].sum() / len(weights)),
        hash=digest,
        means={horizon: float(levels.mean[place, index]) for index, horizon in known},
        quantiles={horizon: _quantiles(levels, place, index) for index, horizon in known},
        weights={
            horizon: (mean, quantiles)
            for horizon, (mean, quantiles) in zip(models.horizons, weights.tolist(), strict=True)
        },
    )


def _quantiles(levels: Levels, place: int, horizon: int) -> Quantiles:
    return dict(zip(_NAMES, levels.quantiles[place, horizon].tolist(), strict=True))


def forecast_records(forecast: Forecast, partition: int) -> list[Record]:
    """Return a forecast for its topic and for that of the latest ones."""
    value = encode_json(forecast)
    key = forecast.instrument_id.encode()
    headers = cloud_event_headers("forecast", forecast.id, forecast.origin_time_ns, forecast.instrument_id)
    return [Record(topic, key, value, headers, partition) for topic in (FORECAST, FORECAST_LATEST)]


def attention_record(models: Models, origin: Origin, instrument: str, summary: Summary) -> Record:
    """Return the attention behind a forecast."""
    performer = next(network for network in models.networks if network.half_lives)
    attention = Attention(
        id=f"{instrument}@{origin.time_ns}",
        instrument_id=instrument,
        origin_time_ns=origin.time_ns,
        model=ModelName(name=performer.name, version=performer.version, hash=performer.hash),
        modalities=summary.modalities,
        heads=summary.heads,
    )
    headers = cloud_event_headers("attention", attention.id, origin.time_ns, instrument)
    return Record(ATTENTION, instrument.encode(), encode_json(attention), headers, origin.partition)
