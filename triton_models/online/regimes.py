"""Calm or wild, as calibration knows it: an instrument's variance of late against that of long, filtered.

What is watched, and the chain that filters it, are fitted once, when a bundle is trained or an evaluation begins, and
belong to the bundle. The filter goes by steps of the clock: a row between them says nothing, a step without
a value lets the chain run on. One step of arithmetic serves a whole panel and the rows of a stream, bit for bit.

N instruments side by side, K states of the chain.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import StateError
from schemas.rows import Rows
from schemas.rules import HOUR_NS, MINUTE_NS
from triton_models.evaluation.regimes import Regimes, fit, likeliest
from triton_models.har import window_ns
from triton_models.online.conformal import REGIMES

if TYPE_CHECKING:
    from triton_models.dataset import RowTable

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

UNKNOWN = -1
"""The regime of an instrument without a value so far."""
FORGET = 1000
"""Steps without a value after which an instrument counts as new: by then the chain is in its long run."""
PAIRS = {
    "ticks": ("realised_variance_5m", "realised_variance_1h", MINUTE_NS),
    "bars": ("bar_realised_variance_6h", "bar_realised_variance_7d", HOUR_NS),
}
"""By profile: variance of late, variance of long, and the time between looks."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """Two features whose ratio of variance rates tells the regime, and the chain fitted to its log."""

    short: str
    long: str
    step_ns: int
    regimes: Regimes

    def fits(self, features: Sequence[str]) -> bool:
        """Say whether these numbers are a chain over features among `features`."""
        chain = self.regimes
        states = len(chain.means)
        rows = {len(chain.means), len(chain.deviations), len(chain.transitions), *map(len, chain.transitions)}
        numbers = np.array([*chain.means, *chain.deviations, *(one for row in chain.transitions for one in row)])
        return (
            {self.short, self.long} <= set(features)
            and self.step_ns > 0
            and rows == {states}
            and 1 <= states <= REGIMES
            and bool(np.isfinite(numbers).all())
            and min(chain.deviations) > 0
        )

    def values(self, short: Floats, long: Floats) -> Floats:
        """Return the log ratio of the features' rates, NaN where one of them is not known or 0."""
        return log_ratio(short, long, window_ns(self.long) / window_ns(self.short))


def log_ratio(short: Floats, long: Floats, windows: float) -> Floats:
    """Return log(short x windows / long), NaN where it is not finite; `windows`: short ones in a long one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(short * windows / long)
    return np.where(np.isfinite(value), value, np.nan)


class Beliefs(NamedTuple):
    """What a filter holds of instruments; nothing in it is ever changed."""

    probabilities: Floats
    """(N, K)"""
    silent: Indices
    """(N,): steps since the last value; more than `FORGET`: there was none."""

    @classmethod
    def none(cls, regimes: Regimes, instruments: int) -> Self:
        """Return what is believed before any value."""
        return cls(regimes.start((instruments,)), np.full(instruments, FORGET + 1))

    def after(self, regimes: Regimes, values: Floats) -> "Beliefs":
        """Return what is believed after one more step with values (N,), NaN where there is none."""
        some = np.isfinite(values)
        new = self.silent > FORGET
        start = regimes.start(self.silent.shape)
        moved = regimes.update(np.where(new[:, None], start, self.probabilities), values)
        silent = np.where(some, 0, np.minimum(self.silent + 1, FORGET + 1))
        return Beliefs(np.where((new & ~some)[:, None], start, moved), silent)

    def regimes(self) -> Indices:
        """Return the likeliest states (N,), 0 for the calmest, `UNKNOWN` where there was no value."""
        return np.where(self.silent > FORGET, UNKNOWN, likeliest(self.probabilities))


def filtered(regimes: Regimes, table: Floats) -> Indices:
    """Return the regimes (T, N) at each of the steps of a panel (T, N)."""
    beliefs = Beliefs.none(regimes, table.shape[1])
    found = np.empty(table.shape, np.int64)
    for step, values in enumerate(table):
        beliefs = beliefs.after(regimes, values)
        found[step] = beliefs.regimes()
    return found


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """State of a stream's filter as of its last step; a new one at every step, so it may be kept."""

    watched: Watched
    step: int = -1
    """Number of the step, counted from the epoch; -1 before any."""
    instruments: tuple[str, ...] = ()
    probabilities: tuple[tuple[float, ...], ...] = ()
    silent: tuple[int, ...] = ()


