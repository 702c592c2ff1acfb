"""Rows of one partition to forecasts: pure, in log order, with the networks' answers handed in.

`take_row` queues work, `next_batch` says what to ask the networks, `settle` turns their answer, or
the reason why there is none, into records. Every instrument of every row gets its forecast: from
the networks and log-HAR together, from log-HAR alone, or one that says that nothing is known.
"""

from collections import Counter, deque

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.calibration import Calibration
from schemas.errors import DecodeError, StateError
from schemas.forecasts import Forecast
from schemas.rows import decode_rows
from schemas.rules import MINUTE_NS
from schemas.tensors import QUANTILES
from streams.infer.attention import Summaries
from streams.infer.batch import Answers, Batch, Job, batch_of, experts_of
from streams.infer.calibrations import Calibrations
from streams.infer.combine import Levels
from streams.infer.making import made_of, quality_of
from streams.infer.models import Models
from streams.infer.records import Made, Origin, attention_record, forecast_record, forecast_records
from streams.infer.widths import WidthHistory, relative_widths
from streams.infer.window import Window
from streams.stage import Record

BATCH_ROWS = 256
"""Most rows that one request carries: catching up takes many intervals at once, in bounded memory."""
WIDTHS = 720
WIDTH_EVERY_NS = 2 * MINUTE_NS
"""The uncertainty's trailing history: one width every 2 minutes, a day of them (bars: 60 hours)."""
FORGET_NS = 7 * 24 * 60 * MINUTE_NS
"""An instrument without forecasts for so long loses its history of widths."""
_ANEW = "delete the checkpoint topic of infer, and its uncertainty starts anew"


class _Widths(msgspec.Struct, frozen=True, array_like=True):
    count: int
    last_ns: int
    widths: bytes


class State(msgspec.Struct, frozen=True):
    """What a checkpoint holds; the rows of the window are read again from `rewind`."""

    horizons: tuple[str, ...]
    rewind: int
    output_offset: int
    emitted_ns: int
    emitted: list[str]
    widths: dict[str, _Widths]


