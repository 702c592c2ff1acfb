"""How the experts without a network are fitted: log-HAR by least squares or QLIKE, the moving average by QLIKE.

Recent rows count more, and those of the last two months alone give the level's correction and the quantiles.
N rows, K realised variances, H horizons, P = 1 + terms, Q quantiles.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import StateError
from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models import ewma
from triton_models.evaluation.definitions import CORRECTION_NS, HALF_LIFE_NS, QLIKE_HORIZONS
from triton_models.har import Har, log_variance
from triton_models.regression import gamma, least_squares
from triton_models.seasons import HOURS, Floats, Indices, Times, fit_profile
from triton_models.terms import Columns, Reads, ahead, known_of, past, window_ns

MINIMUM_ROWS = 200
"""A set of coefficients fitted from fewer rows is not trusted; the next smaller one stands in."""
_STEPS = 24
"""Origins that are fitted on begin so many times in a horizon: nearer ones tell nothing more."""
_LEAST_HORIZONS = 30
"""Where rows span fewer horizons, realised variances are all the terms: others follow what happened once."""

Flags = npt.NDArray[np.bool_]
Targets = Mapping[str, Floats]
"""By horizon, the realised variance that followed (N,), NaN: not known."""


class Residuals(NamedTuple):
    """What a level missed: log of the mean ratio, and quantiles (Q,) of its log."""

    smearing: float
    quantiles: Floats


class _Candidate(NamedTuple):
    missed: Residuals
    loss: float


class _Fit(NamedTuple):
    weights: Floats
    """(P,)"""
    missed: Residuals


def fit_har(reads: Reads, columns: Columns, time_ns: Times, targets: Targets) -> Har:
    """Fit on features (N,) by name, of the rows at these times.

    A fit with too few rows borrows: from the one that knows a variance less, and a horizon from the
    next shorter one, moved by the log of the ratio of their lengths.

    Raises:
        StateError: where the shortest horizon has too few rows.
    """
    known = known_of(reads, columns)
    log_factor = _profile(reads, columns, time_ns, known)
    ahead_of = {name: log_variance(target, HORIZON_NS[name]) for name, target in targets.items()}
    fits = [
        _fits(reads, columns, time_ns, known, log_factor, ahead_of, level)
        for level in range(1, len(reads.variances) + 1)
    ]
    filled = _borrow(fits, tuple(targets))
    return Har(
        reads=reads,
        horizons=tuple(targets),
        log_factor=tuple(log_factor.tolist()),
        coefficients=tuple(tuple(tuple(one.weights.tolist()) for one in row) for row in filled),
        smearing=tuple(tuple(one.missed.smearing for one in row) for row in filled),
        residuals=tuple(tuple(tuple(one.missed.quantiles.tolist()) for one in row) for row in filled),
    )


def fit_ewma(
    features: Sequence[str], unit_ns: int, columns: Columns, time_ns: Times, targets: Targets
) -> ewma.Ewma | None:
    """Fit the correction of each decayed variance, and choose one for each horizon; None where there is none.

    The best is that of the least QLIKE after the best constant factor.

    Raises:
        StateError: where the shortest horizon has too few rows.
    """
    if not features:
        return None
    missed: list[list[Residuals]] = [[] for _ in features]
    chosen: list[int] = []
    for horizon, target in targets.items():
        found = [_candidate(columns[name], unit_ns, time_ns, target, horizon) for name in features]
        best: Residuals | None = None
        for place, one in enumerate(found):
            best = one.missed if one else best or next(iter(missed[place][-1:]), None)
            if best is None:
                raise _too_few(horizon)
            missed[place].append(best)
        losses = [one.loss if one else np.inf for one in found]
        chosen.append(int(np.argmin(losses)) if any(found) else chosen[-1])
    return ewma.Ewma(
        features=tuple(features),
        unit_ns=unit_ns,
        horizons=tuple(targets),
        chosen=tuple(chosen),
        smearing=tuple(tuple(one.smearing for one in row) for row in missed),
        residuals=tuple(tuple(tuple(one.quantiles.tolist()) for one in row) for row in missed),
    )


def _profile(reads: Reads, columns: Columns, time_ns: Times, known: Indices) -> Floats:
    """Return the calendar profile (168,) by the rows that know the longest variance that any knows."""
    flat = np.zeros(HOURS)
    (rows,) = np.nonzero((known == known.max(initial=0)) & (known > 0))
    if not reads.season or not len(rows):
        return flat
    alone = Reads(variances=reads.variances[: int(known[rows[0]])], season=False)
    some = {name: columns[name][rows] for name in alone.variances}
    terms = past(alone, some, flat, time_ns[rows], len(alone.variances))
    return fit_profile(time_ns[rows] - reads.unit_ns, terms[0] - terms[-1], _weights(time_ns, rows))


def _fits(
    reads: Reads,
    columns: Columns,
    time_ns: Times,
    known: Indices,
    log_factor: Floats,
    ahead_of: Targets,
    level: int,
) -> list[_Fit | None]:
    """Fit each horizon on the rows that know `level` variances, as if they knew no more; None: too few, too near."""
    usable = known >= level
    fits: list[_Fit | None] = []
    for horizon, target in ahead_of.items():
        rows = _learned(time_ns, target, usable, horizon)
        times = time_ns[rows]
        if len(rows) < MINIMUM_ROWS or int(times.max() - times.min()) < window_ns(reads.variances[level - 1]):
            fits.append(None)  # in less time than its longest window, that window is nearly a constant
            continue
        some = {name: columns[name][rows] for name in reads.features}
        terms = past(reads, some, log_factor, times, level)
        if int(times.max() - times.min()) < _LEAST_HORIZONS * HORIZON_NS[horizon]:
            terms[len(reads.variances) :] = [np.zeros(len(rows))] * (len(terms) - len(reads.variances))
        season = ahead(reads, log_factor, times, HORIZON_NS[horizon])
        design = np.stack([np.ones(len(rows)), *terms, *season], axis=-1)
        fits.append(_regress(design, target[rows], _weights(time_ns, rows), times, by_qlike=horizon in QLIKE_HORIZONS))
    return fits


def _regress(design: Floats, target: Floats, weights: Floats, time_ns: Times, *, by_qlike: bool) -> _Fit:
    """Fit logs (N,), by least squares or QLIKE."""
    found = least_squares(design, target, weights)
    if by_qlike:
        found = gamma(design, np.exp(target), weights, found)
    return _Fit(found, _missed(target - design @ found, time_ns))


def _learned(time_ns: Times, target: Floats, usable: Flags, horizon: str) -> Indices:
    """Return the rows to learn from."""
    step_ns = HORIZON_NS[horizon] // _STEPS
    (rows,) = np.nonzero(usable & np.isfinite(target) & (time_ns % step_ns == 0))
    return np.asarray(rows, np.int64)


def _weights(time_ns: Times, rows: Indices) -> Floats:
    """Return how much rows count: half at a half-life before the last of all."""
    return np.asarray(np.exp2((time_ns[rows] - time_ns.max()) / HALF_LIFE_NS))


def _missed(residual: Floats, time_ns: Times) -> Residuals:
    """Return what was missed by the last rows (N,), or by all where those are few."""
    recent = residual[time_ns > time_ns.max() - CORRECTION_NS]
    some = recent if len(recent) >= MINIMUM_ROWS else residual
    return Residuals(float(np.log(np.exp(some).mean())), np.quantile(some, QUANTILES))


def _candidate(decayed: Floats, unit_ns: int, time_ns: Times, target: Floats, horizon: str) -> _Candidate | None:
    """Return what a decayed variance (N,) misses and its QLIKE after the best constant factor.

    That is the log of the mean ratio less the mean of its log. None where rows are too few.
    """
    level = ewma.log_level(decayed, unit_ns, horizon)
    rows = _learned(time_ns, target, np.isfinite(level), horizon)
    if len(rows) < MINIMUM_ROWS:
        return None
    residual = log_variance(target[rows], HORIZON_NS[horizon]) - level[rows]
    shares = _weights(time_ns, rows)
    shares /= shares.sum()
    loss = np.log((shares * np.exp(residual)).sum()) - (shares * residual).sum()
    return _Candidate(_missed(residual, time_ns[rows]), float(loss))


def _borrow(fits: list[list[_Fit | None]], horizons: tuple[str, ...]) -> list[list[_Fit]]:
    """Fill what could not be fitted: from a fit with fewer variances, else from a shorter horizon."""
    filled: list[list[_Fit]] = [[] for _ in fits]
    for index, horizon in enumerate(horizons):
        one: _Fit | None = None
        for known, row in enumerate(fits):
            one = row[index] or one
            if one is None and not index:
                raise _too_few(horizon)
            ratio = HORIZON_NS[horizon] / HORIZON_NS[horizons[max(index - 1, 0)]]
            filled[known].append(one or _stretched(filled[known][-1], ratio))
    return filled


def _stretched(one: _Fit, ratio: float) -> _Fit:
    weights = one.weights.copy()
    weights[0] += np.log(ratio)
    return _Fit(weights, one.missed)


def _too_few(horizon: str) -> StateError:
    return StateError(f"log-HAR needs {MINIMUM_ROWS} rows whose variance {horizon} ahead is known; add rows")