class Filter:
    """Regimes of the instruments of a partition, by rows in the order of their log."""

    def __init__(self, watched: Watched, seen: Seen | None = None) -> None:
        """Continue from `seen`; what another chain believed is forgotten."""
        self.watched = watched
        self.seen = seen if seen is not None and seen.watched == watched else Seen(watched=watched)
        self.regimes: Mapping[str, int] = _regimes(self.seen)
        """By instrument, as of the last step; like `seen` replaced by every step, never changed."""

    def take(self, rows: Rows) -> None:
        """Take in the rows of a later time than all before; they count where a step ends."""
        step, beyond = divmod(rows.header.row_time_ns, self.watched.step_ns)
        if beyond == 0 and step > self.seen.step:
            self.seen = _after(self.seen, step, self._values(rows))
            self.regimes = _regimes(self.seen)

    def _values(self, rows: Rows) -> dict[str, float]:
        """Return what the rows say, by instrument."""
        if self.watched.short not in rows.features or self.watched.long not in rows.features:
            return {}
        short, long = (rows.values[:, rows.features.index(name)] for name in (self.watched.short, self.watched.long))
        values = self.watched.values(np.ascontiguousarray(short), np.ascontiguousarray(long)).tolist()
        return {name: value for name, value in zip(rows.instruments, values, strict=True) if value == value}  # noqa: PLR0124


def _beliefs(seen: Seen, instruments: Sequence[str]) -> Beliefs:
    """Return what is believed of instruments, those that are new behind the others."""
    none = Beliefs.none(seen.watched.regimes, len(instruments))
    old = len(seen.instruments)
    if old:
        none.probabilities[:old] = seen.probabilities
        none.silent[:old] = seen.silent
    return none


def _after(seen: Seen, step: int, values: Mapping[str, float]) -> Seen:
    """Return the state after a step with the values of some instruments."""
    known = set(seen.instruments)
    instruments = (*seen.instruments, *(name for name in values if name not in known))
    beliefs = _beliefs(seen, instruments)
    chain = seen.watched.regimes
    missed = min(step - seen.step - 1, FORGET + 1) if seen.step >= 0 else 0
    for _ in range(missed):
        beliefs = beliefs.after(chain, np.full(len(instruments), np.nan))
    beliefs = beliefs.after(chain, np.array([values.get(name, np.nan) for name in instruments]))
    keep = np.flatnonzero(beliefs.silent <= FORGET).tolist()
    return Seen(
        watched=seen.watched,
        step=step,
        instruments=tuple(instruments[index] for index in keep),
        probabilities=tuple(tuple(beliefs.probabilities[index].tolist()) for index in keep),
        silent=tuple(int(beliefs.silent[index]) for index in keep),
    )


def _regimes(seen: Seen) -> dict[str, int]:
    return dict(zip(seen.instruments, _beliefs(seen, seen.instruments).regimes().tolist(), strict=True))


def watch(table: "RowTable", profile: str) -> Watched | None:
    """Fit what is watched of a profile on training rows; None where a feature is not pinned, or rows are too few."""
    short, long, step_ns = PAIRS[profile]
    if not {short, long} <= set(table.pinned.features):
        return None
    rows = np.flatnonzero(table.row_time_ns % step_ns == 0)
    if not len(rows):
        return None
    values = log_ratio(table.column(short), table.column(long), window_ns(long) / window_ns(short))
    steps = table.row_time_ns[rows] // step_ns
    panel = np.full((int(steps.max() - steps.min()) + 1, len(table.instruments)), np.nan)
    panel[steps - steps.min(), table.instrument[rows]] = values[rows]
    try:
        return Watched(short=short, long=long, step_ns=step_ns, regimes=fit(panel))
    except StateError:
        return None
