"""How much of what networks read lies where they were never trained: the share of values beyond their scaling."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.rows import Rows
from streams.score.watched import NETWORK
from triton_models.bundle import SCALED_LIMIT, Spec
from triton_models.export import read_published, versions

_MOST_REACH = 300.0
"""In logs: what lies further is beyond the numbers of a float."""

Floats = npt.NDArray[np.float64]


class Range(NamedTuple):
    """Where the values of each pinned feature lay in training, each (F,)."""

    features: tuple[str, ...]
    low: Floats
    high: Floats

    @classmethod
    def of(cls, spec: Spec) -> "Range":
        """Return the range of a bundle's scaling."""
        bounds = [_bounds(one.median, one.scale, log=one.log, floor=one.floor) for one in spec.scaling]
        low, high = (np.array(side) for side in zip(*bounds, strict=True))
        return cls(spec.features, low, high)

    def beyond(self, rows: Rows) -> float | None:
        """Return the share of known values of a row message that lie outside, None where none is known."""
        at = {name: column for column, name in enumerate(rows.features)}
        there = [place for place, name in enumerate(self.features) if name in at]
        values = rows.values[:, [at[self.features[place]] for place in there]]
        known = np.isfinite(values)
        if not known.any():
            return None
        outside = (values < self.low[there]) | (values > self.high[there])
        return float(outside.sum() / known.sum())


def _bounds(median: float, scale: float, *, log: bool, floor: float) -> tuple[float, float]:
    """Return what lies SCALED_LIMIT scales below and above the median, as networks scale it."""
    if not log:
        return median - SCALED_LIMIT * scale, median + SCALED_LIMIT * scale
    middle, reach = np.log(max(median, 0.0) + floor), min(SCALED_LIMIT * scale, _MOST_REACH)
    return float(np.exp(middle - reach) - floor), float(np.exp(middle + reach) - floor)


def range_of(repository: Path, profile: str) -> Range | None:
    """Return the range of the first published bundle of a profile, None where there is none; raises StateError."""
    found = versions(repository / f"{NETWORK}-{profile}")
    return Range.of(read_published(found[-1]).spec) if found else None
