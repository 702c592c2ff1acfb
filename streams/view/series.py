"""Forecasts of one horizon at steps of time, and what then happened: rings of fixed memory."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.tensors import QUANTILES

CAPACITY = 900
"""Points of a series: what the page shows at once, several times."""
STEP_NS = {"1m": SECOND_NS, "5m": 5 * SECOND_NS, "1h": MINUTE_NS, "1d": 15 * MINUTE_NS}
"""Long horizons are scored every 5 minutes, and a forecast a second of them would fill the memory in no time."""
STATUSES = ("model", "fallback", "unavailable")
_STATUS, _MEAN = len(QUANTILES) + 1, len(QUANTILES)
_NEVER = -1


class Point(NamedTuple):
    """One forecast and what then happened. `origin_ns`: as text, browsers have no such numbers.

    `quantiles` and `mean` are of realised variance, as the record has them; `realised` None: not known yet.
    """

    origin_ns: str
    status: str
    quantiles: list[float]
    mean: float
    realised: float | None


class _Ring:
    """The first record of each step of time, the latest `capacity` steps."""

    def __init__(self, step_ns: int, capacity: int, width: int) -> None:
        self._step_ns = step_ns
        self.slots = np.full(capacity, _NEVER, np.int64)
        self.origins = np.full(capacity, _NEVER, np.int64)
        self.versions = np.zeros(capacity, np.int64)
        # Filled, not only asked for: a page that runs for days takes from its start what it will take.
        self.values = np.full((capacity, width), np.nan)

    def put(self, origin_ns: int, values: Sequence[float], version: int) -> bool:
        """Keep a record; False where it is known, too old, or not the first of its step."""
        slot = origin_ns // self._step_ns
        place = slot % len(self.slots)
        if self.slots[place] > slot or (self.slots[place] == slot and self.origins[place] <= origin_ns):
            return False
        self.slots[place], self.origins[place], self.versions[place] = slot, origin_ns, version
        self.values[place] = values
        return True


class Series:
    """One horizon of one instrument. The same records in any interleaving of topics give the same points."""

    def __init__(self, step_ns: int, capacity: int = CAPACITY) -> None:
        self._forecasts = _Ring(step_ns, capacity, len(QUANTILES) + 2)
        self._outcomes = _Ring(step_ns, capacity, 1)

    def forecast(self, origin_ns: int, status: str, numbers: Sequence[float], version: int) -> bool:
        """Take quantiles and mean of a forecast; False where nothing changed."""
        return self._forecasts.put(origin_ns, (*numbers, float(STATUSES.index(status))), version)

    def outcome(self, origin_ns: int, realised: float, version: int) -> bool:
        """Take what happened after an origin; False where nothing changed."""
        return self._outcomes.put(origin_ns, (realised,), version)

    def points(self, since: int = 0) -> list[Point]:
        """Return the points that changed after version `since`, by time."""
        forecasts, outcomes = self._forecasts, self._outcomes
        known = outcomes.origins == forecasts.origins
        versions = np.where(known, np.maximum(forecasts.versions, outcomes.versions), forecasts.versions)
        places = np.flatnonzero((forecasts.slots != _NEVER) & (versions > since))
        ordered = places[np.argsort(forecasts.origins[places])]
        return [self._point(place, realised=bool(known[place])) for place in ordered.tolist()]

    def _point(self, place: int, *, realised: bool) -> Point:
        numbers: list[float] = self._forecasts.values[place].tolist()
        return Point(
            str(self._forecasts.origins[place]),
            STATUSES[int(numbers[_STATUS])],
            numbers[:_MEAN],
            numbers[_MEAN],
            float(self._outcomes.values[place, 0]) if realised else None,
        )

    @property
    def size_bytes(self) -> int:
        """The memory of the rings: the same from the first record on."""
        arrays: list[npt.NDArray[np.generic]] = []
        for ring in (self._forecasts, self._outcomes):
            arrays += [ring.slots, ring.origins, ring.versions, ring.values]
        return sum(array.nbytes for array in arrays)


def step_of(horizon: str, row_interval_ns: int) -> int:
    """Return the step of a horizon's series, in whole row intervals.

    >>> step_of("1h", SECOND_NS) // SECOND_NS, step_of("5m", 300 * SECOND_NS) // SECOND_NS
    (60, 300)
    """
    return max(1, STEP_NS[horizon] // row_interval_ns) * row_interval_ns
