"""Scores and calibration states as metrics: means since this process started, weights as they are."""

from collections import defaultdict

from schemas.calibration import Calibration
from schemas.decisions import Drift
from schemas.forecasts import ForecastScore, decode_json
from schemas.metrics import (
    COVERAGE,
    COVERED,
    DRIFT_ALARMS,
    EXPERT_WEIGHT,
    FORECASTS_SCORED,
    INSTRUMENT_COVERAGE,
    LOSS,
    REGIME_COVERAGE,
    SCORE,
)
from schemas.topics import CALIBRATION, FORECAST_SCORE, OPS_DRIFT
from streams.labels import InstrumentLabels
from streams.metrics_server import Metrics
from streams.score.losses import COMBINED
from streams.stage import Record

_LOSSES = ("qlike", "pinball", "crps")
_TOLD_BAND = "0.9"


class Meters:
    """What the records of score add up to."""

    def __init__(self, metrics: Metrics, labels: InstrumentLabels) -> None:
        self._metrics = metrics
        self._labels = labels
        self._sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._weights: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)

    def show(self, record: Record) -> None:
        """Set the metrics that a record changes."""
        if record.value is None:
            return
        if record.topic == FORECAST_SCORE:
            self._show_score(decode_json(record.value, ForecastScore))
        elif record.topic == CALIBRATION:
            state = decode_json(record.value, Calibration)
            self._show_weights(state)
            if state.count and self._labels.allows(state.instrument_id):
                labels = (state.instrument_id, state.horizon)
                self._metrics[INSTRUMENT_COVERAGE].labels(*labels).set(state.coverage_ratio)
        elif record.topic == OPS_DRIFT:
            drift = decode_json(record.value, Drift)
            self._metrics[DRIFT_ALARMS].labels(drift.kind, drift.horizon).inc()

    def _show_score(self, found: ForecastScore) -> None:
        for expert, one in found.scores.items():
            count = self._add(1, found.horizon, expert)
            self._metrics[FORECASTS_SCORED].labels(found.horizon, expert).inc()
            for loss in _LOSSES:
                lost = getattr(one, loss)
                mean = self._add(lost, found.horizon, expert, loss) / count
                self._metrics[LOSS].labels(found.horizon, expert, loss).inc(max(0.0, lost))
                self._metrics[SCORE].labels(found.horizon, expert, loss).set(mean)
        count = self._sums[found.horizon, COMBINED]
        covered = found.scores[COMBINED].coverage
        for level, held in covered.items():
            ratio = self._add(held, found.horizon, "covered", level) / count
            self._metrics[COVERED].labels(found.horizon, level).inc(held)
            self._metrics[COVERAGE].labels(found.horizon, level).set(ratio)
        regime = str(found.regime)
        count = self._add(1, found.horizon, "in regime", regime)
        ratio = self._add(covered[_TOLD_BAND], found.horizon, "covered in regime", regime) / count
        self._metrics[REGIME_COVERAGE].labels(found.horizon, regime).set(ratio)

    def _show_weights(self, state: Calibration) -> None:
        for of, weights in (("mean", state.weights), ("quantiles", state.quantile_weights)):
            for expert, weight in weights.items():
                known = self._weights[state.horizon, expert, of]
                known[state.instrument_id] = weight
                self._metrics[EXPERT_WEIGHT].labels(state.horizon, expert, of).set(sum(known.values()) / len(known))

    def _add(self, value: float, *key: str) -> float:
        self._sums[key] += value
        return self._sums[key]
