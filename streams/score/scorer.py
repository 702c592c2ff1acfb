"""Forecasts of one partition against what then happened: pure, whatever the two topics' interleaving.

A forecast of horizon h made at t is compared with the realised variance over h that the row at
t + h holds. Either may be read first: forecasts wait for their row, and rows are kept while infer
is behind. For each instrument and horizon outcomes come in the order of their time, so calibration
is the same however the reading was interleaved.
"""

import heapq
import math
from collections import Counter
from collections.abc import Mapping

import msgspec

from schemas.errors import StateError
from schemas.forecasts import (
    Calibration,
    Forecast,
    ForecastScore,
    HorizonScore,
    Status,
    cloud_event_headers,
    encode_json,
)
from schemas.rows import Rows, decode_rows
from schemas.rules import HOUR_NS, MINUTE_NS, SECOND_NS
from schemas.tensors import HORIZON_NS
from schemas.topics import CALIBRATION, FEATURE_ROW, FORECAST, FORECAST_SCORE
from streams.score.losses import Claim, floor, score
from streams.score.tracker import Tracker
from streams.stage import Record

SPARSE_NS = 5 * MINUTE_NS
"""Horizons of an hour and more are scored for origins on these borders only."""
TELL_NS = 10 * SECOND_NS
"""A calibration state is written when an outcome's time is a multiple of this."""
COMBINED = "combined"

_Labels = dict[tuple[str, str], float]
"""Instrument and horizon to the realised variance that a row holds."""


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """One horizon of one forecast, waiting for its end."""

    instrument_id: str
    horizon: str
    origin_time_ns: int
    status: Status
    shift: tuple[float, float]
    claims: dict[str, Claim]


class _KeptRow(msgspec.Struct, frozen=True):
    offset: int
    labels: _Labels


class State(msgspec.Struct, frozen=True):
    """What a checkpoint holds; rows that are kept for late forecasts are read again."""

    resume: dict[str, int]
    row_ns: int
    forecast_ns: int
    origins: dict[str, int]
    waiting: list[Waiting]
    trackers: dict[str, dict[str, Tracker]]


