"""When things stood on the topics: how far rows were behind, and which forecasts came in time."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from schemas.forecasts import Forecast, decode_json
from schemas.rows import decode_rows
from schemas.rules import Rules
from schemas.topics import FEATURE_ROW, FORECAST
from streams.kafka import read_topic
from streams.settings import Settings

DEADLINE_INTERVALS = 2
"""A forecast is in time that is there so many row intervals after its row: it is then the newest but one at most."""

Slot = tuple[str, int]
"""Instrument and origin time of a scheduled forecast."""


class Made(NamedTuple):
    """A forecast: when it was given to Kafka, and how it was made."""

    written_ms: int
    status: str
    version: str


def rows_written(settings: Settings) -> dict[Slot, int]:
    """Return when each scheduled forecast's row was first given to Kafka, in ms since 1970."""
    found: dict[Slot, int] = {}
    for message in read_topic(settings, FEATURE_ROW):
        rows = decode_rows(message.value or b"")
        for name in rows.instruments:
            found.setdefault((name, rows.header.row_time_ns), message.timestamp_ms)
    return found


def forecasts_made(settings: Settings) -> dict[Slot, Made]:
    """Return the first record of each forecast."""
    found: dict[Slot, Made] = {}
    for message in read_topic(settings, FORECAST):
        forecast = decode_json(message.value or b"", Forecast)
        version = forecast.model.version if forecast.model is not None else ""
        made = Made(message.timestamp_ms, forecast.status, version)
        found.setdefault((forecast.instrument_id, forecast.origin_time_ns), made)
    return found


def in_time(settings: Settings, rows: Mapping[Slot, int], made: Mapping[Slot, Made]) -> list[Slot]:
    """Return the forecasts that were there by their deadline."""
    deadline_ms = DEADLINE_INTERVALS * settings.rules.row_interval_ns // 1_000_000
    return [slot for slot, at_ms in rows.items() if slot in made and made[slot].written_ms - at_ms <= deadline_ms]


def most_behind(rows: Mapping[Slot, int], ahead_ms: float, since_ms: float, rules: Rules) -> float:
    """Return by how many seconds a row came later than it may wait for silent venues; inf where there is none.

    Of rows due since a time, of a market played at speed 1, `ahead_ms` the playing's. A venue that falls
    silent holds rows for the idle timeout, and the allowed lateness on top, whatever else happens.
    """
    waits_ms = (rules.allowed_lateness_ns + rules.idle_timeout_ns) / 1e6
    due = ((at_ms, time_ns / 1e6 + ahead_ms) for (_, time_ns), at_ms in rows.items())
    lags = [at_ms - due_ms for at_ms, due_ms in due if due_ms >= since_ms]
    return max(0.0, max(lags, default=float("inf")) - waits_ms) / 1e3


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed; 0 where there are none.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
