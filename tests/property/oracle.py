"""The offline definition by brute force: raw log -> lateness -> tiles -> rows, nothing incremental.

Written from the rules alone and sharing no code with the engine but the features' own functions.
"""

import math
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from world import RawLog

from featurestore.catalogue import Catalogue
from featurestore.specs import FeatureSpec, TileSpec, level_of
from schemas import Event, Rules, base_asset, partition_of
from schemas.rows import AGED
from schemas.rules import HOUR_NS, MINUTE_NS, SECOND_NS


class Accepted(NamedTuple):
    """An event in its tile, in the order of ties (DESIGN 4.6)."""

    tile_time: int
    sequence: int
    venue: str
    id: str
    raw_partition: int
    raw_offset: int
    raw_index: int
    event: Event


class Judged(NamedTuple):
    """What ingest has to decide about a raw log."""

    accepted: list[Accepted]
    late: list[tuple[str, int, int, int, str]]
    first_w: dict[tuple[str, int], int]
    last_w: dict[tuple[str, int], int]


def judge(log: RawLog, rules: Rules) -> Judged:
    """Decide lateness of every event, in raw offset order per raw partition."""
    judged = Judged([], [], {}, {})
    for (topic, partition), records in log.items():
        received, watermark = -math.inf, -math.inf
        clocks: dict[str, int] = {}
        heard: dict[str, int] = {}
        for offset, record in enumerate(records):
            before = watermark
            received = max(received, record.receive_time_ns)
            for index, event in enumerate(record.events):
                place = (topic, partition, offset, index)
                if event.event_time_ns > received + rules.future_ns:
                    judged.late.append((*place, "future"))
                    continue
                timeless = event.known_time or event.event_time_ns == 0
                tile_time = received if timeless else event.event_time_ns
                if not timeless:
                    clocks[event.venue] = max(clocks.get(event.venue, 0), min(event.event_time_ns, received))
                    heard[event.venue] = received
                if tile_time < before:
                    judged.late.append((*place, "late"))
                    continue
                judged.accepted.append(
                    Accepted(int(tile_time), event.sequence, event.venue, event.id, partition, offset, index, event)
                )
            positions = [
                received
                if received - heard[venue] > rules.idle_timeout_ns
                else max(clock, received - rules.max_venue_lag_ns)
                for venue, clock in clocks.items()
            ]
            watermark = max(watermark, min(positions, default=received) - rules.allowed_lateness_ns)
            judged.first_w.setdefault((topic, partition), int(watermark))
        judged.last_w[topic, partition] = int(watermark)
    return judged


