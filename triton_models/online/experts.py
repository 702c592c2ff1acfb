"""Weights of experts that follow who was right, in quantile space.

Bernstein online aggregation with a learning rate for each expert (Wintenberger 2017, "Optimal
learning with Bernstein online aggregation", section 3) on linearised losses: what an expert
would have gained is the slope of the loss at the combined forecast, times how far the expert is from it. One set
of weights is for the mean, with the slope of QLIKE in its log, clipped; one is for the quantiles, with the
mean over the levels of the pinball loss.

An outcome comes a horizon late. It is judged by the weights that its forecast was made with, which
come back with it; so nothing depends on what was forecast meanwhile.

Arrays have any leading shape: () is one cell (an instrument and horizon), (N,) many side by side, the same
bits either way. K experts, Q quantiles.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.rules import DAY_NS
from schemas.tensors import QUANTILES
from triton_models.online.state import State

Floats = npt.NDArray[np.float64]

LEVELS: Floats = np.array(QUANTILES)
MEAN, QUANTILE = 0, 1
"""The two sets of weights."""
HALF_LIFE_NS = 60 * DAY_NS
"""Age at which an outcome counts half."""
STEEPEST = 3.0
"""Most that an outcome pulls the log of the mean up: 1 % of outcomes carry a third of QLIKE."""
EQUAL = 0.1
"""Part of the weights that all experts share equally, whatever happened: a forecast of several is the safer one."""
NEARLY = 1e-5
"""A network whose mean is so near to that of its base, as a ratio, has given the horizon back: no second opinion."""
_LEAST = 1e-12


class Learning(msgspec.Struct, frozen=True, kw_only=True):
    """How weights learn."""

    overlap: float = 1.0
    """Outcomes that share their time with one another: each counts for one part in so many."""
    half_life: float = 17_280.0
    """Outcomes after which one counts half."""
    equal: float = EQUAL
    """Part of the weights that all experts share equally."""

    @classmethod
    def of(cls, horizon_ns: int, step_ns: int) -> "Learning":
        """Return how to learn from outcomes over a horizon whose origins are `step_ns` apart.

        >>> Learning.of(3600 * 10**9, 300 * 10**9).overlap
        12.0
        """
        return cls(overlap=max(horizon_ns / step_ns, 1.0), half_life=HALF_LIFE_NS / step_ns)

    @property
    def keep(self) -> float:
        """Share of the past that is left after one more outcome."""
        return float(0.5 ** (1 / self.half_life))


class Past(State, frozen=True, kw_only=True):
    """State of one cell: numbers of 2 x K, for the mean and for the quantiles."""

    what: ClassVar[str] = "expert weights"
    regret: tuple[tuple[float, ...], ...]
    """What would have been gained by following the expert, less its second-order penalty."""
    square: tuple[tuple[float, ...], ...]
    """Sum of squares of the gains."""
    largest: tuple[tuple[float, ...], ...]
    """Largest gain or loss of an outcome."""

    @classmethod
    def empty(cls, experts: int) -> "Past":
        """Return the state before any outcome."""
        nothing = ((0.0,) * experts,) * 2
        return cls(regret=nothing, square=nothing, largest=nothing)


class Mixture(NamedTuple):
    """A combined forecast, and the weights that made it."""

    weights: Floats
    """(..., 2, K), each sums to 1; an expert without a forecast has 0."""
    mean: Floats
    """(...): log of the expected variance."""
    quantiles: Floats
    """(..., Q), sorted if the experts' are."""


