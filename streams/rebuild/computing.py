"""Forecasts from the rows of their receipts, by infer's own code: windows, batches, experts, combination, records."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from schemas.errors import StateError
from schemas.forecasts import Forecast
from schemas.rows import Rows
from schemas.tensors import MINIMUM_BATCH
from streams.infer.batch import Batch, Job, batch_of
from streams.infer.making import made_of, quality_of
from streams.infer.models import Models
from streams.infer.records import Made, Origin, forecast_record
from streams.infer.window import Window
from streams.rebuild.library import Library
from streams.rebuild.recorded import Recorded
from triton_models.export import MAXIMUM_BATCH


class Case(NamedTuple):
    """A forecast to be made again: its record, its models, and a job of its instrument alone."""

    forecast: Forecast
    models: Models
    job: Job


class Seen:
    """What models see of the rows of a receipt, for all forecasts that were made from them."""

    def __init__(self, models: Models, rows: Iterable[tuple[int, Rows]]) -> None:
        self.models = models
        self._window = Window(models.shape)
        self._last: Rows | None = None
        self._is_new = False
        for offset, each in rows:
            self._is_new, self._last = self._window.push(each, offset), each

    def case(self, forecast: Forecast) -> Case:
        """Return the case of one forecast; raises StateError where the last row message makes none of it."""
        name, last = forecast.instrument_id, self._last
        if last is None or not self._is_new or name not in last.instruments:
            what = "is a repeat" if last and not self._is_new else f"has no row of {name}"
            raise StateError(f"{forecast.id}: the last row message of its receipt {what}")
        header, offsets = last.header, self._window.offsets
        origin = Origin(header.row_time_ns, header.partition, header.feature_set_id, *offsets, (name,))
        quality = int(last.quality[last.instruments.index(name)])
        return Case(forecast, self.models, Job(origin, offsets[1], self._window.tensors((name,)), (quality,)))


def requests_of(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Yield cases that one request can ask: of the same models and size of batch, at most so many."""
    waiting: dict[tuple[int, bool, int], list[Case]] = {}
    for case in cases:
        size, _ = _shape(case.forecast)
        waiting.setdefault((id(case.models), case.forecast.status == "model", size), []).append(case)
    for (_, _, size), members in waiting.items():
        yield from (members[start : start + size] for start in range(0, len(members), size))


def made_again(cases: Sequence[Case], library: Library) -> list[Forecast]:
    """Return the forecasts of one request's cases, from a batch of the recorded size.

    A single one is at its recorded place; of several each is where there is room, which changes no bit.
    """
    models, forecasts = cases[0].models, [case.forecast for case in cases]
    size, place = _shape(forecasts[0])
    places = np.arange(len(cases)) if cases[1:] else np.array([place])
    batch = _placed(batch_of(models, [case.job for case in cases]), size, places)
    asked = batch.asked and forecasts[0].status == "model"
    answers = library.answers(models, batch.arrays) if asked else {}
    told = Recorded(forecasts, models.horizons)
    with np.errstate(all="ignore"):  # A record that somebody changed may hold any number.
        made = made_of(models, batch, answers, told)
    return [_record(case, models, made, (index, row), told) for index, (case, row) in enumerate(_rows(cases, batch))]


def _rows(cases: Sequence[Case], batch: Batch) -> Iterator[tuple[Case, int]]:
    """Yield cases with their places as recorded, -1 where no network is asked."""
    for case, row in zip(cases, batch.rows.tolist(), strict=True):
        yield case, _shape(case.forecast)[1] if row >= 0 else -1


def _record(case: Case, models: Models, made: Made, places: tuple[int, int], told: Recorded) -> Forecast:
    """Return the record of the case at the first of `places` of what was made; the second is for the receipt."""
    index, row = places
    size, _ = _shape(case.forecast)
    receipt = case.job.tensors.digest(0), (size, row) if row >= 0 else (0, 0)
    name, quality = case.forecast.instrument_id, quality_of(models, case.job, 0)
    one = forecast_record(models, case.job.origin, name, quality, made, index, told.ranks(index), receipt)
    # Why Triton gave no answer is known to nobody but the record.
    return replace(one, reason=case.forecast.reason) if one.status == "fallback" else one


def _shape(forecast: Forecast) -> tuple[int, int]:
    """Return the size of the batch and the place in it; of what can be none, the least: the difference will tell."""
    size, place = forecast.receipt.batch
    return (size, place) if MINIMUM_BATCH <= size <= MAXIMUM_BATCH and 0 <= place < size else (MINIMUM_BATCH, 0)


def _placed(batch: Batch, size: int, places: npt.NDArray[np.int64]) -> Batch:
    """Return a batch with each row at its place, and copies of the first between them, as padding is."""
    asked = np.flatnonzero(batch.rows >= 0)
    if not len(asked):
        return batch
    rows = batch.rows.copy()
    rows[asked] = places[asked]
    order = np.zeros(size, np.int64)
    order[rows[asked]] = batch.rows[asked]
    return batch._replace(arrays={name: array[order] for name, array in batch.arrays.items()}, rows=rows)
