"""What infer's forecasts come to, as metrics."""

import time
from collections.abc import Callable
from itertools import product

from schemas.forecasts import Forecast
from schemas.metrics import (
    END_TO_END,
    FORECAST_AGE,
    FORECAST_DELAY,
    FORECAST_SLOT_MISSED,
    FORECAST_SLOTS,
    FORECASTS_PUBLISHED,
    FORECASTS_WAITING,
    INSTRUMENT_VOLATILITY,
    SERVING_MODEL,
)
from schemas.rules import SECOND_NS
from streams.infer.batch import Batch
from streams.infer.forecaster import Forecaster
from streams.infer.slots import Slots
from streams.labels import InstrumentLabels
from streams.metrics_server import Metrics
from streams.settings import Settings

STATUSES = ("model", "fallback", "unavailable")


class Meters:
    """The metrics of one infer process; for its event loop, but for `tell_slots`."""

    def __init__(
        self, metrics: Metrics, settings: Settings, horizons: tuple[str, ...], clock: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._horizons = horizons
        self._clock = clock
        self._labels = InstrumentLabels(settings.metrics_instruments)
        self._interval = settings.rules.row_interval_ns / SECOND_NS
        live = settings.heartbeat_writer == "ingest"
        self._grace = settings.rules.allowed_lateness_ns / SECOND_NS + settings.forecast_due_seconds if live else None
        self._slots: dict[int, Slots] = {}
        self._arrived: dict[int, dict[int, float]] = {}
        """By partition and offset: when a row message was read."""
        self._serving: tuple[str, str] | None = None
        for status, horizon in product(STATUSES, horizons):
            metrics[FORECASTS_PUBLISHED].labels(horizon, status)
        for reason in ("late", "unavailable"):
            metrics[FORECAST_SLOT_MISSED].labels(reason)
        metrics.before_each_look(self.tell_slots)

    def begin(self, partition: int, forecaster: Forecaster) -> None:
        """Take up a partition whose last forecasts `forecaster` knows."""
        slots = self._slots[partition] = Slots(self._interval, self._grace)
        border_ns, instruments = forecaster.last_border
        if border_ns > 0:
            slots.resume(border_ns / SECOND_NS, instruments)
        self._arrived[partition] = {}
        self._metrics[FORECASTS_WAITING].labels(str(partition)).set_function(lambda: forecaster.pending)

    def forget(self, partition: int) -> None:
        """Tell nothing more of a partition that another process has now."""
        self._slots.pop(partition, None)
        self._arrived.pop(partition, None)
        for metric in (FORECASTS_WAITING, FORECAST_AGE):
            self._metrics.forget(metric, str(partition))

    def arrived(self, partition: int, offset: int) -> None:
        """Take note that a row message was read."""
        self._arrived[partition][offset] = time.monotonic()

    def published(self, partition: int, forecaster: Forecaster, batch: Batch) -> None:
        """Count the forecasts of a batch, which Kafka has acknowledged."""
        metrics, now = self._metrics, self._clock()
        for (status, count), horizon in product(forecaster.statuses.items(), self._horizons):
            metrics[FORECASTS_PUBLISHED].labels(horizon, status).inc(count)
        metrics[FORECAST_SLOT_MISSED].labels("unavailable").inc(forecaster.statuses["unavailable"])
        for job in batch.jobs:
            self._slots[partition].published(job.origin.time_ns / SECOND_NS, len(job.instruments), now)
        for time_ns in dict.fromkeys(job.origin.time_ns for job in batch.jobs):
            metrics[END_TO_END].observe(max(0.0, now - time_ns / SECOND_NS))
        metrics.tell_age(FORECAST_AGE, batch.jobs[-1].origin.time_ns / SECOND_NS, self._clock, str(partition))
        self._time_rows(partition, batch.jobs[-1].offset)
        self._tell_model(forecaster.models.combined.name, forecaster.models.combined.version)
        for forecast in forecaster.made:
            self._tell_instrument(forecast)

    def tell_slots(self) -> None:
        """Count what was due by now; called whenever somebody looks."""
        now = self._clock()
        for slots in list(self._slots.values()):
            counts = slots.take(now)
            self._metrics[FORECAST_SLOTS].inc(counts["due"])
            self._metrics[FORECAST_SLOT_MISSED].labels("late").inc(counts["late"])

    def _time_rows(self, partition: int, last_offset: int) -> None:
        arrived, now = self._arrived[partition], time.monotonic()
        for offset in [offset for offset in arrived if offset <= last_offset]:
            self._metrics[FORECAST_DELAY].observe(now - arrived.pop(offset))

    def _tell_model(self, *serving: str) -> None:
        if serving != self._serving:
            if self._serving is not None:
                self._metrics.forget(SERVING_MODEL, *self._serving)
            self._metrics[SERVING_MODEL].labels(*serving).set(1)
            self._serving = serving[0], serving[1]

    def _tell_instrument(self, forecast: Forecast) -> None:
        if self._labels.allows(forecast.instrument_id):
            for horizon, one in forecast.horizons.items():
                labels = (forecast.instrument_id, horizon)
                self._metrics[INSTRUMENT_VOLATILITY].labels(*labels).set(one.volatility_annualised)
