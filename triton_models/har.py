"""Direct log-HAR: the base that every network corrects, and the fallback without a network.

Per horizon, log realised variance ahead is linear in the terms of `triton_models.terms` (Corsi 2009),
the season ahead among them. Long windows are masked until they are filled, so there is one fit per
number of known realised variances, shortest first.
Numpy only and free of BLAS, so that the bits of a row do not depend on the rows beside it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.seasons import HOURS, Floats, Indices, Times
from triton_models.terms import FLOOR_PER_NS, Columns, Reads, ahead, known_of, past, window_ns

__all__ = ["FLOOR_PER_NS", "Floats", "Har", "LogForecast", "Times", "forecast", "last_row", "log_variance", "window_ns"]

MINIMUM_STEP = 1e-3
"""Least distance of neighbouring quantiles, in log variance."""


class Har(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted log-HAR. K realised variances, H horizons, P = 1 + terms, Q quantiles."""

    reads: Reads
    """The features that its terms are made of."""
    horizons: tuple[str, ...]
    log_factor: tuple[float, ...]
    """(168,): the calendar profile."""
    coefficients: tuple[tuple[tuple[float, ...], ...], ...]
    """(K, H, P): first by the number of known variances less one; intercept, past, season ahead."""
    smearing: tuple[tuple[float, ...], ...]
    """(K, H): log of the mean of exp(residual) (Duan 1983), which makes the mean unbiased."""
    residuals: tuple[tuple[tuple[float, ...], ...], ...]
    """(K, H, Q): quantiles of the residual in log variance."""

    @property
    def windows(self) -> tuple[str, ...]:
        """The realised variances that it reads, shortest window first."""
        return self.reads.variances

    def fits(self) -> bool:
        """Return whether its parts have the shapes that they say."""
        known, horizons = len(self.windows), len(self.horizons)
        shapes = (
            (self.coefficients, (known, horizons, 1 + self.reads.terms)),
            (self.smearing, (known, horizons)),
            (self.residuals, (known, horizons, len(QUANTILES))),
        )
        sound = known > 0 and self.reads.is_sound() and len(self.log_factor) == HOURS
        return sound and all(shape_of(part) == shape for part, shape in shapes)


class LogForecast(NamedTuple):
    """A forecast in log variance: what networks correct. NaN where it is not known."""

    mean: Floats
    """(B, H): log of the expected variance."""
    median: Floats
    """(B, H)"""
    steps: Floats
    """(B, H, Q - 1): distances of neighbouring quantiles, all positive."""

    def correct(self, mean: Floats, median: Floats, widths: Floats) -> "LogForecast":
        """Return this forecast with its levels moved and its steps scaled; (0, 0, 1) is itself."""
        return LogForecast(self.mean + mean, self.median + median, self.steps * widths)

    def levels(self) -> tuple[Floats, Floats]:
        """Return the mean (B, H) and the quantiles (B, H, Q) of realised variance."""
        middle = QUANTILES.index(0.5)
        below = np.cumsum(self.steps[..., :middle][..., ::-1], axis=-1)[..., ::-1]
        above = np.cumsum(self.steps[..., middle:], axis=-1)
        median = self.median[..., None]
        quantiles = np.concatenate([median - below, median, median + above], axis=-1)
        return np.exp(self.mean), np.exp(quantiles)


def log_variance(variance: Floats, over_ns: int | Times) -> Floats:
    """Return the log of a realised variance, not below the floor of its window. NaN stays NaN."""
    floor = FLOOR_PER_NS * np.asarray(over_ns, np.float64)
    return np.log(np.maximum(variance, floor))


def last_row(
    names: Sequence[str], features: npt.NDArray[np.float32], mask: npt.NDArray[np.float32], wanted: Sequence[str]
) -> dict[str, Floats]:
    """Return features (B,) of the last row of tensors (B, T, F) with these names, NaN where masked."""
    places = {name: index for index, name in enumerate(names)}
    found = {}
    for name in wanted:
        known = mask[:, -1, places[name]] > 0
        found[name] = np.where(known, features[:, -1, places[name]].astype(np.float64), np.nan)
    return found


def forecast(har: Har, columns: Columns, origin_time_ns: Times) -> LogForecast:
    """Forecast from features (B,) by name, NaN where masked.

    A row uses the fit for the realised variances known without a gap from the shortest on; one that
    does not know the shortest is NaN throughout.
    """
    known = known_of(har.reads, columns)  # (B,)
    row = np.maximum(known - 1, 0)
    median = np.full((len(known), len(har.horizons)), np.nan)
    for level in range(1, len(har.windows) + 1):
        (rows,) = np.nonzero(known == level)
        if len(rows):
            median[rows] = _medians(har, columns, origin_time_ns, rows, level)
    smearing = np.asarray(har.smearing, np.float64)[row]
    offsets = np.asarray(har.residuals, np.float64)[row]  # (B, H, Q)
    middle = offsets[..., QUANTILES.index(0.5)]
    return LogForecast(median + smearing, median + middle, steps_of(offsets))


def steps_of(offsets: Floats) -> Floats:
    """Return the distances (..., Q - 1) of quantiles (..., Q) in log variance."""
    return np.maximum(np.diff(offsets, axis=-1), MINIMUM_STEP)


def shape_of(part: Any) -> tuple[int, ...]:
    """Return the shape of nested tuples of numbers, with -1 where those of one axis differ."""
    if not isinstance(part, tuple):
        return ()
    inner = {shape_of(one) for one in part}
    return len(part), *(inner.pop() if len(inner) == 1 else (-1,) if inner else ())


def _medians(har: Har, columns: Columns, origin_time_ns: Times, rows: Indices, known: int) -> Floats:
    """Return the medians (rows, H) before their correction, of rows that know so many variances."""
    times = origin_time_ns[rows]
    some = {name: columns[name][rows] for name in har.reads.features}
    log_factor = np.asarray(har.log_factor, np.float64)
    terms = past(har.reads, some, log_factor, times, known)
    medians = np.empty((len(rows), len(har.horizons)))
    for index, horizon in enumerate(har.horizons):
        season = ahead(har.reads, log_factor, times, HORIZON_NS[horizon])
        design = np.stack([np.ones(len(rows)), *terms, *season], axis=-1)  # (rows, P)
        medians[:, index] = (design * np.asarray(har.coefficients[known - 1][index])).sum(-1)
    return medians
