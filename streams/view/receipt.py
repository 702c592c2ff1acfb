"""One forecast as its record has it, with its attention and what then happened."""

import json
from typing import Any

from schemas.forecasts import Attention, ForecastScore, encode_json
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZON_NS
from schemas.topics import ATTENTION, FORECAST, FORECAST_SCORE
from streams.reading import LogReader
from streams.receipts import find_forecast, parse_id
from streams.view.log import JsonLog, partition_for

_BEHIND = 4_000
"""The explained record of a forecast stands so many records behind its first at most."""
_SCORES = 1_500
_DISORDER_NS = 5 * SECOND_NS


def receipt_of(reader: LogReader, forecast_id: str) -> dict[str, Any]:
    """Return what there is of a forecast; `record` is the JSON text of the record, with its long numbers.

    Raises SettingsError for what is no id, StateError where there is no such forecast (any more).
    """
    instrument, origin_ns = parse_id(forecast_id)
    forecast = find_forecast(reader, instrument, origin_ns)
    return {
        "id": forecast_id,
        "topic": FORECAST,
        "partition": partition_for(reader, FORECAST, instrument),
        "record": encode_json(forecast).decode(),
        "attention": _attention(reader, instrument, origin_ns),
        "outcomes": _outcomes(reader, instrument, origin_ns, tuple(forecast.horizons)),
    }


def _attention(reader: LogReader, instrument: str, origin_ns: int) -> Any:
    """Return the attention behind a forecast as JSON values, explained where it was; None where there is none."""
    log = JsonLog(reader, ATTENTION, partition_for(reader, ATTENTION, instrument), lambda one: one.origin_time_ns)
    begin = log.first_at(origin_ns - _DISORDER_NS)
    found = None
    for _, one in log.read(Attention, begin, begin + _BEHIND):
        if one.instrument_id == instrument and one.origin_time_ns == origin_ns:
            found = one
            if one.contributions:
                break
    return None if found is None else json.loads(encode_json(found))


def _outcomes(reader: LogReader, instrument: str, origin_ns: int, horizons: tuple[str, ...]) -> dict[str, Any]:
    log = JsonLog(
        reader,
        FORECAST_SCORE,
        partition_for(reader, FORECAST_SCORE, instrument),
        lambda one: one.origin_time_ns + HORIZON_NS.get(one.horizon, 0),
    )
    found = {horizon: _outcome(log, instrument, origin_ns, horizon) for horizon in horizons if horizon in HORIZON_NS}
    return {horizon: outcome for horizon, outcome in found.items() if outcome is not None}


def _outcome(log: JsonLog, instrument: str, origin_ns: int, horizon: str) -> Any:
    begin = log.first_at(origin_ns + HORIZON_NS[horizon])
    for _, one in log.read(ForecastScore, begin, begin + _SCORES):
        if (one.instrument_id, one.origin_time_ns, one.horizon) == (instrument, origin_ns, horizon):
            best = one.scores.get("combined") or next(iter(one.scores.values()), None)
            return {"realised_variance": one.realised_variance, "coverage": best.coverage if best else {}}
    return None
