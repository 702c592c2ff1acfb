"""Calm or wild: a hidden Markov chain with Gaussian emissions on log realised variance, filtered.

Fitted on training rows alone; what a row is taken for depends on it and the rows before it
(Hamilton 1989, the filter; never the smoother, which knows how it went on). For reporting and
for buckets of the calibration, not for forecasts.

T rows in order of time, N instruments, K states from calm to wild.
"""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import StateError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SPELL = 256
"""Rows that fitting takes as one sequence: spells are worked through side by side."""
LEAST_DEVIATION = 0.05
"""Least standard deviation of a state, in log variance: one of a single value would explain it perfectly."""
_LEAST_DENSITY = 1e-300
"""So that a value far from all states leaves the probabilities as they were."""


class Regimes(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted chain."""

    means: tuple[float, ...]
    """(K,), rising."""
    deviations: tuple[float, ...]
    """(K,): standard deviations."""
    transitions: tuple[tuple[float, ...], ...]
    """(K, K): probability of the column's state after the row's."""

    def start(self, shape: tuple[int, ...] = ()) -> Floats:
        """Return the chain's long-run probabilities (*shape, K): what is believed before any row."""
        return np.broadcast_to(_stationary(np.array(self.transitions)), (*shape, len(self.means))).copy()

    def update(self, probabilities: Floats, log_variance: Floats) -> Floats:
        """Return the probabilities (..., K) after one more row (...); NaN, not known, lets the chain run on."""
        ahead = _ahead(probabilities, np.array(self.transitions))
        joint = ahead * _densities(log_variance, np.array(self.means), np.array(self.deviations))
        total = joint.sum(-1, keepdims=True)
        usable = total > _LEAST_DENSITY
        return np.where(usable, joint / np.where(usable, total, 1.0), ahead)

    def filter(self, log_variance: Floats) -> Floats:
        """Return the probabilities (T, N, K) of each state given the rows up to and with each one (T, N)."""
        result = np.empty((*log_variance.shape, len(self.means)))
        probabilities = self.start(log_variance.shape[1:])
        for row, values in enumerate(log_variance):
            probabilities = result[row] = self.update(probabilities, values)
        return result


class _Sums(NamedTuple):
    """What a pass over the data leaves for the next parameters."""

    moves: Floats
    """(K, K): expected number of transitions."""
    weights: Floats
    """(L, S, K): smoothed probabilities."""
    likelihood: float


def likeliest(probabilities: Floats) -> Indices:
    """Return the likeliest state (...) of probabilities (..., K); 0 is the calmest."""
    return np.asarray(probabilities.argmax(-1))


def fit(log_variance: Floats, states: int = 2, *, iterations: int = 200, tolerance: float = 1e-6) -> Regimes:
    """Fit on training rows (T, N), each column an instrument, by expectation maximisation (Baum et al. 1970).

    Columns longer than `SPELL` rows are cut into spells that each begin in the chain's long run.
    NaN rows are not known. Stops where the mean log likelihood gains less than `tolerance`. Raises
    StateError for fewer known rows than ten a state.
    """
    known = log_variance[np.isfinite(log_variance)]
    if len(known) < 10 * states:
        raise StateError(f"{states} regimes need {10 * states} known rows, got {len(known)}; add training rows")
    spells = _spells(log_variance)  # (L, S)
    filled = np.where(np.isfinite(spells), spells, 0.0)
    means = np.quantile(known, (np.arange(states) + 0.5) / states)
    deviations = np.full(states, max(known.std() / states, LEAST_DEVIATION))
    transitions = np.full((states, states), 0.05 / max(states - 1, 1)) + np.eye(states) * 0.95
    transitions /= transitions.sum(-1, keepdims=True)
    likelihood = -np.inf
    for _ in range(iterations):
        sums = _expect(spells, means, deviations, transitions)
        weights = np.where(np.isfinite(spells)[..., None], sums.weights, 0.0)
        totals = np.maximum(weights.sum((0, 1)), 1e-12)
        means = (weights * filled[..., None]).sum((0, 1)) / totals
        spread = (weights * (filled[..., None] - means) ** 2).sum((0, 1)) / totals
        deviations = np.maximum(np.sqrt(spread), LEAST_DEVIATION)
        transitions = sums.moves / sums.moves.sum(-1, keepdims=True)
        if sums.likelihood - likelihood < tolerance * len(known):
            break
        likelihood = sums.likelihood
    order = np.argsort(means)
    return Regimes(
        means=tuple(means[order].tolist()),
        deviations=tuple(deviations[order].tolist()),
        transitions=tuple(tuple(row) for row in transitions[np.ix_(order, order)].tolist()),
    )


def _spells(log_variance: Floats) -> Floats:
    """Return (L, S): all columns cut to spells of at most `SPELL` rows, side by side, the last filled with NaN."""
    rows, columns = log_variance.shape
    length = min(SPELL, rows)
    count = -(-rows // length)
    padded = np.full((count * length, columns), np.nan)
    padded[:rows] = log_variance
    return padded.reshape(count, length, columns).transpose(1, 0, 2).reshape(length, -1)


def _ahead(probabilities: Floats, transitions: Floats) -> Floats:
    """Return the probabilities (..., K) one row on. No BLAS: bits must not depend on the rows beside."""
    return np.asarray((probabilities[..., :, None] * transitions).sum(-2))


def _densities(values: Floats, means: Floats, deviations: Floats) -> Floats:
    """Return the normal densities (..., K), 1 where the value (...) is not known."""
    scaled = (np.asarray(values)[..., None] - means) / deviations
    density = np.exp(-0.5 * scaled**2) / (deviations * np.sqrt(2 * np.pi))
    return np.where(np.isfinite(density), density, 1.0)


def _stationary(transitions: Floats) -> Floats:
    """Return the probabilities (K,) that a step of the chain leaves as they are."""
    states = len(transitions)
    equations = np.concatenate([transitions.T - np.eye(states), np.ones((1, states))])
    solution = np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0]
    positive = np.maximum(solution, 0.0)
    return np.asarray(positive / positive.sum())


def _expect(spells: Floats, means: Floats, deviations: Floats, transitions: Floats) -> _Sums:
    """Run forward and backward over spells (L, S)."""
    density = np.maximum(_densities(spells, means, deviations), _LEAST_DENSITY)  # (L, S, K)
    forward, scale = np.empty_like(density), np.empty(spells.shape)
    ahead = np.broadcast_to(_stationary(transitions), density.shape[1:])
    for row, one in enumerate(density):
        joint = ahead * one
        scale[row] = joint.sum(-1)
        forward[row] = joint / scale[row][:, None]
        ahead = forward[row] @ transitions
    backward = np.ones_like(density)
    for row in range(len(density) - 2, -1, -1):
        backward[row] = (density[row + 1] * backward[row + 1]) @ transitions.T / scale[row + 1][:, None]
    onward = density[1:] * backward[1:] / scale[1:, :, None]
    moves = transitions * np.einsum("lsi,lsj->ij", forward[:-1], onward)
    return _Sums(moves, forward * backward, float(np.log(scale).sum()))
