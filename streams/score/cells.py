"""What is learned of one instrument and horizon, by the classes that evaluation runs: weights and calibration.

Outcomes of a cell come in the order of their origins. Each is judged by what its forecast was made with,
which the forecast's record holds.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.calibration import Calibration
from schemas.forecasts import Status
from schemas.tensors import HORIZON_NS, QUANTILES
from streams.score.coverage import Tally
from streams.score.losses import Claim
from triton_models.online.conformal import Calibrator, Rates, Shifts, in_regime, shifted
from triton_models.online.experts import MEAN, QUANTILE, Experts, Learning, Past, mix, weigh

Floats = npt.NDArray[np.float64]

_LEVELS = tuple(str(level) for level in QUANTILES)


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """One horizon of one forecast, waiting for its end."""

    instrument_id: str
    horizon: str
    origin_time_ns: int
    status: Status
    combined: Claim
    experts: dict[str, Claim]
    """Of those that knew this horizon."""
    weights: dict[str, tuple[float, float]]
    """Of all experts that take part, in the order in which they were added up; empty where a record holds none."""
    shifts: tuple[float, ...]
    """Empty where a record holds none."""
    regime: int

    @property
    def due_ns(self) -> int:
        """The time at which the outcome is known."""
        return self.origin_time_ns + HORIZON_NS[self.horizon]


class CellState(msgspec.Struct, frozen=True, array_like=True):
    """What a checkpoint holds of a cell."""

    experts: tuple[str, ...]
    past: Past
    shifts: Shifts
    coverage: Tally
    regime_coverage: dict[int, Tally]


class Pace(NamedTuple):
    """How fast the cells of a horizon learn."""

    learning: Learning
    rates: Rates

    @classmethod
    def of(cls, horizon: str, step_ns: int) -> "Pace":
        """Return the pace for origins that are `step_ns` apart."""
        return cls(Learning.of(HORIZON_NS[horizon], step_ns), Rates.of(horizon, step_ns))


class Cell:
    """Weights, shifts and coverage of one instrument and horizon."""

    def __init__(self, pace: Pace, state: CellState | None = None) -> None:
        self._pace = pace
        self._names: tuple[str, ...] = () if state is None else state.experts
        self._experts = Experts(Past.empty(0) if state is None else state.past, pace.learning)
        self._calibrator = Calibrator(Shifts.empty() if state is None else state.shifts, pace.rates)
        self._coverage = Tally() if state is None else state.coverage
        self._regime_coverage = {} if state is None else dict(state.regime_coverage)

    def state(self) -> CellState:
        """Return what a checkpoint holds."""
        return CellState(
            self._names, self._experts.past(), self._calibrator.shifts(), self._coverage, dict(self._regime_coverage)
        )

    def learn(self, waiting: Waiting, y: Floats, *, held: bool) -> None:
        """Take in a forecast's log outcome (), and whether its band held it; log-HAR alone says nothing of weights."""
        self._coverage = self._coverage.add(held)
        self._regime_coverage[waiting.regime] = self._regime_coverage.get(waiting.regime, Tally()).add(held)
        weights, means, quantiles = _experts(waiting)
        self._calibrator.learn(_tracked(waiting, weights, means, quantiles), np.asarray(waiting.regime), y)
        if waiting.status == "model" and waiting.weights:
            self._follow(tuple(waiting.weights))
            self._experts.learn(weights, means, quantiles, y)

    def _follow(self, names: tuple[str, ...]) -> None:
        """Go over to the experts of a forecast: those that stay keep their past, a new one has none."""
        if names == self._names:
            return
        past = self._experts.past()
        kept = [self._names.index(name) if name in self._names else -1 for name in names]
        self._names = names
        self._experts = Experts(
            Past(
                **{
                    field: tuple(tuple(row[at] if at >= 0 else 0.0 for at in kept) for row in getattr(past, field))
                    for field in ("regret", "square", "largest")
                }
            ),
            self._pace.learning,
        )

    def record(self, instrument: str, horizon: str, as_of_ns: int, regime: int) -> Calibration:
        """Return the state as a record; `regime` is the present one."""
        shifts = self._calibrator.shifts()
        present = in_regime(np.array(shifts.shared), np.array(shifts.regime), np.asarray(regime)).tolist()
        trust = self._experts.trust()
        weights = weigh(trust, np.ones(len(self._names), np.bool_), self._pace.learning.equal).tolist()
        coverage = self._coverage.record()
        return Calibration(
            instrument_id=instrument,
            horizon=horizon,
            as_of_ns=as_of_ns,
            shift=(present[0], present[-1]),
            coverage_ratio=coverage.ratio,
            count=coverage.count,
            weights=dict(zip(self._names, weights[MEAN], strict=True)),
            quantile_weights=dict(zip(self._names, weights[QUANTILE], strict=True)),
            trust=dict(zip(self._names, zip(*trust.tolist(), strict=True), strict=True)),
            shared_shifts=shifts.shared,
            regime_shifts=list(shifts.regime),
            regime=regime,
            coverage=coverage,
            regime_coverage={at: tally.record() for at, tally in sorted(self._regime_coverage.items())},
        )


def _experts(waiting: Waiting) -> tuple[Floats, Floats, Floats]:
    """Return weights (2, K), log means (K,) and log quantiles (K, Q) of the experts that take part.

    One that did not count for this forecast, with weight 0, sleeps: nothing is learned of it.
    """
    claims = [waiting.experts.get(name) if any(both) else None for name, both in waiting.weights.items()]
    means = np.array([claim.mean if claim else np.nan for claim in claims], np.float64)
    quantiles = np.array([_values(claim.quantiles) if claim else [np.nan] * len(_LEVELS) for claim in claims])
    weights = np.array(list(waiting.weights.values()), np.float64).reshape(-1, 2).T
    return np.ascontiguousarray(weights), np.log(means), np.log(quantiles.reshape(-1, len(_LEVELS)))


def _tracked(waiting: Waiting, weights: Floats, means: Floats, quantiles: Floats) -> Floats:
    """Return the log quantiles (Q,) that were published, before they were sorted, by the arithmetic that made them."""
    if not waiting.weights or not waiting.shifts:  # A record from before they were told.
        return np.asarray(np.log(_values(waiting.combined.quantiles)))
    return shifted(mix(weights, means, quantiles)[1], np.array(waiting.shifts)).tracked


def _values(quantiles: Mapping[str, float]) -> list[float]:
    return [quantiles[level] for level in _LEVELS]