class Experts:
    """The weights of one cell, or of many side by side."""

    def __init__(self, past: Past | Sequence[Past], learning: Learning) -> None:
        """Continue from `past`: one state for the shape (), several for (N,)."""
        several = [past] if isinstance(past, Past) else list(past)
        shape = () if isinstance(past, Past) else (len(several),)
        self.learning = learning
        experts = len(several[0].regret[0])
        self.regret, self.square, self.largest = (
            np.array([getattr(one, name) for one in several], np.float64).reshape(*shape, 2, experts)
            for name in ("regret", "square", "largest")
        )

    def past(self) -> Past:
        """Return the state of a single cell."""
        return Past(**{name: _nested(getattr(self, name)) for name in ("regret", "square", "largest")})

    def pasts(self) -> list[Past]:
        """Return the states of cells side by side."""
        parts = zip(self.regret, self.square, self.largest, strict=True)
        return [Past(regret=_nested(r), square=_nested(s), largest=_nested(g)) for r, s, g in parts]

    def trust(self) -> Floats:
        """Return the logs (..., 2, K) of what `weigh` makes weights of."""
        rates = _rates(*self._scales())
        return np.asarray(rates * self.regret + np.log(rates))

    def weights(self) -> Floats:
        """Return the weights (..., 2, K) if all experts forecast."""
        return self._weights(np.ones(self.regret.shape[:-2] + self.regret.shape[-1:], np.bool_))

    def predict(self, means: Floats, quantiles: Floats) -> Mixture:
        """Combine log means (..., K) and log quantiles (..., K, Q); an expert with a NaN is left out."""
        weights = self._weights(known(means, quantiles))
        mean, combined = mix(weights, means, quantiles)
        return Mixture(weights, mean, combined)

    def learn(self, weights: Floats, means: Floats, quantiles: Floats, y: Floats) -> None:
        """Take in the log outcome (...) of forecasts (..., K), (..., K, Q) that were combined by `weights` (..., 2, K).

        Where `y` is NaN nothing is learned.
        """
        mean, combined = mix(weights, means, quantiles)
        awake = known(means, quantiles)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = np.maximum(1 - np.exp(y - mean), -STEEPEST)
            gain_mean = slope[..., None] * (mean[..., None] - means)
            slopes = (y[..., None] < combined) - LEVELS  # (..., Q)
            gain_quantiles = _mean_over_levels(slopes[..., None, :] * (combined[..., None, :] - quantiles))
        gains = np.stack([gain_mean, gain_quantiles], axis=-2)  # (..., 2, K)
        gains = np.where(awake[..., None, :] & np.isfinite(gains), gains, 0.0)
        keep, overlap = self.learning.keep, self.learning.overlap
        square, largest = self._scales()
        square = keep * np.where(awake[..., None, :], square, self.square) + gains**2 / overlap
        largest = np.maximum(keep * np.where(awake[..., None, :], largest, self.largest), np.abs(gains))
        # The rate that already knows this gain: the first outcomes of all would be punished without measure.
        regret = keep * self.regret + (gains - _rates(square, largest) * gains**2) / overlap
        usable = np.expand_dims(np.isfinite(y) & awake.any(-1), (-2, -1))
        self.regret = np.where(usable, regret, self.regret)
        self.square = np.where(usable, square, self.square)
        self.largest = np.where(usable, largest, self.largest)

    def _scales(self) -> tuple[Floats, Floats]:
        """Return squares and largest gains (..., 2, K); of an expert that was never judged, the means of the others'.

        By nothing of its own it would learn without bounds, and outweigh at once those with a past.
        """
        judged = self.square > 0
        found = judged | ~judged.any(-1, keepdims=True)
        return np.where(found, self.square, _mean(self.square, judged)), np.where(
            found, self.largest, _mean(self.largest, judged)
        )

    def _weights(self, awake: npt.NDArray[np.bool_]) -> Floats:
        return weigh(self.trust(), awake, self.learning.equal)


def known(means: Floats, quantiles: Floats) -> npt.NDArray[np.bool_]:
    """Return (..., K): which experts have a forecast, by log means (..., K) and log quantiles (..., K, Q)."""
    return np.asarray(np.isfinite(means) & np.isfinite(quantiles).all(-1))


def weigh(trust: Floats, awake: npt.NDArray[np.bool_], equal: float = EQUAL) -> Floats:
    """Return weights (..., 2, K) among the experts that forecast (..., K), 0 everywhere where none does."""
    awake = np.broadcast_to(np.expand_dims(awake, -2), trust.shape)
    exponent = np.where(awake, trust, -np.inf)
    top = exponent.max(-1, keepdims=True, initial=-np.inf)
    raw = np.where(awake, np.exp(exponent - np.where(np.isfinite(top), top, 0.0)), 0.0)
    total = np.ascontiguousarray(raw).sum(-1, keepdims=True)
    count = awake.sum(-1, keepdims=True)
    share = equal * awake / np.maximum(count, 1)
    return np.asarray((1 - equal) * (raw / np.where(total > 0, total, 1.0)) + share)


def mix(weights: Floats, means: Floats, quantiles: Floats) -> tuple[Floats, Floats]:
    """Return the weighted averages of log means (...) and of log quantiles (..., Q); NaN where there is no weight.

    Expert by expert, so that bits do not depend on the cells beside.
    """
    mean = np.zeros(means.shape[:-1])
    combined = np.zeros(quantiles.shape[:-2] + quantiles.shape[-1:])
    for expert in range(means.shape[-1]):
        of_mean, of_quantiles = weights[..., MEAN, expert], weights[..., QUANTILE, expert]
        mean = mean + np.where(of_mean > 0, of_mean * means[..., expert], 0.0)
        part = of_quantiles[..., None] * quantiles[..., expert, :]
        combined = combined + np.where(of_quantiles[..., None] > 0, part, 0.0)
    some = np.asarray(weights[..., MEAN, :].any(-1))
    return np.where(some, mean, np.nan), np.where(some[..., None], combined, np.nan)


def _rates(square: Floats, largest: Floats) -> Floats:
    """Return each expert's learning rate (..., 2, K)."""
    variety = np.log(max(square.shape[-1], 2))
    steep = 1 / np.maximum(largest, _LEAST)
    return np.asarray(np.minimum(steep, np.sqrt(variety / np.maximum(square, _LEAST))))


def _mean(values: Floats, of: npt.NDArray[np.bool_]) -> Floats:
    """Return the mean (..., 1) of some of the values (..., K), 0 where there are none."""
    some = np.ascontiguousarray(np.where(of, values, 0.0)).sum(-1, keepdims=True)
    return np.asarray(some / np.maximum(of.sum(-1, keepdims=True), 1))


def _mean_over_levels(values: Floats) -> Floats:
    return np.asarray(np.ascontiguousarray(values).sum(-1) / values.shape[-1])


def _nested(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())
