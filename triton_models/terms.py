"""The regressors of a log-HAR, from the features of one row and its time: in evaluation, training and live.

All are logs or ratios per shortest window, so that a coefficient says the same of any instrument.
Elementwise numpy alone: the bits of a row do not depend on the rows beside it.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from schemas.rules import DAY_NS
from schemas.tensors import YEAR_NS
from triton_models.evaluation.definitions import FLOOR_RATIO
from triton_models.seasons import Floats, Indices, Times, log_mean_factor

Columns = Mapping[str, Floats]
"""Features (N,) by name, NaN where not known."""

FLOOR_PER_NS = 0.02**2 / YEAR_NS
"""Variance per nanosecond at 2 % volatility a year: below it a logarithm would only tell of gaps."""
_RETURN_LIMIT = 10.0
_WINDOW = re.compile(r"_[1-9]\d{0,5}[smhd]$", re.ASCII)
_WINDOW_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": DAY_NS}


def window_ns(feature: str) -> int:
    """Return the window in a feature's name.

    >>> window_ns("realised_variance_5m") // 10**9
    300
    """
    window = feature.rpartition("_")[2]
    return int(window[:-1]) * _WINDOW_NS[window[-1]]


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """Features that a log-HAR reads, by what is made of them; those of one kind shortest window first."""

    variances: tuple[str, ...]
    """Realised variances (Corsi 2009): a row is served by the fit for those that it knows."""
    season: bool = True
    """Whether the calendar profile of the time ahead is a term."""
    ranges: tuple[str, ...] = ()
    """Mean range variances of an interval as long as the shortest window, taken without their season."""
    losses: tuple[str, ...] = ()
    """Negative semivariances, as shares of the variances of their windows (Patton and Sheppard 2015)."""
    returns: tuple[str, ...] = ()
    """Returns in deviations, losses and gains apart: leverage (Corsi and Reno 2012)."""
    volumes: tuple[str, ...] = ()
    """Traded volumes, as the log of each rate over the next longer one's."""
    surprises: tuple[str, ...] = ()
    """Log ratios as they are, 0: nothing out of the ordinary."""
    market: tuple[str, ...] = ()
    """Log variances of the market: the shortest against each longer one."""

    @property
    def features(self) -> tuple[str, ...]:
        """All features, each once."""
        kinds = (self.variances, self.ranges, self.losses, self.returns, self.volumes, self.surprises, self.market)
        return tuple(dict.fromkeys(name for kind in kinds for name in kind))

    @property
    def terms(self) -> int:
        """The number of regressors, the intercept left out."""
        steps = max(len(self.volumes) - 1, 0) + max(len(self.market) - 1, 0)
        single = len(self.variances) + len(self.ranges) + len(self.losses) + len(self.surprises)
        return single + 2 * len(self.returns) + steps + self.season

    @property
    def unit_ns(self) -> int:
        """The shortest window: variances are told per time so long."""
        return window_ns(self.variances[0])

    def is_sound(self) -> bool:
        """Return whether all names tell their windows, in order, and each share has its variance."""
        kinds = (self.variances, self.ranges, self.losses, self.returns, self.volumes, self.surprises, self.market)
        if not all(_WINDOW.search(name) for kind in kinds for name in kind):
            return False
        windows = [[window_ns(name) for name in kind] for kind in kinds]
        rising = all(one < next_one for kind in windows for one, next_one in pairwise(kind))
        return rising and set(windows[2]) <= set(windows[0])

    def among(self, features: Collection[str]) -> "Reads":
        """Return what of this can be read where these features are there."""
        variances = _among(self.variances, features)
        windows = {window_ns(name) for name in variances}
        return Reads(
            variances=variances,
            season=self.season,
            ranges=_among(self.ranges, features),
            losses=tuple(name for name in _among(self.losses, features) if window_ns(name) in windows),
            returns=_among(self.returns, features),
            volumes=_among(self.volumes, features),
            surprises=_among(self.surprises, features),
            market=_among(self.market, features),
        )


def known_of(reads: Reads, columns: Columns) -> Indices:
    """Return the number of variances (N,) that each row knows, from the shortest on without a gap."""
    there = np.stack([np.isfinite(columns[name]) for name in reads.variances], axis=-1)
    return np.asarray(np.cumprod(there, axis=-1).sum(-1), np.int64)


def ahead(reads: Reads, log_factor: Floats, time_ns: Times, horizon_ns: int) -> list[Floats]:
    """Return the term (N,) of the season ahead; none where a log-HAR has none."""
    return [log_mean_factor(log_factor, time_ns + horizon_ns, horizon_ns)] if reads.season else []


def past(reads: Reads, columns: Columns, log_factor: Floats, time_ns: Times, known: int) -> list[Floats]:
    """Return all terms (N,) but the season ahead, of rows that know `known` variances; NaN where one knows fewer.

    What has a longer window than these is 0 throughout. A range that a gap hides is that of the next
    shorter window; any other term that is not known is 0, which says nothing.
    """
    return list(_Past(reads, columns, log_factor, time_ns, known).terms())


