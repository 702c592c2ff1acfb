"""GARCH, GJR and EGARCH: fitted by `arch` to each instrument's 5-minute returns, forecast in closed form.

There is no pool: an instrument is fitted to its own last 90 days, held out or not, which favours
these models. Parameters are of returns in basis points, where the optimiser is at ease.
"""

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from arch import arch_model
from arch.utility.exceptions import ConvergenceWarning
from scipy.signal import lfilter
from scipy.stats import norm

from schemas.rules import DAY_NS
from triton_models.baselines.corrected import Corrected
from triton_models.evaluation.definitions import BARS_AHEAD
from triton_models.evaluation.folds import Fold
from triton_models.evaluation.panel import Indices, Panel
from triton_models.har import Floats

SCALE = 1e4
"""Returns enter in basis points."""
SAMPLE_NS = 90 * DAY_NS
MINIMUM_RETURNS = 14 * 288
"""An instrument with fewer returns before the fit has no forecast until the next one."""
KINDS: Mapping[str, Mapping[str, Any]] = {
    "garch": {"vol": "GARCH", "p": 1, "o": 0, "q": 1},
    "gjr": {"vol": "GARCH", "p": 1, "o": 1, "q": 1},
    "egarch": {"vol": "EGARCH", "p": 1, "o": 1, "q": 1},
}
_LOG_LIMIT = 50.0
_PERSISTENT = 1 + 1e-9
"""The optimiser stops at 1 up to rounding; a sum over finitely many steps is finite there."""


class Parameters(NamedTuple):
    """Of the next variance, in squared basis points; EGARCH's are of its logarithm."""

    omega: float
    alpha: float
    gamma: float
    beta: float


def sequences(panel: Panel, values: Floats) -> Iterator[Indices]:
    """Yield each instrument's rows whose value is known, in order of time."""
    (known,) = np.nonzero(np.isfinite(values))
    for index in range(len(panel.instruments)):
        rows = known[panel.instrument[known] == index]
        if len(rows):
            yield rows


def fit(returns: Floats, kind: str) -> Parameters | None:
    """Fit to returns (T,) in basis points; None where the optimiser finds nothing that can be used."""
    model = arch_model(returns, mean="Zero", dist="normal", rescale=False, **KINDS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = model.fit(disp="off", show_warning=False).params
    parameters = Parameters(*(float(found.get(name, 0.0)) for name in ("omega", "alpha[1]", "gamma[1]", "beta[1]")))
    persistence = parameters.beta if kind == "egarch" else parameters.alpha + parameters.gamma / 2 + parameters.beta
    return parameters if np.isfinite(parameters).all() and abs(persistence) <= _PERSISTENT else None


def next_variance(returns: Floats, parameters: Parameters, kind: str, start: float) -> Floats:
    """Return the variance (T,) of the return that follows each; `start` is that of the first return.

    GARCH and GJR: s' = omega + (alpha + gamma [r < 0]) r^2 + beta s (Glosten, Jagannathan and Runkle 1993).
    EGARCH: log s' = omega + alpha (|z| - E|z|) + gamma z + beta log s (Nelson 1991).
    """
    omega, alpha, gamma, beta = parameters
    if kind != "egarch":
        news = omega + (alpha + gamma * (returns < 0)) * returns**2
        found, _ = lfilter([1.0], [1.0, -beta], news, zi=[beta * start])
        return np.asarray(found)
    log_variance, result, mean = math.log(start), [], math.sqrt(2 / math.pi)
    for value in returns.tolist():
        z = value * math.exp(-log_variance / 2)
        log_variance = omega + alpha * (abs(z) - mean) + gamma * z + beta * log_variance
        log_variance = min(max(log_variance, -_LOG_LIMIT), _LOG_LIMIT)
        result.append(log_variance)
    return np.asarray(np.exp(np.array(result)), np.float64)


def variance_ahead(following: Floats, parameters: Parameters, kind: str, steps: int) -> Floats:
    """Return the expected sum (T,) of the next `steps` variances, given the first of them (T,)."""
    if kind == "egarch":
        return _egarch_ahead(following, parameters, steps)
    omega, alpha, gamma, beta = parameters
    persistence = alpha + gamma / 2 + beta
    powers = persistence ** np.arange(steps)
    return np.asarray(following * powers.sum() + omega * np.concatenate([[0.0], np.cumsum(powers)[:-1]]).sum())


def _egarch_ahead(following: Floats, parameters: Parameters, steps: int) -> Floats:
    """Sum the moments of a log-linear recursion: shocks are independent, so their factors multiply.

    E exp(b (alpha (|z| - E|z|) + gamma z)) of a standard normal z, for b = 1, beta, beta^2, ...
    """
    omega, alpha, gamma, beta = parameters
    log_variance = np.log(following)
    total, constant, scale = np.zeros_like(following), 0.0, 1.0
    for _ in range(steps):
        total += np.exp(np.minimum(scale * log_variance + constant, _LOG_LIMIT))
        up, down = scale * (gamma + alpha), scale * (alpha - gamma)
        constant += scale * omega - scale * alpha * math.sqrt(2 / math.pi)
        constant += float(np.logaddexp(norm.logcdf(up) + up**2 / 2, norm.logcdf(down) + down**2 / 2))
        scale *= beta
    return total


class Levels:
    """Log levels of one kind; a fit serves all horizons."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._fits: dict[tuple[str, bytes], Parameters | None] = {}

    def __call__(self, panel: Panel, fold: Fold, horizon: str) -> Floats:
        """Return the log level (N,): an instrument's rows by the parameters of its last 90 days."""
        # The bar's range is known where there is a bar: a gap has no return.
        bar = panel.columns["bar_realised_variance_5m"]
        returns = np.where(np.isfinite(bar), panel.columns["bar_signed_return_5m"] * SCALE, np.nan)
        level = np.full(len(panel), np.nan)
        for rows in sequences(panel, returns):
            times = panel.row_time_ns[rows]
            sample = returns[rows[(times <= fold.train_until_ns) & (times > fold.train_until_ns - SAMPLE_NS)]]
            parameters = self._fit(panel.instruments[panel.instrument[rows[0]]], sample)
            if parameters is None:
                continue
            following = next_variance(returns[rows], parameters, self._kind, float(np.mean(sample**2)))
            ahead = variance_ahead(following, parameters, self._kind, BARS_AHEAD[horizon])
            level[rows] = np.log(ahead) - 2 * np.log(SCALE)
        return level

    def _fit(self, instrument: str, sample: Floats) -> Parameters | None:
        if len(sample) < MINIMUM_RETURNS:
            return None
        key = instrument, hashlib.sha256(sample.tobytes()).digest()
        if key not in self._fits:
            self._fits[key] = fit(sample, self._kind)
        return self._fits[key]


def experts() -> tuple[Corrected, ...]:
    """Return the models of the GARCH family as experts."""
    return tuple(Corrected(kind, Levels(kind)) for kind in KINDS)