class Forecaster:
    """State of one partition."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.rewind = -1
        """Offset of the first row behind the last forecast, -1 before any."""
        self.output_offset = 0
        """No forecast before this offset of our own output is missing in this state."""
        self.statuses: Counter[str] = Counter()
        """Status of the forecasts that the last `settle` made."""
        self.made: list[Forecast] = []
        """Those forecasts themselves."""
        self._window = Window(models.shape)
        self._jobs: deque[Job] = deque()
        self._read = 0
        self._emitted_ns = -1
        self._emitted: set[str] = set()
        self._widths: dict[str, WidthHistory] = {}
        self._calibrations = Calibrations(models.horizons)

    # What is read.

    def recall(self, forecast: Forecast) -> bool:
        """Take in a record of our own output and return whether it is news.

        The first of an id is the forecast, so none is made again. Raises DecodeError for one that infer never writes.
        """
        _require_ours(forecast)
        if self._is_emitted(forecast.instrument_id, forecast.origin_time_ns):
            return False
        self._note(forecast)
        return True

    def take_calibration(self, calibration: Calibration) -> None:
        """Take in a calibration state; the latest of each instrument and horizon is applied. Raises DecodeError."""
        self._calibrations.take(calibration)

    def take_row(self, offset: int, value: bytes) -> None:
        """Queue the forecasts of a row message; raises DecodeError. A repeated row asks for nothing."""
        rows = decode_rows(value)
        self._read = offset + 1
        if not self._window.push(rows, offset):
            return
        time_ns = rows.header.row_time_ns
        due = [place for place, name in enumerate(rows.instruments) if not self._is_emitted(name, time_ns)]
        for start in range(0, len(due), BATCH_ROWS):
            part = due[start : start + BATCH_ROWS]
            instruments = tuple(rows.instruments[place] for place in part)
            first, last = self._window.offsets
            origin = Origin(time_ns, rows.header.partition, rows.header.feature_set_id, first, last, instruments)
            quality = tuple(int(rows.quality[place]) for place in part)
            self._jobs.append(Job(origin, offset, self._window.tensors(instruments), quality))

    def skip(self, offset: int) -> None:
        """Go past a message that could not be read."""
        self._read = offset + 1

    # What is asked and answered.

    @property
    def pending(self) -> int:
        """How many forecasts are waiting to be made."""
        return sum(len(job.instruments) for job in self._jobs)

    @property
    def done(self) -> int:
        """The offset up to which every row has its forecasts."""
        return self._jobs[0].offset if self._jobs else self._read

    @property
    def last_border(self) -> tuple[int, int]:
        """The origin time of the last forecasts, -1 before any, and for how many instruments they are."""
        return self._emitted_ns, len(self._emitted)

    @property
    def next_origin_ns(self) -> int | None:
        """The origin time of the next forecasts, None where none is waiting."""
        return self._jobs[0].origin.time_ns if self._jobs else None

    def next_batch(self, until_ns: int | None = None) -> Batch | None:
        """Return the next request, of origins before `until_ns`; its jobs stay queued until `settle`.

        It is asked of `models` as they are now: other models may be set between `settle` and here,
        if their tensors are the same.
        """
        jobs: list[Job] = []
        rows = 0
        for job in self._jobs:
            rows += len(job.instruments)
            if jobs and (rows > BATCH_ROWS or (until_ns is not None and job.origin.time_ns >= until_ns)):
                break
            jobs.append(job)
        return batch_of(self.models, jobs) if jobs else None

    def explain(self, batch: Batch, answers: Answers) -> list[Record]:
        """Return the attention behind the forecasts that `settle` will make; changes nothing."""
        attention = self._summaries(answers)
        if attention is None:
            return []
        usable = experts_of(self.models, batch, answers).usable
        asked = [(job.origin, name) for job in batch.jobs for name in job.instruments]
        return [
            attention_record(self.models, origin, name, attention[row])
            for (origin, name), row, good in zip(asked, batch.rows.tolist(), usable.tolist(), strict=True)
            if good
        ]

    def settle(self, batch: Batch, answers: Answers, reason: str = "") -> list[Record]:
        """Return the records of a batch; without `answers`, `reason` says why log-HAR stands alone."""
        made = made_of(self.models, batch, answers, self._calibrations, reason)
        self.statuses.clear()
        self.made.clear()
        records: list[Record] = []
        place = 0
        for job in batch.jobs:
            for index in range(len(job.instruments)):
                records += self._finish(job, index, made, place, batch)
                place += 1
            self._jobs.popleft()
        return records

    def _summaries(self, answers: Answers) -> Summaries | None:
        for network in self.models.networks:
            if network.half_lives and network.expert in answers:
                return Summaries(answers[network.expert]["attention"], self.models.shape, network.half_lives)
        return None

    def _finish(self, job: Job, index: int, made: Made, place: int, batch: Batch) -> list[Record]:
        instrument = job.instruments[index]
        row = int(batch.rows[place])
        ranks = self._ranks(instrument, made.widths[place])
        receipt = job.tensors.digest(index), (batch.padded, row) if row >= 0 else (0, 0)
        quality = quality_of(self.models, job, index)
        forecast = forecast_record(self.models, job.origin, instrument, quality, made, place, ranks, receipt)
        self._note(forecast)
        self.statuses[forecast.status] += 1
        self.made.append(forecast)
        self.output_offset += 1
        return forecast_records(forecast, job.origin.partition)

    def _ranks(self, instrument: str, widths: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        history = self._widths.get(instrument)
        return np.full(len(widths), 0.5) if history is None else history.rank(widths)

    # What was written.

    def _is_emitted(self, instrument: str, origin_ns: int) -> bool:
        return origin_ns < self._emitted_ns or (origin_ns == self._emitted_ns and instrument in self._emitted)

    def _note(self, forecast: Forecast) -> None:
        if forecast.origin_time_ns > self._emitted_ns:
            self._emitted_ns = forecast.origin_time_ns
            self._emitted.clear()
        self._emitted.add(forecast.instrument_id)
        self.rewind = forecast.receipt.rows[0][2]
        if forecast.status != "unavailable" and forecast.origin_time_ns % WIDTH_EVERY_NS == 0:
            self._remember_width(forecast)

    def _remember_width(self, forecast: Forecast) -> None:
        horizons = [forecast.horizons.get(horizon) for horizon in self.models.horizons]
        quantiles = np.array([[*one.quantiles.values()] if one else [np.nan] * 7 for one in horizons])
        history = self._widths.setdefault(forecast.instrument_id, WidthHistory(len(horizons), WIDTHS))
        history.add(relative_widths(Levels(quantiles[None, :, 0], quantiles[None]))[0], forecast.origin_time_ns)

    def state(self) -> bytes:
        """Return what a checkpoint holds."""
        forget = self._emitted_ns - FORGET_NS
        self._widths = {name: one for name, one in self._widths.items() if one.last_ns >= forget}
        widths = {name: _Widths(one.count, one.last_ns, one.widths.tobytes()) for name, one in self._widths.items()}
        state = State(
            self.models.horizons, self.rewind, self.output_offset, self._emitted_ns, sorted(self._emitted), widths
        )
        return msgspec.msgpack.encode(state)

    def restore(self, blob: bytes) -> None:
        """Go back to a checkpoint; raises StateError for one that does not fit."""
        try:
            state = msgspec.msgpack.decode(blob, type=State)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(f"infer: unreadable checkpoint: {error}: {_ANEW}") from None
        room = 4 * len(state.horizons) * WIDTHS
        if any(len(one.widths) != room or one.count < 0 for one in state.widths.values()):
            raise StateError(f"infer: expected a checkpoint with {WIDTHS} widths a horizon, got others: {_ANEW}")
        self.rewind, self.output_offset = state.rewind, state.output_offset
        self._emitted_ns, self._emitted = state.emitted_ns, set(state.emitted)
        if state.horizons != self.models.horizons:
            return  # Another profile's widths say nothing; uncertainty starts anew.
        for name, one in state.widths.items():
            history = self._widths[name] = WidthHistory(len(state.horizons), WIDTHS)
            history.widths[:] = np.frombuffer(one.widths, np.float32).reshape(history.widths.shape)
            history.count, history.last_ns = one.count, one.last_ns


def _require_ours(forecast: Forecast) -> None:
    """Raise DecodeError for what would not fit what is remembered of forecasts."""
    if len(forecast.receipt.rows) != 1:
        raise DecodeError(f"expected one place of rows, got {len(forecast.receipt.rows)}", path="$.receipt.rows")
    for horizon, one in forecast.horizons.items():
        if len(one.quantiles) != len(QUANTILES):
            found = f"expected {len(QUANTILES)} quantiles, got {len(one.quantiles)}"
            raise DecodeError(found, path=f"$.horizons.{horizon}.quantiles")


__all__ = ["BATCH_ROWS", "Answers", "Batch", "Forecaster"]
