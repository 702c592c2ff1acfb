"""Forecasts as they wait to be scored; scores and calibration states as records of their topics."""

from collections.abc import Collection

from schemas.calibration import Calibration, is_watched_only
from schemas.errors import DecodeError
from schemas.forecasts import Forecast, ForecastScore, HorizonScore, cloud_event_headers, encode_json
from schemas.tensors import QUANTILES
from schemas.topics import CALIBRATION, FORECAST_SCORE
from streams.score.cells import Waiting
from streams.score.losses import Claim
from streams.stage import Record
from triton_models.online.conformal import REGIMES

_LEVELS = {str(level) for level in QUANTILES}


def check(forecast: Forecast, horizons: Collection[str]) -> None:
    """Raise DecodeError for a forecast whose horizons, quantiles, shifts or regimes are none that can be scored."""
    if unknown := forecast.horizons.keys() - set(horizons):
        raise DecodeError(f"expected horizons among {', '.join(horizons)}, got {min(unknown)!r}", path="$.horizons")
    told = [(f"$.horizons.{horizon}", each.quantiles) for horizon, each in forecast.horizons.items()]
    told += [
        (f"$.experts.{name}.quantiles.{horizon}", quantiles)
        for name, expert in forecast.experts.items()
        for horizon, quantiles in expert.quantiles.items()
    ]
    for path, quantiles in told:
        if quantiles.keys() != _LEVELS:
            raise DecodeError(f"expected the {len(_LEVELS)} quantiles, got {', '.join(quantiles) or 'none'}", path=path)
    for horizon, each in forecast.calibration.items():
        if len(each.shifts) not in {0, len(_LEVELS)} or not -1 <= each.regime < REGIMES:
            raise DecodeError(
                f"expected {len(_LEVELS)} shifts and a regime from -1 to {REGIMES - 1}, "
                f"got {len(each.shifts)} and {each.regime}",
                path=f"$.calibration.{horizon}",
            )


def waiting_for(forecast: Forecast, horizon: str) -> Waiting:
    """Return what is kept of one horizon of a forecast until its end."""
    combined = forecast.horizons[horizon]
    shift = forecast.calibration.get(horizon)
    return Waiting(
        instrument_id=forecast.instrument_id,
        horizon=horizon,
        origin_time_ns=forecast.origin_time_ns,
        status=forecast.status,
        combined=Claim(combined.mean, combined.quantiles),
        experts={
            name: Claim(expert.means[horizon], expert.quantiles[horizon])
            for name, expert in forecast.experts.items()
            if horizon in expert.means and horizon in expert.quantiles
        },
        weights={
            name: expert.weights[horizon]
            for name, expert in forecast.experts.items()
            if horizon in expert.weights and not is_watched_only(name)
        },
        shifts=shift.shifts if shift else (),
        regime=shift.regime if shift else -1,
    )


def score_record(waiting: Waiting, variance: float, scores: dict[str, HorizonScore], partition: int) -> Record:
    """Return one horizon of a forecast against what then happened."""
    forecast_id = f"{waiting.instrument_id}@{waiting.origin_time_ns}"
    record = ForecastScore(
        id=f"{forecast_id}/{waiting.horizon}",
        forecast_id=forecast_id,
        instrument_id=waiting.instrument_id,
        origin_time_ns=waiting.origin_time_ns,
        horizon=waiting.horizon,
        status=waiting.status,
        realised_variance=variance,
        scores=scores,
        regime=waiting.regime,
    )
    headers = cloud_event_headers("forecast-score", record.id, waiting.due_ns, waiting.instrument_id)
    return Record(FORECAST_SCORE, waiting.instrument_id.encode(), encode_json(record), headers, partition)


def calibration_record(calibration: Calibration, partition: int) -> Record:
    """Return a calibration state under the key of its cell."""
    # Compaction keeps the last record of each key, so the key must name the horizon too.
    key = f"{calibration.instrument_id}|{calibration.horizon}"
    headers = cloud_event_headers(
        "calibration", f"{key}@{calibration.as_of_ns}", calibration.as_of_ns, calibration.instrument_id
    )
    return Record(CALIBRATION, key.encode(), encode_json(calibration), headers, partition)
