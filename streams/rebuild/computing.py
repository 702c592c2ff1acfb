"""Forecasts from the rows of their receipts, by infer's own code: windows, batches, experts, combination, records."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from schemas.errors import StateError
from schemas.forecasts import Forecast
from schemas.rows import Rows
from schemas.tensors import MINIMUM_BATCH
from streams.infer.batch import Batch, Job, batch_of
from streams.infer.making import made_of, quality_of, receipt_of
from streams.infer.models import Models
from streams.infer.records import Origin, forecast_record
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
    """Yield cases that one request can ask: the same models and size of batch, no two at one place of it."""
    waiting: dict[tuple[int, bool, int], list[dict[int, Case]]] = {}
    for case in cases:
        size, place = _shape(case.forecast)
        requests = waiting.setdefault((id(case.models), case.forecast.status == "model", size), [])
        request = next((each for each in requests if place not in each), None)
        if request is None:
            requests.append(request := {})
        request[place] = case
    for requests in waiting.values():
        yield from (list(request.values()) for request in requests)


def made_again(cases: Sequence[Case], library: Library) -> list[Forecast]:
    """Return the forecasts of one request's cases, from a batch of the recorded size, each at its recorded place."""
    models, forecasts = cases[0].models, [case.forecast for case in cases]
    batch = _placed(batch_of(models, [case.job for case in cases]), [_shape(one) for one in forecasts])
    asked = batch.asked and forecasts[0].status == "model"
    answers = library.answers(models, batch.arrays) if asked else {}
    told = Recorded(forecasts, models.horizons)
    with np.errstate(all="ignore"):  # A record that somebody changed may hold any number.
        made = made_of(models, batch, answers, told)
    found = []
    for place, (case, row) in enumerate(zip(cases, batch.rows.tolist(), strict=True)):
        receipt, quality = receipt_of(case.job, 0, batch, row), quality_of(models, case.job, 0)
        name = case.forecast.instrument_id
        one = forecast_record(models, case.job.origin, name, quality, made, place, told.ranks(place), receipt)
        # Why Triton gave no answer is known to nobody but the record.
        found.append(replace(one, reason=case.forecast.reason) if one.status == "fallback" else one)
    return found


def _shape(forecast: Forecast) -> tuple[int, int]:
    """Return the size of the batch and the place in it; of what can be none, the least: the difference will tell."""
    size, place = forecast.receipt.batch
    return (size, place) if MINIMUM_BATCH <= size <= MAXIMUM_BATCH and 0 <= place < size else (MINIMUM_BATCH, 0)


def _placed(batch: Batch, shapes: Sequence[tuple[int, int]]) -> Batch:
    """Return a batch with each row at its place, and copies of the first between them, as padding is."""
    asked = np.flatnonzero(batch.rows >= 0)
    if not len(asked):
        return batch
    rows = batch.rows.copy()
    rows[asked] = np.array([place for _, place in shapes])[asked]
    order = np.zeros(shapes[0][0], np.int64)
    order[rows[asked]] = batch.rows[asked]
    return batch._replace(arrays={name: array[order] for name, array in batch.arrays.items()}, rows=rows)
