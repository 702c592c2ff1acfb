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
from typing import NamedTuple

import msgspec
import numpy as np

from schemas.forecasts import Forecast
from schemas.rows import Rows, decode_rows
from schemas.rules import HOUR_NS, MINUTE_NS, SECOND_NS
from schemas.tensors import HORIZON_NS
from schemas.topics import FEATURE_ROW, FORECAST
from streams.score.cells import Cell, Pace, Waiting
from streams.score.drift import DriftWatch
from streams.score.inputs import Range
from streams.score.losses import COMBINED, floor, score
from streams.score.records import calibration_record, check, score_record, waiting_for
from streams.score.state import State, decode_state
from streams.stage import Record
from triton_models.online.regimes import UNKNOWN, Filter, Seen, Watched

SPARSE_NS = 5 * MINUTE_NS
"""Horizons of an hour and more are scored for origins on these borders only."""
TELL_NS = 10 * SECOND_NS
"""A calibration state is written when an outcome's time is a multiple of this."""

_Labels = dict[tuple[str, str], float]
"""Instrument and horizon to the realised variance that a row holds."""


class _Row(NamedTuple):
    """What a row says of forecasts that end at it."""

    offset: int
    labels: _Labels
    regimes: Mapping[str, int]
    """By instrument, as of this row."""
    before: Seen | None
    """What the filter of regimes held before this row: to be read again, it must not have been read."""


class Scorer:
    """State of one partition."""

    def __init__(
        self,
        horizons: tuple[str, ...],
        row_interval_ns: int,
        watched: Watched | None = None,
        trained_on: Range | None = None,
    ) -> None:
        """Score forecasts made at every row; without `watched` no regime is told from another."""
        self.horizons = horizons
        self.left_out: Counter[str] = Counter()
        """Horizons of forecasts that could not be scored, by reason; for the stage to count and clear."""
        self.row_offset = 0
        self.forecast_offset = 0
        """The next offsets to read."""
        self._shortest_ns = min(HORIZON_NS[horizon] for horizon in horizons)
        self._row_ns = -1
        self._forecast_ns = -1
        self._rows: dict[int, _Row] = {}
        self._origins: dict[str, int] = {}
        self._waiting: dict[int, list[Waiting]] = {}
        self._due: list[int] = []
        self._paces = {horizon: Pace.of(horizon, _step_ns(horizon, row_interval_ns)) for horizon in horizons}
        self._cells: dict[str, dict[str, Cell]] = {}
        self._filter = None if watched is None else Filter(watched)
        self._trained_on = trained_on
        self._drift = DriftWatch(horizons, trained_on=trained_on)

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
        row = self._read(rows, offset)
        if self._is_wanted(time_ns) and time_ns not in self._rows:
            self._rows[time_ns] = row
        if time_ns <= self._row_ns:
            return []
        self._row_ns = time_ns
        records = self._drift.take_row(rows)
        while self._due and self._due[0] <= time_ns:
            due_ns = heapq.heappop(self._due)
            for waiting in self._waiting.pop(due_ns):
                records += self._settle(waiting, row if due_ns == time_ns else None, rows.header.partition)
        return records

    def _read(self, rows: Rows, offset: int) -> _Row:
        """Return what a row says; the filter of regimes takes in every row once."""
        if self._filter is None:
            return _Row(offset, self._labels(rows), {}, None)
        before = self._filter.seen
        if rows.header.row_time_ns > self._row_ns:
            self._filter.take(rows)
        return _Row(offset, self._labels(rows), self._filter.regimes, before)

    def take_forecast(self, offset: int, forecast: Forecast, partition: int) -> list[Record]:
        """Take in a forecast and return what is decided of it already; the first of an id counts.

        Raises DecodeError, and takes in nothing, where it cannot be scored.
        """
        check(forecast, self.horizons)
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
                records += self._take_horizon(waiting_for(forecast, horizon), partition)
        return records

    def skip_row(self, offset: int) -> None:
        """Go past a row message that could not be read."""
        self.row_offset = offset + 1

    def skip_forecast(self, offset: int) -> None:
        """Go past a forecast that could not be read."""
        self.forecast_offset = offset + 1

    def _take_horizon(self, waiting: Waiting, partition: int) -> list[Record]:
        due_ns = waiting.due_ns
        if due_ns <= self._row_ns:
            return self._settle(waiting, self._rows.get(due_ns), partition)
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

    def _settle(self, waiting: Waiting, row: _Row | None, partition: int) -> list[Record]:
        name, horizon, due_ns = waiting.instrument_id, waiting.horizon, waiting.due_ns
        variance = math.nan if row is None else row.labels.get((name, horizon), math.nan)
        if row is None or not math.isfinite(variance):
            self.left_out["no-row" if row is None else "masked"] += 1
            return []
        claims = {COMBINED: waiting.combined, **waiting.experts}
        scores = {expert: score(claim, variance, horizon) for expert, claim in claims.items()}
        cell = self._cell(name, horizon)
        y = np.asarray(np.log(max(variance, floor(horizon))))
        cell.learn(waiting, y, held=scores[COMBINED].coverage["0.9"])
        records = [score_record(waiting, variance, scores, partition), *self._drift.take(waiting, scores, partition)]
        if due_ns % TELL_NS == 0:
            told = cell.record(name, horizon, due_ns, row.regimes.get(name, UNKNOWN))
            records.append(calibration_record(told, partition))
        return records

    def _cell(self, instrument: str, horizon: str) -> Cell:
        cells = self._cells.setdefault(instrument, {})
        if horizon not in cells:
            cells[horizon] = Cell(self._paces[horizon])
        return cells[horizon]

    def state(self) -> bytes:
        """Return what a checkpoint holds."""
        waiting = [one for due_ns in sorted(self._waiting) for one in self._waiting[due_ns]]
        # Rows that are kept are read again, and a forecast that ends at one waits for it: as of the
        # checkpoint they are not read yet. What they have decided already waits no more.
        row_ns, seen = self._row_ns, self._filter.seen if self._filter else None
        if self._rows:
            first_ns, first = next(iter(self._rows.items()))
            row_ns, seen = first_ns - 1, first.before
        cells = {
            name: {horizon: cell.state() for horizon, cell in horizons.items()}
            for name, horizons in self._cells.items()
        }
        state = State(self.resume, row_ns, self._forecast_ns, self._origins, waiting, cells, seen, self._drift.states())
        return msgspec.msgpack.encode(state)

    def restore(self, blob: bytes) -> Mapping[str, int]:
        """Go back to a checkpoint and return where to read on; raises StateError where it is unreadable."""
        state = decode_state(blob, self.horizons)
        self._row_ns, self._forecast_ns = state.row_ns, state.forecast_ns
        self._origins, self._drift = state.origins, DriftWatch(self.horizons, state.drift, self._trained_on)
        self._cells = {
            name: {horizon: Cell(self._paces[horizon], cell) for horizon, cell in horizons.items()}
            for name, horizons in state.cells.items()
        }
        if self._filter is not None:
            self._filter = Filter(self._filter.watched, state.seen)
        for one in state.waiting:
            self._waiting.setdefault(one.due_ns, []).append(one)
        self._due = sorted(self._waiting)
        self.row_offset, self.forecast_offset = state.resume[FEATURE_ROW], state.resume[FORECAST]
        return state.resume


def _step_ns(horizon: str, row_interval_ns: int) -> int:
    """Return the time between the origins of a horizon that are scored."""
    return row_interval_ns if HORIZON_NS[horizon] < HOUR_NS else max(row_interval_ns, SPARSE_NS)