class _Past:
    """The terms of rows that know so many variances."""

    def __init__(self, reads: Reads, columns: Columns, log_factor: Floats, time_ns: Times, known: int) -> None:
        self.reads, self.columns, self.log_factor, self.time_ns = reads, columns, log_factor, time_ns
        self.longest_ns = window_ns(reads.variances[known - 1])
        self.level = self.rate(reads.variances[known - 1])
        """(N,): variance per unit over the longest known window."""
        self.floor = np.maximum(FLOOR_RATIO * self.level, FLOOR_PER_NS * reads.unit_ns)
        self.nothing = np.zeros(len(time_ns))

    def terms(self) -> Iterator[Floats]:
        yield from self.each(self.reads.variances, self.variance)
        yield from self.ranges()
        yield from self.each(self.reads.losses, self.share)
        for name in self.reads.returns:
            moved = self.deviations(name) if self.sees(name) else self.nothing
            yield np.clip(moved, -_RETURN_LIMIT, 0)
            yield np.clip(moved, 0, _RETURN_LIMIT)
        for shorter, longer in pairwise(self.reads.volumes):
            yield self.step(shorter, longer) if self.sees(longer) else self.nothing
        yield from self.each(self.reads.surprises, lambda name: known_or_zero(self.columns[name]))
        for name in self.reads.market[1:]:
            first = self.columns[self.reads.market[0]]
            yield known_or_zero(first - self.columns[name]) if self.sees(name) else self.nothing

    def each(self, names: Sequence[str], term: Callable[[str], Floats]) -> Iterator[Floats]:
        for name in names:
            yield term(name) if self.sees(name) else self.nothing

    def sees(self, name: str) -> bool:
        return window_ns(name) <= self.longest_ns

    def rate(self, name: str) -> Floats:
        return np.asarray(self.columns[name] / (window_ns(name) / self.reads.unit_ns))

    def variance(self, name: str) -> Floats:
        return np.asarray(np.log(np.maximum(self.rate(name), self.floor)))

    def ranges(self) -> Iterator[Floats]:
        shorter = self.variance(self.reads.variances[0])
        for name in self.reads.ranges:
            if not self.sees(name):
                yield self.nothing
                continue
            season = log_mean_factor(self.log_factor, self.time_ns, window_ns(name))
            calm = np.log(np.maximum(self.columns[name], self.floor)) - season
            shorter = np.where(np.isfinite(calm), calm, shorter)
            yield shorter

    def share(self, name: str) -> Floats:
        whole = next(each for each in self.reads.variances if window_ns(each) == window_ns(name))
        with np.errstate(divide="ignore", invalid="ignore"):
            return known_or_zero(self.columns[name] / self.columns[whole] - 0.5)

    def deviations(self, name: str) -> Floats:
        level = np.maximum(self.level, self.floor) * (window_ns(name) / self.reads.unit_ns)
        return known_or_zero(self.columns[name] / np.sqrt(level))

    def step(self, shorter: str, longer: str) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.rate(shorter) / self.rate(longer)
            return known_or_zero(np.log(ratio))


def _among(names: tuple[str, ...], features: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in features)


def known_or_zero(values: Floats) -> Floats:
    """Return values (N,), 0 where not known: for regressors whose 0 says nothing."""
    return np.where(np.isfinite(values), values, 0.0)


_BAR_WINDOWS = ("5m", "1h", "1d", "7d")
_RANGES = ("5m", "10m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "2d", "4d", "7d")

PLAIN = Reads(variances=tuple(f"bar_realised_variance_{window}" for window in _BAR_WINDOWS), season=False)
"""Log variance of the last bar, hour, day and week."""
SEAS = Reads(variances=PLAIN.variances, ranges=tuple(f"bar_garman_klass_variance_{window}" for window in _BAR_WINDOWS))
"""PLAIN, the calendar profile of the time ahead, and ranges of the same windows without season."""
REF = Reads(
    variances=PLAIN.variances,
    ranges=tuple(f"bar_garman_klass_variance_{window}" for window in _RANGES),
    losses=("bar_negative_semivariance_1h", "bar_negative_semivariance_1d"),
    returns=("bar_signed_return_5m", "bar_signed_return_1h", "bar_signed_return_1d"),
    volumes=tuple(f"bar_traded_volume_{window}" for window in _BAR_WINDOWS),
    market=("market_bar_volatility_1h", "market_bar_volatility_1d", "market_bar_volatility_5d"),
)
"""SEAS, finer windows, semivariance and leverage, volumes, the market."""
TICKS = Reads(
    variances=tuple(f"realised_variance_{window}" for window in ("1m", "5m", "15m", "1h", "6h", "1d")),
    losses=("negative_semivariance_1m", "negative_semivariance_5m", "negative_semivariance_1h"),
    returns=("signed_return_1m", "signed_return_5m", "signed_return_1h"),
    surprises=("volume_surprise_1h",),
    market=("market_volatility_5m", "market_volatility_15m"),
)
"""What ticks have of the same: variances of the mid, so no ranges."""
BASES = {"bars": REF, "ticks": TICKS}
"""What a profile's base reads, as far as it is pinned."""
DECAYED = {
    "bars": tuple(f"bar_decayed_variance_{window}" for window in ("1h", "6h", "1d", "4d", "7d")),
    "ticks": tuple(f"decayed_variance_{window}" for window in ("5m", "1h", "5h")),
}
"""What the moving average of a profile chooses from, as far as it is pinned; shortest memory first."""