class Oracle:
    """Rows and tiles of one raw log."""

    def __init__(self, log: RawLog, rules: Rules, catalogue: Catalogue) -> None:
        self.rules, self.catalogue = rules, catalogue
        self.judged = judge(log, rules)
        tile = rules.tile_interval_ns
        self.first_row = max(self.judged.first_w.values()) // rules.row_interval_ns * rules.row_interval_ns
        self.first_row += rules.row_interval_ns
        self.last_border = min(self.judged.last_w.values()) // tile * tile
        self.events: dict[tuple[str, str], list[Accepted]] = defaultdict(list)
        for accepted in self.judged.accepted:
            if accepted.tile_time < self.last_border:
                self.events[accepted.event.instrument_id, accepted.event.record].append(accepted)
        self.instruments = sorted(
            {name for name, record in self.events if not _of_asset(record)},
        )
        self._tiles: dict[Any, float] = {}
        self._specs = {spec.name: spec for spec in (*catalogue.tiles, *catalogue.derived)}

    def partition(self, instrument: str) -> int:
        return partition_of(base_asset(instrument), self.rules.partitions)

    def rows(self) -> dict[tuple[int, int], dict[str, dict[str, float]]]:
        """Return {(partition, row time): {instrument: {feature or age: value}}}; NaN is not known."""
        rows: dict[tuple[int, int], dict[str, dict[str, float]]] = {}
        for border in self._row_borders():
            for instrument in self.instruments:
                if self._listed(instrument, border):
                    row = {spec.name: self._feature(spec, instrument, border) for spec in self.catalogue.features}
                    row |= {f"age_{record}": self._age(instrument, record, border) for record in AGED}
                    row |= {"stale": self._stale(row, border), "book-gap": self._book_gap(instrument, border)}
                    rows.setdefault((self.partition(instrument), border), {})[instrument] = row
        return rows

    def _row_borders(self) -> list[int]:
        step, listing = self.rules.row_interval_ns, self.rules.listing_ns
        borders = set()
        for (_, record), events in self.events.items():
            if not _of_asset(record):
                for event in events:
                    first = event.tile_time // step * step + step
                    borders |= set(range(first, event.tile_time + listing + 1, step))
        return sorted(b for b in borders if self.first_row <= b <= self.last_border)

    def _own_times(self, instrument: str) -> list[int]:
        return [e.tile_time for (name, _), events in self.events.items() if name == instrument for e in events]

    def _listed(self, instrument: str, border: int) -> bool:
        return any(border - self.rules.listing_ns <= time < border for time in self._own_times(instrument))

    def _times(self, instrument: str, record: str, scope: str = "own") -> list[int]:
        return [e.tile_time for e in self.events.get((_entity(instrument, record, scope), record), [])]

    def _age(self, instrument: str, record: str, border: int) -> float:
        seen = [time for time in self._times(instrument, record) if time < border]
        if not seen or border - max(seen) > self.rules.never_ns:
            return math.nan
        return (border - max(seen)) / SECOND_NS

    def _stale(self, row: dict[str, float], border: int) -> float:
        """Whether no trade, quote, book or bar came for the idle timeout and one row interval more."""
        ages = [row[f"age_{record}"] for record in ("trade", "quote", "depth", "bar")]
        youngest = min((age for age in ages if not math.isnan(age)), default=math.inf)
        return float(youngest > (self.rules.idle_timeout_ns + self.rules.row_interval_ns) / SECOND_NS)

    def _book_gap(self, instrument: str, border: int) -> float:
        """Whether the last book before the border says that it is not known."""
        tile = self.rules.tile_interval_ns
        events = [e for e in self.events.get((instrument, "depth"), []) if e.tile_time < border]
        if not events or border - max(events)[0] > self.rules.never_ns:
            return 0.0
        books = self._kept(events, max(events)[0] // tile * tile)
        return float(_unknown(books[-1]))

    def _tile(self, name: str, instrument: str, start: int) -> float:
        """Value of a base tile, a derived tile or a market series at the tile that starts at `start`."""
        key = (name, instrument, start)
        if key not in self._tiles:
            spec = self._specs[name]
            if isinstance(spec, TileSpec):
                self._tiles[key] = self._event_tile(spec, instrument, start)
            elif spec.market:
                self._tiles[key] = self._market(spec.name, start)
            elif spec.of_asset:
                self._tiles[key] = self._peers(spec, instrument, start)
            else:
                self._tiles[key] = self._derived(spec, instrument, start)
        return self._tiles[key]

    def _event_tile(self, spec: TileSpec, instrument: str, start: int) -> float:
        entity = _entity(instrument, spec.record, spec.scope)
        events = self.events.get((entity, spec.record), [])
        tile = self.rules.tile_interval_ns
        first = min((e.tile_time for e in events), default=None)
        if first is None or start + tile <= first // tile * tile:
            return math.nan
        value = self._of_events(spec, events, start)
        if spec.carry_ns and math.isnan(value):
            for back in range(1, spec.carry_ns // tile + 1):
                after = [_unknown(book) for book in self._kept(events, start - (back - 1) * tile)]
                before = [_unknown(book) for book in self._kept(events, start - back * tile)]
                if any(after) or before[-1:] == [True]:
                    return value  # nothing is carried over a book that was not known
                earlier = self._of_events(spec, events, start - back * tile)
                if not math.isnan(earlier):
                    return earlier
        return value

    def _of_events(self, spec: TileSpec, events: list[Accepted], start: int) -> float:
        kept = self._kept(events, start)
        columns = {name: _column(spec, kept, name) for name in spec.inputs}
        return float(spec.evaluate(columns, np.array([0, len(kept)], dtype=np.int64))[0])

    def _kept(self, events: list[Accepted], start: int) -> list[Event]:
        """The events of a tile in order, of repeats the first."""
        inside = sorted(
            (e for e in events if start <= e.tile_time < start + self.rules.tile_interval_ns), key=lambda e: e[:7]
        )
        seen: set[tuple[str, int, str]] = set()
        kept = []
        for accepted in inside:
            identity = (accepted.venue, accepted.sequence, accepted.id)
            named = accepted.sequence >= 0 or accepted.id
            if not named or identity not in seen:
                kept.append(accepted.event)
            seen.add(identity)
        return kept

    def _derived(self, spec: Any, instrument: str, start: int) -> float:
        arrays = self._windows(spec.inputs, instrument, start + self.rules.tile_interval_ns, spec.window_tiles)
        with np.errstate(all="ignore"):
            return float(spec.function(*arrays))

    def _windows(self, inputs: tuple[str, ...], instrument: str, end: int, count: int) -> list[Any]:
        tile = self.rules.tile_interval_ns
        starts = [end - (count - i) * tile for i in range(count)]
        return [
            np.array([(s + tile) / SECOND_NS for s in starts])
            if name == "border_s"
            else np.array([self._tile(name, instrument, s) for s in starts])
            for name in inputs
        ]

    def _market(self, name: str, start: int) -> float:
        spec = self._specs[name]
        border = start + self.rules.tile_interval_ns
        if border < self.first_row:
            return math.nan
        total, count = 0.0, 0
        for partition in range(self.rules.partitions):
            listed = [i for i in self.instruments if self.partition(i) == partition and self._listed(i, border)]
            values = [self._derived(spec, i, start) for i in listed]
            finite = np.array([value for value in values if math.isfinite(value)])
            if len(finite):
                total, count = total + float(finite.sum()), count + len(finite)
        return total / count if count else math.nan

    def _peers(self, spec: Any, instrument: str, start: int) -> float:
        """The mean or sum over the listed instruments of an asset, added one by one."""
        border, asset = start + self.rules.tile_interval_ns, base_asset(instrument)
        peers = [name for name in self.instruments if base_asset(name) == asset and self._listed(name, border)]
        values = [value for name in peers if math.isfinite(value := self._derived(spec, name, start))]
        if not values:
            return math.nan
        return sum(values, 0.0) / (len(values) if spec.of_asset == "mean" else 1)

    def _merged(self, name: str, instrument: str, start: int, level: int) -> float:
        """A minute or hour tile: one call over all its children in time order."""
        spec = self._specs[name]
        child_ns = MINUTE_NS if level == HOUR_NS else self.rules.tile_interval_ns
        starts = range(start, start + level, child_ns)
        if child_ns == self.rules.tile_interval_ns:
            children = np.array([self._tile(name, instrument, s) for s in starts])
        else:
            children = np.array([self._merged(name, instrument, s, child_ns) for s in starts])
        known = children[~np.isnan(children)]
        if spec.combine == "sum":
            return float(children.sum())
        if not len(known):
            return math.nan
        return float({"min": known.min(), "max": known.max(), "first": known[0], "last": known[-1]}[str(spec.combine)])

    def _feature(self, spec: FeatureSpec, instrument: str, border: int) -> float:
        level, count = level_of(spec.window_ns, self.rules)
        end = border // level * level
        names = set(spec.inputs)
        if any(getattr(self._specs.get(name), "market", False) for name in names):
            end = min(end, (border - self.rules.row_interval_ns) // level * level)
        window = range(end - count * level, end)
        for record, scope in self._streams(spec):
            if not any(time in window for time in self._times(instrument, record, scope)):
                return math.nan
        if level == self.rules.tile_interval_ns:
            arrays = self._windows(spec.inputs, instrument, end, count)
        else:
            starts = [end - (count - i) * level for i in range(count)]
            arrays = [np.array([self._merged(name, instrument, s, level) for s in starts]) for name in spec.inputs]
        with np.errstate(all="ignore"):
            value = float(spec.function(*arrays))
        return value if math.isfinite(value) else math.nan

    def _streams(self, spec: FeatureSpec) -> list[tuple[str, str]]:
        """The (record type, scope) pairs behind a feature, market series left out."""
        found, todo = set(), list(spec.inputs)
        while todo:
            source = self._specs.get(todo.pop())
            if isinstance(source, TileSpec):
                found.add((source.record, source.scope))
            elif source is not None and not source.market and not source.of_asset:
                todo += source.inputs
        return sorted(found)


def _entity(instrument: str, record: str, scope: str) -> str:
    if not _of_asset(record):
        return instrument
    return "*" if scope == "market" else base_asset(instrument)


def _of_asset(record: str) -> bool:
    return record in ("flow", "score")


def _unknown(event: Event) -> bool:
    return event.record == "depth" and not any(
        (*event.bid_prices, *event.bid_sizes, *event.ask_prices, *event.ask_sizes)
    )


def _column(spec: TileSpec, events: list[Event], name: str) -> Any:
    """A tile's input: a field of the record, a level of a list, or a function of each event's lists."""
    if spec.record != "depth":
        return np.array([getattr(e, name) for e in events], dtype=_dtype(events, name))
    made = {each.name: each for each in spec.fields}.get(name)
    if made is not None:
        return np.array([float(made.plain(*(_levels(e, each)[None] for each in made.inputs))[0]) for e in events])
    field, _, level = name.rpartition("_")
    return np.array([_levels(e, f"{field}s")[int(level) - 1] for e in events])


def _levels(event: Event, name: str) -> Any:
    values = getattr(event, name)[:10]
    return np.array([*values, *[math.nan] * (10 - len(values))])


def _dtype(events: list[Event], name: str) -> Any:
    text = any(isinstance(getattr(e, name), str) for e in events)
    return np.str_ if text else np.float64
