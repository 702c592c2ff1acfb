"""Walking forward: when experts are fitted anew, on what, and which rows they then forecast.

train_until        from                      until
----learned--->|...embargo...|---forecast------>|
  purged: targets end here
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.errors import SettingsError
from schemas.tensors import HORIZON_NS
from triton_models.evaluation.definitions import (
    CORRECTION_NS,
    EMBARGO_NS,
    HALF_LIFE_NS,
    LEAST_TRAINING_NS,
    WARM_UP_NS,
)
from triton_models.har import Floats

if TYPE_CHECKING:
    from triton_models.evaluation.panel import Flags, Panel

_SECOND_NS = 10**9


class Fold(NamedTuple):
    """One fit and the rows that are forecast with it, in nanoseconds."""

    train_until_ns: int
    """Nothing later is learned from, targets included."""
    from_ns: int
    until_ns: int
    """The first time that is no longer forecast."""

    def learned(self, panel: "Panel", horizon: str) -> "Flags":
        """Return the rows (N,) to learn from: of no instrument held out, with a target that ends in time."""
        ends = panel.row_time_ns + HORIZON_NS[horizon]
        return panel.in_training & (ends <= self.train_until_ns) & np.isfinite(panel.target[horizon])

    def forecast(self, panel: "Panel") -> "Flags":
        """Return the rows (N,) to forecast, held-out instruments among them."""
        return (panel.row_time_ns >= self.from_ns) & (panel.row_time_ns < self.until_ns)

    def weights(self, panel: "Panel") -> Floats:
        """Return how much each row (N,) counts in the fit: half at a half-life before its end."""
        age = np.maximum(self.train_until_ns - panel.row_time_ns, 0)
        return np.exp2(-age / HALF_LIFE_NS)

    def recent(self, panel: "Panel") -> "Flags":
        """Return the rows (N,) whose residuals correct the mean and give the quantiles."""
        return panel.row_time_ns > self.train_until_ns - CORRECTION_NS


class Folds:
    """Refits at the start of each month, the first at the start of the evaluation.

    >>> from triton_models.evaluation.folds import Folds, day_ns
    >>> len(list(Folds(day_ns("2023-11-01"), day_ns("2023-11-05"), day_ns("2024-02-01"))))
    3
    """

    def __init__(self, train_until_ns: int, from_ns: int, until_ns: int, *, embargo_ns: int = EMBARGO_NS) -> None:
        """Learn before `train_until_ns` first; forecast from `from_ns` to before `until_ns`.

        Raises:
            SettingsError: where the times are not in this order.
        """
        if not train_until_ns <= from_ns < until_ns:
            raise SettingsError("expected: end of training <= start < end of the evaluation, got another order")
        starts = [from_ns, *_months(from_ns, until_ns)]
        ends = [*starts[1:], until_ns]
        first = min(train_until_ns, from_ns - embargo_ns)
        self._folds = tuple(
            Fold(first if start == from_ns else start - embargo_ns, start, end)
            for start, end in zip(starts, ends, strict=True)
        )

    def __iter__(self) -> Iterator[Fold]:
        return iter(self._folds)

    def __len__(self) -> int:
        return len(self._folds)

    def warmed(self, first_row_ns: int) -> "Folds":
        """Return these folds behind two months of earlier ones, in which what learns online gets going.

        Those end where the first fit's training does. There are fewer where the rows begin later,
        and none where nothing could be learned before.
        """
        until_ns = self._folds[0].train_until_ns
        from_ns = max(until_ns - WARM_UP_NS, first_row_ns + LEAST_TRAINING_NS + EMBARGO_NS)
        if from_ns >= until_ns:
            return self
        warmed = Folds(from_ns - EMBARGO_NS, from_ns, until_ns)
        warmed._folds += self._folds
        return warmed

    @property
    def from_ns(self) -> int:
        """The first time that is forecast."""
        return self._folds[0].from_ns

    @property
    def until_ns(self) -> int:
        """The first time that is no longer forecast."""
        return self._folds[-1].until_ns


def day_ns(day: str) -> int:
    """Return the start of a day, UTC, in nanoseconds.

    >>> day_ns("1970-01-02") == 86_400 * 10**9
    True

    Raises:
        SettingsError: where it is no date.
    """
    try:
        return round(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * _SECOND_NS
    except ValueError:
        raise SettingsError(f"expected a date as 2024-02-29, got {day!r}") from None


def _months(from_ns: int, until_ns: int) -> Iterator[int]:
    """Yield the starts of months within (from, until)."""
    day = datetime.fromtimestamp(from_ns // _SECOND_NS, UTC)
    year, month = day.year, day.month
    while True:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004
        start = round(datetime(year, month, 1, tzinfo=UTC).timestamp()) * _SECOND_NS
        if start >= until_ns:
            return
        yield start