class Scorer:
    """State of one partition."""

    def __init__(self, horizons: tuple[str, ...]) -> None:
        self.horizons = horizons
        self.left_out: Counter[str] = Counter()
        """Horizons of forecasts that could not be scored, by reason; for the stage to count and clear."""
        self.row_offset = 0
        self.forecast_offset = 0
        """The next offsets to read."""
        self._shortest_ns = min(HORIZON_NS[horizon] for horizon in horizons)
        self._row_ns = -1
        self._forecast_ns = -1
        self._rows: dict[int, _KeptRow] = {}
        self._origins: dict[str, int] = {}
        self._waiting: dict[int, list[Waiting]] = {}
        self._due: list[int] = []
        self._trackers: dict[str, dict[str, Tracker]] = {}

    @property
    def kept(self) -> int:
        """How many rows are kept for forecasts that have not come."""
        return len(self._rows)

    @property
    def resume(self) -> dict[str, int]:
        """Per topic the offset to read from after a restart: rows from the earliest that is kept."""
        row = next(iter(self._rows.values())).offset if self._rows else self.row_offset
        return {FEATURE_ROW: row, FORECAST: self.forecast_offset}

    def take_row(self, offset: int, value: bytes) -> list[Record]:
        """Take in a row message and return what it decides; raises DecodeError."""
        rows = decode_rows(value)
        self.row_offset = offset + 1
        time_ns = rows.header.row_time_ns
        labels = self._labels(rows)
        if self._is_wanted(time_ns) and time_ns not in self._rows:
            self._rows[time_ns] = _KeptRow(offset, labels)
        if time_ns <= self._row_ns:
            return []
        self._row_ns = time_ns
        records: list[Record] = []
        while self._due and self._due[0] <= time_ns:
            due_ns = heapq.heappop(self._due)
            found = labels if due_ns == time_ns else None
            for waiting in self._waiting.pop(due_ns):
                records += self._settle(waiting, due_ns, found, rows.header.partition)
        return records

    def take_forecast(self, offset: int, forecast: Forecast, partition: int) -> list[Record]:
        """Take in a forecast and return what is decided of it already; the first of an id counts."""
        self.forecast_offset = offset + 1
        origin_ns = forecast.origin_time_ns
        if self._origins.get(forecast.instrument_id, -1) >= origin_ns:
            return []
        self._origins[forecast.instrument_id] = origin_ns
        if origin_ns > self._forecast_ns:
            self._forecast_ns = origin_ns
            self._rows = {time_ns: row for time_ns, row in self._rows.items() if self._is_wanted(time_ns)}
        if forecast.status == "unavailable":
            self.left_out["unavailable"] += 1
        records: list[Record] = []
        for horizon in forecast.horizons:
            if HORIZON_NS[horizon] < HOUR_NS or origin_ns % SPARSE_NS == 0:
                records += self._take_horizon(_waiting(forecast, horizon), partition)
        return records

    def skip_row(self, offset: int) -> None:
        """Go past a row message that could not be read."""
        self.row_offset = offset + 1

    def skip_forecast(self, offset: int) -> None:
        """Go past a forecast that could not be read."""
        self.forecast_offset = offset + 1

    def _take_horizon(self, waiting: Waiting, partition: int) -> list[Record]:
        due_ns = waiting.origin_time_ns + HORIZON_NS[waiting.horizon]
        if due_ns <= self._row_ns:
            row = self._rows.get(due_ns)
            return self._settle(waiting, due_ns, row.labels if row else None, partition)
        if due_ns not in self._waiting:
            self._waiting[due_ns] = []
            heapq.heappush(self._due, due_ns)
        self._waiting[due_ns].append(waiting)
        return []

    def _is_wanted(self, row_ns: int) -> bool:
        """Say whether a forecast that ends at this row may still come."""
        return row_ns - self._shortest_ns >= self._forecast_ns

    def _labels(self, rows: Rows) -> _Labels:
        at = {name: column for column, name in enumerate(rows.features)}
        labels: _Labels = {}
        for horizon in self.horizons:
            names = (f"realised_variance_{horizon}", f"bar_realised_variance_{horizon}")
            column = next((at[name] for name in names if name in at), None)
            if column is not None:
                values = rows.values[:, column].tolist()
                labels |= {(name, horizon): value for name, value in zip(rows.instruments, values, strict=True)}
        return labels

    def _settle(self, waiting: Waiting, due_ns: int, labels: _Labels | None, partition: int) -> list[Record]:
        variance = math.nan if labels is None else labels.get((waiting.instrument_id, waiting.horizon), math.nan)
        if not math.isfinite(variance):
            self.left_out["no-row" if labels is None else "masked"] += 1
            return []
        scores = {name: score(claim, variance, waiting.horizon) for name, claim in waiting.claims.items()}
        tracker = self._learn(waiting, variance, scores)
        records = [_score_record(waiting, due_ns, variance, scores, partition)]
        if due_ns % TELL_NS == 0:
            calibration = tracker.record(waiting.instrument_id, waiting.horizon, due_ns)
            records.append(_calibration_record(calibration, partition))
        return records

    def _learn(self, waiting: Waiting, variance: float, scores: Mapping[str, HorizonScore]) -> Tracker:
        horizons = self._trackers.setdefault(waiting.instrument_id, {})
        tracker = horizons.setdefault(waiting.horizon, Tracker())
        least = floor(waiting.horizon)
        quantiles = list(waiting.claims[COMBINED].quantiles.values())
        low, high = (math.log(max(value, least)) for value in (quantiles[0], quantiles[-1]))
        y = math.log(max(variance, least))
        tracker.observe(y, low - waiting.shift[0], high - waiting.shift[1], covered=scores[COMBINED].coverage["0.9"])
        if waiting.status == "model":
            tracker.compare({name: one for name, one in scores.items() if name != COMBINED})
        return tracker

    def state(self) -> bytes:
        """Return what a checkpoint holds."""
        waiting = [one for due_ns in sorted(self._waiting) for one in self._waiting[due_ns]]
        # Rows that are kept are read again, and a forecast that ends at one waits for it: as of the
        # checkpoint they are not read yet. What they have decided already waits no more.
        row_ns = next(iter(self._rows)) - 1 if self._rows else self._row_ns
        state = State(self.resume, row_ns, self._forecast_ns, self._origins, waiting, self._trackers)
        return msgspec.msgpack.encode(state)

    def restore(self, blob: bytes) -> Mapping[str, int]:
        """Go back to a checkpoint and return where to read on; raises StateError where it is unreadable."""
        try:
            state = msgspec.msgpack.decode(blob, type=State)
        except msgspec.DecodeError as error:
            raise StateError(f"score: unreadable checkpoint: {error}") from None
        self._row_ns, self._forecast_ns = state.row_ns, state.forecast_ns
        self._origins, self._trackers = state.origins, state.trackers
        for one in state.waiting:
            self._waiting.setdefault(one.origin_time_ns + HORIZON_NS[one.horizon], []).append(one)
        self._due = sorted(self._waiting)
        self.row_offset, self.forecast_offset = state.resume[FEATURE_ROW], state.resume[FORECAST]
        return state.resume


def _waiting(forecast: Forecast, horizon: str) -> Waiting:
    combined = forecast.horizons[horizon]
    shift = forecast.calibration[horizon].shift if horizon in forecast.calibration else (0.0, 0.0)
    claims = {COMBINED: Claim(combined.mean, combined.quantiles)}
    for name, expert in forecast.experts.items():
        if horizon in expert.means and horizon in expert.quantiles:
            claims[name] = Claim(expert.means[horizon], expert.quantiles[horizon])
    return Waiting(forecast.instrument_id, horizon, forecast.origin_time_ns, forecast.status, shift, claims)


def _score_record(
    waiting: Waiting, due_ns: int, variance: float, scores: dict[str, HorizonScore], partition: int
) -> Record:
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
    )
    headers = cloud_event_headers("forecast-score", record.id, due_ns, waiting.instrument_id)
    return Record(FORECAST_SCORE, waiting.instrument_id.encode(), encode_json(record), headers, partition)


def _calibration_record(calibration: Calibration, partition: int) -> Record:
    # Compaction keeps the last record of each key, so the key must name the horizon too.
    key = f"{calibration.instrument_id}|{calibration.horizon}"
    headers = cloud_event_headers(
        "calibration", f"{key}@{calibration.as_of_ns}", calibration.as_of_ns, calibration.instrument_id
    )
    return Record(CALIBRATION, key.encode(), encode_json(calibration), headers, partition)
