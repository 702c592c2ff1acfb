"""Forecasts and attention as records of their topics."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.forecasts import (
    Attention,
    CalibrationShift,
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
from streams.infer.combine import Levels
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
    """The numbers of a batch of N instruments, K experts, H horizons."""

    levels: Levels
    shift: npt.NDArray[np.float64]
    """(N, H, 2)"""
    widths: npt.NDArray[np.float32]
    """(N, H)"""
    experts: dict[str, Levels]
    weights: npt.NDArray[np.float64]
    """(K, N)"""
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
        horizon: CalibrationShift(
            shift=(float(made.shift[place, index, 0]), float(made.shift[place, index, 1])), rank=float(ranks[index])
        )
        for index, horizon in enumerate(models.horizons)
    }


def _experts(models: Models, made: Made, place: int) -> dict[str, ExpertForecast]:
    """Return the experts that took part: log-HAR alone in a fallback."""
    hashes = {"har": models.har_hash} | {network.expert: network.hash for network in models.networks}
    names = list(made.experts) if made.status[place] == "model" else ["har"]
    return {
        name: ExpertForecast(
            weight=float(made.weights[list(made.experts).index(name), place]),
            hash=hashes[name],
            means=dict(zip(models.horizons, made.experts[name].mean[place].tolist(), strict=True)),
            quantiles={
                horizon: _quantiles(made.experts[name], place, index) for index, horizon in enumerate(models.horizons)
            },
        )
        for name in names
    }


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
