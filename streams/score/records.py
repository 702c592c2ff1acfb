"""Forecasts as they wait to be scored; scores and calibration states as records of their topics."""

from schemas.calibration import Calibration, is_watched_only
from schemas.forecasts import Forecast, ForecastScore, HorizonScore, cloud_event_headers, encode_json
from schemas.topics import CALIBRATION, FORECAST_SCORE
from streams.score.cells import Waiting
from streams.score.losses import Claim
from streams.stage import Record


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
