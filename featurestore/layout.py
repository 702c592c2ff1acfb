"""What a feature set needs: which series, of which entities, at which levels, how far back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec

from featurestore.catalogue import Catalogue
from featurestore.specs import BORDER_S, DerivedSpec, FeatureSpec, TileSpec, level_of
from schemas import EVENTS, FeatureError, Rules
from schemas.rules import HOUR_NS, MINUTE_NS

Home: TypeAlias = Literal["instrument", "asset", "all", "market"]
"""What a series has one row for: each instrument, each asset, events of "*", or just one row."""

HOMES: tuple[Home, ...] = ("instrument", "asset", "all")
"""The homes of events."""

Source: TypeAlias = tuple[Home, str]
"""Events of one record type, seen from a home."""

NO_START = -(1 << 62)
"""Start of a series that was there from the beginning."""


@dataclass
class SeriesPlan:
    """One series: where it lives and how much of it is kept."""

    spec: TileSpec | DerivedSpec
    home: Home
    reads_from: int = NO_START
    """First base tile that it may read; it joined there, or one of its inputs did."""
    windows: list[int] = field(default_factory=lambda: [1])
    """Longest window that is read at each level, the base first."""

    @property
    def start(self) -> int:
        """Return the first base tile that it knows; before it is NaN."""
        if self.reads_from == NO_START or isinstance(self.spec, TileSpec):
            return self.reads_from
        return self.reads_from + self.spec.window_tiles - 1


class Starts(msgspec.Struct, frozen=True):
    """Since when series and features are there, for those that joined a running log.

    `series`: first base tile that each may read; `features`: the border at which each joined.
    """

    series: dict[str, int] = {}
    features: dict[str, int] = {}


@dataclass(frozen=True)
class FeaturePlan:
    """One feature: where its window lies and what has to be in it."""

    spec: FeatureSpec
    column: int
    level: int
    tiles: int
    """T, in tiles of the level."""
    sees_market: bool
    """Whether it looks at the time one row earlier, up to which market series are known."""
    sources: tuple[Source, ...]
    """It is masked while one of these has no event in the window."""
    start_ns: int
    """It is masked while its window begins before this."""


@dataclass(frozen=True)
class Layout:
    """Everything that one feature set needs."""

    feature_set_id: str
    features: tuple[FeaturePlan, ...]
    series: Mapping[str, SeriesPlan]
    """Tiles and derived tiles, each after those that it reads; market series are not among them."""
    market: Mapping[str, SeriesPlan]
    """Market series: the derived tile that each is the mean of."""
    levels_ns: tuple[int, ...]
    settle_tiles: int
    """After so many silent tiles all series repeat themselves."""
    reads_time: bool
    """Whether a derived tile reads the time, so that silence does not make it constant."""

    @property
    def starts(self) -> Starts:
        """Return since when its series and features are there."""
        plans = dict(self.series) | dict(self.market)
        return Starts(
            {name: plan.reads_from for name, plan in sorted(plans.items())},
            {plan.spec.name: plan.start_ns for plan in self.features},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the feature columns."""
        return tuple(plan.spec.name for plan in self.features)

    @property
    def factors(self) -> tuple[int, ...]:
        """Return the number of tiles of the level below in one of each coarser level."""
        return factors_of(self.levels_ns)


