"""All that the page knows of one instrument: its latest records, and a series by horizon."""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.calibration import Calibration
from schemas.forecasts import Attention, Forecast, ForecastScore
from schemas.tensors import QUANTILES
from streams.view.series import Series, step_of

_LEVELS = tuple(map(str, QUANTILES))
_MOST_NAMES = 24
"""Modalities, flags and experts that are kept of a record: far above what there are."""


class Latest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest forecast, as far as the page shows it all the time. `record_ms`: when its record was written."""

    id: str
    origin_ns: str
    origin_ms: float
    record_ms: int
    status: str
    reason: str
    quality: list[str]
    horizons: dict[str, Any]
    model: str
    weights: dict[str, float]


class Instrument:
    """One instrument. `version` rises with every change; numbers are those of the records."""

    def __init__(self, name: str, horizons: tuple[str, ...], row_interval_ns: int) -> None:
        self.name = name
        self.version = 0
        self.origin_ns = -1
        self.latest: Latest | None = None
        self.attention: Attention | None = None
        self.explained: Attention | None = None
        self.calibration: dict[str, Calibration] = {}
        self.ages: dict[str, float | None] = {}
        self.late = 0
        self.series = {horizon: Series(step_of(horizon, row_interval_ns)) for horizon in horizons}
        self._row_time_ns = -1

    def take_forecast(self, forecast: Forecast, record_ms: int, version: int) -> bool:
        """Take a forecast; False for a repeat or one that is older than what is known."""
        changed = False
        for horizon, series in self.series.items():
            one = forecast.horizons.get(horizon)
            if one is not None and all(level in one.quantiles for level in _LEVELS):
                numbers = [*(one.quantiles[level] for level in _LEVELS), one.mean]
                changed |= series.forecast(forecast.origin_time_ns, forecast.status, numbers, version)
        if forecast.origin_time_ns > self.origin_ns:
            self.origin_ns = forecast.origin_time_ns
            self.latest = _latest(forecast, record_ms, self.series)
            changed = True
        self.version = version if changed else self.version
        return changed

    def take_score(self, score: ForecastScore, version: int) -> bool:
        """Take what happened after a forecast; False for a repeat."""
        series = self.series.get(score.horizon)
        changed = series is not None and series.outcome(score.origin_time_ns, score.realised_variance, version)
        self.version = version if changed else self.version
        return changed

    def take_attention(self, attention: Attention, version: int) -> bool:
        """Take attention; an explained record of the same forecast wins over the one before it."""
        changed = False
        if _is_newer(attention, self.attention):
            self.attention, changed = attention, True
        if attention.contributions and _is_newer(attention, self.explained):
            self.explained, changed = attention, True
        self.version = version if changed else self.version
        return changed

    def take_calibration(self, state: Calibration, version: int) -> bool:
        """Take a calibration state; False where it is not newer."""
        known = self.calibration.get(state.horizon)
        if state.horizon not in self.series or (known is not None and known.as_of_ns >= state.as_of_ns):
            return False
        self.calibration[state.horizon], self.version = state, version
        return True

    def take_ages(self, ages: Mapping[str, float | None], row_time_ns: int, version: int) -> bool:
        """Take how long ago, in seconds, each kind of record was heard of (None: never), as of a row."""
        if row_time_ns <= self._row_time_ns:
            return False
        self._row_time_ns, self.ages, self.version = row_time_ns, dict(ages), version
        return True


def _is_newer(one: Attention, known: Attention | None) -> bool:
    if known is None or one.origin_time_ns != known.origin_time_ns:
        return known is None or one.origin_time_ns > known.origin_time_ns
    return bool(one.contributions) and not known.contributions


def _latest(forecast: Forecast, record_ms: int, horizons: Mapping[str, Series]) -> Latest:
    experts = list(forecast.experts.items())[:_MOST_NAMES]
    return Latest(
        id=forecast.id,
        origin_ns=str(forecast.origin_time_ns),
        origin_ms=forecast.origin_time_ns / 1e6,
        record_ms=record_ms,
        status=forecast.status,
        reason=forecast.reason,
        quality=forecast.quality[:_MOST_NAMES],
        horizons={name: one for name, one in forecast.horizons.items() if name in horizons},
        model=f"{forecast.model.name} {forecast.model.version}",
        weights={name: expert.weight for name, expert in experts},
    )
