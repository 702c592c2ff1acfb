"""The score stage: one scorer per partition, fed with rows and forecasts."""

from collections.abc import Mapping
from pathlib import Path

from schemas.errors import DecodeError
from schemas.forecasts import Forecast, decode_json
from schemas.metrics import DEAD_LETTERS, FORECASTS_NOT_SCORED
from schemas.tensors import HORIZONS
from schemas.topics import FEATURE_ROW, FORECAST
from streams.dead_letters import dead_letter
from streams.labels import InstrumentLabels
from streams.score.inputs import Range, range_of
from streams.score.meters import Meters
from streams.score.scorer import Scorer
from streams.score.watched import watched_by
from streams.stage import Checkpoint, Message, Outlet, Record
from triton_models.export import REPOSITORY
from triton_models.online.regimes import Watched

MOST_KEPT = 4_000
"""Rows kept for forecasts that have not come; above, no more rows are read until infer catches up."""


class ScoreStage:
    """Forecasts against what then happened, and the calibration that follows from it."""

    name = "score"
    topics = (FEATURE_ROW, FORECAST)

    def __init__(self, repository: Path = REPOSITORY) -> None:
        self._repository = repository
        self._watched: Watched | None = None
        self._trained_on: Range | None = None
        self._scorers: dict[int, Scorer] = {}
        self._held: set[int] = set()
        self._outlet: Outlet
        self._meters: Meters

    async def started(self, outlet: Outlet) -> None:
        """Read what tells regimes apart; without a bundle that says it, all are one. Raises StateError."""
        self._outlet = outlet
        self._meters = Meters(outlet.metrics, InstrumentLabels(outlet.settings.metrics_instruments))
        self._watched = watched_by(self._repository, outlet.settings.profile)
        self._trained_on = range_of(self._repository, outlet.settings.profile)
        outlet.metrics.tell_build(outlet.settings.rules.rules_id)

    async def assigned(self, partition: int, checkpoint: bytes | None) -> Mapping[str, int]:
        """Restore a partition from its checkpoint."""
        settings = self._outlet.settings
        interval_ns = settings.rules.row_interval_ns
        scorer = Scorer(HORIZONS[settings.profile], interval_ns, self._watched, self._trained_on)
        self._scorers[partition] = scorer
        self._held.discard(partition)
        return {} if checkpoint is None else scorer.restore(checkpoint)

    def revoked(self, partition: int) -> None:
        """Drop the state of a partition."""
        self._scorers.pop(partition, None)

    async def process(self, message: Message) -> None:
        """Take in a row or a forecast and write what it decides."""
        scorer = self._scorers[message.partition]
        try:
            records = _take(scorer, message)
        except DecodeError as error:
            (scorer.skip_row if message.topic == FEATURE_ROW else scorer.skip_forecast)(message.offset)
            self._outlet.emit(message.partition, dead_letter(self.name, message, error))
            await self._outlet.acknowledged(message.partition)
            self._outlet.metrics[DEAD_LETTERS].labels(self.name, "decode").inc()
            return
        for record in records:
            self._outlet.emit(message.partition, record)
            self._meters.show(record)
        self._count_left_out(scorer)
        self._hold_or_release(message.partition, scorer)

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the scorer's state as of now."""
        scorer = self._scorers.get(partition)
        return None if scorer is None else Checkpoint(scorer.resume, scorer.state())

    async def stopped(self) -> None:
        """Nothing was opened."""

    def _hold_or_release(self, partition: int, scorer: Scorer) -> None:
        if partition not in self._held and scorer.kept > MOST_KEPT:
            self._held.add(partition)
            self._outlet.hold(FEATURE_ROW, partition)
        elif partition in self._held and scorer.kept < MOST_KEPT // 2:
            self._held.discard(partition)
            self._outlet.release(FEATURE_ROW, partition)

    def _count_left_out(self, scorer: Scorer) -> None:
        for reason, count in scorer.left_out.items():
            self._outlet.metrics[FORECASTS_NOT_SCORED].labels(reason).inc(count)
        scorer.left_out.clear()


def _take(scorer: Scorer, message: Message) -> list[Record]:
    if message.topic == FEATURE_ROW:
        return scorer.take_row(message.offset, message.value or b"")
    forecast = decode_json(message.value or b"", Forecast)
    return scorer.take_forecast(message.offset, forecast, message.partition)