def factors_of(levels_ns: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many tiles of each level make one of the next."""
    return tuple(coarse // fine for fine, coarse in pairwise(levels_ns))


def levels_of(rules: Rules) -> tuple[int, ...]:
    """Return the tile intervals: base, minute, hour, each a whole number of those before it."""
    levels = [rules.tile_interval_ns]
    for level in (MINUTE_NS, HOUR_NS):
        if level > levels[-1] and level % levels[-1] == 0:
            levels.append(level)
    return tuple(levels)


class Plotter:
    """Works out the layout of one feature set."""

    def __init__(self, catalogue: Catalogue, rules: Rules) -> None:
        self._specs: dict[str, TileSpec | DerivedSpec] = {spec.name: spec for spec in catalogue.tiles}
        self._specs |= {spec.name: spec for spec in catalogue.derived}
        self._rules = rules
        self._levels = levels_of(rules)
        self._order = {name: place for place, name in enumerate(self._specs)}

    def plot(
        self,
        features: Iterable[FeatureSpec],
        feature_set_id: str,
        *,
        starts: Starts | None = None,
        border_ns: int = 0,
    ) -> Layout:
        """Return the layout of a feature set.

        `starts` are those of the set before; what is not among them joins at `border_ns`. None:
        there is no set before.
        """
        features = sorted(features, key=lambda spec: spec.name)
        self._series: dict[str, SeriesPlan] = {}
        self._market: dict[str, SeriesPlan] = {}
        self._starts, self._border_ns = starts, border_ns
        plans = tuple(self._feature(spec, column) for column, spec in enumerate(features))
        series = {name: self._series[name] for name in sorted(self._series, key=self._order.__getitem__)}
        return Layout(
            feature_set_id,
            plans,
            series,
            dict(sorted(self._market.items())),
            self._levels,
            self._settle_tiles(),
            any(isinstance(plan.spec, DerivedSpec) and BORDER_S in plan.spec.inputs for plan in self._all()),
        )

    def _all(self) -> Iterator[SeriesPlan]:
        yield from self._series.values()
        yield from self._market.values()

    def _settle_tiles(self) -> int:
        carries = [0]
        windows = 1
        for plan in self._all():
            if isinstance(plan.spec, TileSpec):
                carries.append(plan.spec.carry_ns // self._rules.tile_interval_ns)
                continue
            windows += plan.spec.window_tiles
            if plan.spec.of_asset:
                # An instrument that leaves the list leaves the mean.
                carries.append(self._rules.listing_ns // self._rules.tile_interval_ns)
        return max(carries) + windows

    def _feature(self, spec: FeatureSpec, column: int) -> FeaturePlan:
        level_ns, tiles = level_of(spec.window_ns, self._rules)
        if level_ns not in self._levels:
            raise FeatureError(f"{spec.name}: tiles of {level_ns} ns are no whole number of the rules' tiles")
        level = self._levels.index(level_ns)
        sources: set[Source] = set()
        for name in self._inputs(spec):
            sources |= self._sources(name)
            self._reach(self._plan(name), level, tiles, spec)
        return FeaturePlan(
            spec,
            column,
            level,
            tiles,
            any(name in self._market for name in spec.inputs),
            tuple(sorted(sources)),
            self._start_of_feature(spec.name),
        )

    def _inputs(self, spec: FeatureSpec | DerivedSpec) -> list[str]:
        for name in spec.inputs:
            if name != BORDER_S and name not in self._specs:
                raise FeatureError(f"{spec.name}: no tile is called {name!r}")
        return [name for name in spec.inputs if name != BORDER_S]

    def _reach(self, plan: SeriesPlan, level: int, tiles: int, reader: FeatureSpec | DerivedSpec) -> None:
        if level and plan.spec.combine is None:
            raise FeatureError(f"{reader.name}: {plan.spec.name} has no combine=, so no minutes and hours")
        plan.windows += [1] * (level + 1 - len(plan.windows))
        plan.windows[level] = max(plan.windows[level], tiles)

    def _plan(self, name: str) -> SeriesPlan:
        spec = self._specs[name]
        market = isinstance(spec, DerivedSpec) and spec.market
        plans = self._market if market else self._series
        if name not in plans:
            plan = self._planned_tile(spec) if isinstance(spec, TileSpec) else self._planned_derived(spec)
            plans[name] = plan
        return plans[name]

    def _planned_tile(self, spec: TileSpec) -> SeriesPlan:
        return SeriesPlan(spec, _home_of(spec), self._start_of(spec.name, NO_START))

    def _planned_derived(self, spec: DerivedSpec) -> SeriesPlan:
        homes: set[Home] = {"all"}
        start = NO_START
        for name in self._inputs(spec):
            source = self._specs[name]
            if isinstance(source, DerivedSpec) and source.market:
                raise FeatureError(f"{spec.name}: {name} is a market series, which only features can read")
            plan = self._plan(name)
            self._reach(plan, 0, spec.window_tiles, spec)
            homes.add("instrument" if isinstance(source, DerivedSpec) and source.of_asset else plan.home)
            start = max(start, plan.start)
        home: Home = "instrument" if spec.market else next(home for home in HOMES if home in homes)
        if spec.of_asset:
            home = "asset"
        return SeriesPlan(spec, home, self._start_of(spec.name, start))

    def _start_of(self, name: str, inputs_start: int) -> int:
        """Return the first tile that a series may read."""
        if self._starts is None:
            return inputs_start
        joined = self._border_ns // self._rules.tile_interval_ns
        return self._starts.series.get(name, max(inputs_start, joined))

    def _start_of_feature(self, name: str) -> int:
        return NO_START if self._starts is None else self._starts.features.get(name, self._border_ns)

    def _sources(self, name: str) -> set[Source]:
        spec = self._specs[name]
        if isinstance(spec, TileSpec):
            return {(_home_of(spec), spec.record)}
        if spec.market or spec.of_asset:
            return set()
        sources: set[Source] = set()
        for source in self._inputs(spec):
            sources |= self._sources(source)
        return sources


def own_home(record: str) -> Home:
    """Return what the events of a record type belong to: an instrument, or an asset.

    >>> own_home("trade"), own_home("option"), own_home("flow")
    ('instrument', 'asset', 'asset')
    """
    event = EVENTS[record]
    return "asset" if event.of_asset or event.of_underlying else "instrument"


def _home_of(spec: TileSpec) -> Home:
    if spec.scope == "own":
        return own_home(spec.record)
    if not EVENTS[spec.record].of_asset:
        raise FeatureError(f'{spec.name}: scope="market" is for flow and score; see @market for {spec.record}')
    return "all"
