"""Tiles as a table, and rows from such a table without the events: the same bits.

A tile that is stored stands for its events. To the engine it is one event of its record type, at the
time of the last of them, with a field for each quantity; a tile function then only picks its field
(`stored_catalogue`). So what closes tiles, carries values, lists instruments and makes rows is the
same code for both.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from featurestore.announced import announcement_of
from featurestore.catalogue import Catalogue
from featurestore.engine import PartitionEngine
from featurestore.layout import HOMES, Home
from featurestore.levels import list_fields
from featurestore.spaces import RECORDS
from featurestore.specs import BORDER_S, Array, FeatureSpec, TileSpec
from featurestore.tiler import Tiler
from schemas import EVENTS, Depth, Rules, StateError, base_asset, partition_of
from schemas.batches import PROGRESS, Progress, event_schema, message_headers
from schemas.forecasts import Announcement
from schemas.instruments import ANY_ASSET
from schemas.topics import EVENT_TOPICS, FED_BY, MARKET_STATE

BOOK_GAP = "book_gap"
"""The column that says whether a book was unknown: 1 within the tile, 3 at its end too, 0 never."""

_FIELD = "tile."
"""Before a quantity's name it is the field of the event that stands for the tile."""
_FIXED = ("instrument_id", "tile_start_ns", *(f"last_{record}_ns" for record in EVENTS), BOOK_GAP)


class TileSpan(msgspec.Struct, frozen=True):
    """Tiles of one partition that closed together: those up to `border_ns` that no span before had.

    `first_row_ns` is the border of the partition's first row, which follows from the log.
    """

    table: pa.Table | None
    border_ns: int
    first_row_ns: int


def tile_columns(catalogue: Catalogue) -> dict[str, TileSpec]:
    """Return the tiles of a catalogue by name, sorted."""
    return {spec.name: spec for spec in sorted(catalogue.tiles, key=lambda spec: spec.name)}


def last_column(record: str) -> str:
    """Return the column of the time of a tile's last event of a record type."""
    return f"last_{record}_ns"


def tile_schema(names: Iterable[str]) -> pa.Schema:
    """Return the columns of a table of tiles with these quantities."""
    fields = [pa.field("instrument_id", pa.string(), nullable=False), pa.field("tile_start_ns", pa.int64())]
    fields += [pa.field(last_column(record), pa.int64()) for record in EVENTS]
    return pa.schema([*fields, *(pa.field(name, pa.float64()) for name in (BOOK_GAP, *names))])


def closed_tiles(tiler: Tiler, start: int, stop: int, rules: Rules, homes: Sequence[Home] = HOMES) -> pa.Table:
    """Return the closed base tiles [start, stop) that had events, each once, in the order of instruments and time.

    An asset's tiles stand under its name. A quantity is null where its record type had no event in
    the tile, or where it is not known; nothing is carried. `last_<record>_ns` is the time of the
    tile's last event, null where there was none.
    """
    schema = tile_schema(sorted(name for name in tiler.layout.series if name != BOOK_GAP))
    tables = [_tiles_of(tiler, home, start, stop, rules.tile_interval_ns, schema) for home in homes]
    return pa.concat_tables(tables).sort_by([("instrument_id", "ascending"), ("tile_start_ns", "ascending")])


def _tiles_of(tiler: Tiler, home: Home, start: int, stop: int, tile_ns: int, schema: pa.Schema) -> pa.Table:
    space = tiler.spaces[home]
    starts_ns = np.arange(start, stop) * tile_ns
    entities, tiles = np.nonzero(space.last_times(start, stop) >= starts_ns)
    chosen = entities, tiles
    names = pa.array(np.array(space.names, dtype=object)[entities], pa.string())
    columns: dict[str, pa.Array] = {"instrument_id": names, "tile_start_ns": pa.array(starts_ns[tiles])}
    silent: dict[str, NDArray[np.bool_]] = {}
    for record in RECORDS[home]:
        times = space.lasts[record].levels[0].view(start, stop)[chosen]
        silent[record] = times < starts_ns[tiles]
        columns[last_column(record)] = pa.array(times, mask=silent[record])
    for name, plan in tiler.layout.series.items():
        if plan.home == home and isinstance(plan.spec, TileSpec):
            values = space.series[name].levels[0].view(start, stop)[chosen]
            columns[name] = pa.array(values, mask=np.isnan(values) | silent[plan.spec.record])
    nothing = {field.name: pa.nulls(len(entities), field.type) for field in schema if field.name not in columns}
    return pa.table([{**nothing, **columns}[field.name] for field in schema], schema=schema)


def in_partition(table: pa.Table, partition: int, partitions: int) -> pa.Table:
    """Return the tiles of a table that a partition has: those of its assets, and those of all assets."""
    names = table.column("instrument_id").unique().to_pylist()
    ours = [name for name in names if name == ANY_ASSET or partition_of(base_asset(name), partitions) == partition]
    return table.filter(pc.is_in(table.column("instrument_id"), pa.array(ours, pa.string())))


def before(table: pa.Table, border_ns: int) -> pa.Table:
    """Return the tiles that start before a border."""
    return table.filter(pc.less(table.column("tile_start_ns"), border_ns))


def from_border(table: pa.Table, border_ns: int) -> pa.Table:
    """Return the tiles that start at a border or later."""
    return table.filter(pc.greater_equal(table.column("tile_start_ns"), border_ns))


def event_catalogue(catalogue: Catalogue) -> Catalogue:
    """Return a catalogue that makes every tile, and nothing of it: no carried values, no derived tiles."""
    tiles = (*(replace(spec, carry_ns=0) for spec in catalogue.tiles), _BOOK_GAPS)
    features = tuple(_unknown(spec.name, (spec.name,)) for spec in sorted(tiles, key=lambda spec: spec.name))
    return Catalogue(tiles=tiles, derived=(), features=features, fields=catalogue.fields)


def event_rules(rules: Rules) -> Rules:
    """Return rules under which tiles are the same and no row lists anything."""
    return msgspec.structs.replace(rules, listing_ns=0)


def stored_catalogue(catalogue: Catalogue) -> Catalogue:
    """Return a catalogue whose tiles are read from stored ones; all else is as it was."""
    return replace(catalogue, tiles=tuple(map(_stored, catalogue.tiles)), fields=())


def part_sets(catalogue: Catalogue, announcements: Sequence[Announcement]) -> tuple[Catalogue, list[Announcement]]:
    """Return a catalogue and announcements that have the same series and one feature for each set.

    Parts of the market are made from tiles, never from rows: this makes the parts alone.
    """
    sets = list(announcements) or [announcement_of(catalogue)]
    features, renamed = [], []
    for place, announcement in enumerate(sets):
        specs = [catalogue.known.get(pair) for pair in announcement.features.items()]
        inputs = sorted({name for spec in specs if spec is not None for name in spec.inputs} - {BORDER_S})
        features.append(_unknown(f"set_{place}", tuple(inputs)))
        renamed.append(msgspec.structs.replace(announcement, features={f"set_{place}": features[-1].version}))
    return replace(stored_catalogue(catalogue), features=tuple(features), former=()), renamed


def reads_market(catalogue: Catalogue) -> bool:
    """Return whether any feature, of now or before, reads a market series."""
    markets = {spec.name for spec in catalogue.derived if spec.market}
    return any(markets & set(spec.inputs) for spec in catalogue.known.values())


def _stored(spec: TileSpec) -> TileSpec:
    return replace(spec, inputs=(_FIELD + spec.name,), function=_first, on_segments=True, fields=())


def _first(values: Any) -> Any:
    return values[0]


def _unknown(name: str, inputs: tuple[str, ...]) -> FeatureSpec:
    return FeatureSpec(name=name, quantity=name, window_ns=0, inputs=inputs, function=_nan, plain=_nan, version="1")


def _book_gap(bid_price: Any, ask_price: Any, bid_size: Any, ask_size: Any) -> Any:
    # A depth event without levels: all that its lists hold is not a number.
    gap = (bid_price != bid_price) * (ask_price != ask_price) * (bid_size != bid_size) * (ask_size != ask_size) * 1.0  # noqa: PLR0124
    return 2.0 * gap[-1] + 1.0 * gap.max()


_BOOK_GAPS = TileSpec(
    name=BOOK_GAP,
    record=Depth.record,
    inputs=("bid_price_1", "ask_price_1", "bid_size_1", "ask_size_1"),
    function=_book_gap,
    version="1",
    on_segments=True,
)


def _nan(*windows: Array) -> Array:
    return np.full(windows[0].shape[:-1], np.nan)


class HoldingEngine(PartitionEngine):
    """An engine that can be given events which are on no topic."""

    def hold(self, record: str, events: pa.RecordBatch) -> None:
        """Hold those of the events, columns as in a message, whose tiles are still open."""
        times = events.column("tile_time_ns").to_numpy()
        still_open = times >= (self.closed_ns or 0)
        if still_open.any():
            self._pending.add(record, events.filter(pa.array(still_open)))


class StoredTilesEngine(HoldingEngine):
    """An engine of a `stored_catalogue` that is given tiles and market parts instead of topics."""

    def take(self, tiles: pa.Table) -> None:
        """Hold tiles of this partition that are still open to the engine."""
        for record in EVENTS:
            some = tiles.filter(pc.is_valid(tiles.column(last_column(record))))
            if len(some):
                self.hold(record, _events(record, some))

    def begin(self, first_row_ns: int, border_ns: int) -> None:
        """Say which row is the first: it follows from the greatest first progress of all raw partitions."""
        greatest_ns = first_row_ns - self._rules.row_interval_ns
        for place, (topic, raw) in enumerate(self._places()):
            self._hear(topic, raw, min(greatest_ns, border_ns) if place else greatest_ns)

    def reach(self, border_ns: int) -> None:
        """Let all tiles before a border close: all raw partitions are heard up to there."""
        for topic, raw in self._places():
            self._hear(topic, raw, border_ns)

    def _places(self) -> Iterator[tuple[str, int]]:
        for topic in EVENT_TOPICS:
            for raw in range(self._rules.raw_partitions.get(FED_BY[topic], 0)):
                yield topic, raw

    def _hear(self, topic: str, raw: int, border_ns: int) -> None:
        offset = self._next(topic)
        self.apply(topic, offset, dict(message_headers(PROGRESS, raw, Progress(raw, offset, border_ns))), b"")

    def tell(self, part: bytes) -> None:
        """Take in one market part, those of a partition in order."""
        self.apply(MARKET_STATE, self._next(MARKET_STATE), {"rules_id": self._rules.rules_id.encode()}, part)

    def _next(self, topic: str) -> int:
        """Return the next offset of a topic that there is none of."""
        offset = self._offsets.get(topic, self.resume.get(topic, 0))
        self._offsets[topic] = offset + 1
        return offset

    @cached_property
    def _offsets(self) -> dict[str, int]:
        return {}


def _events(record: str, tiles: pa.Table) -> pa.RecordBatch:
    """Return one event for each tile, with the tile's quantities as fields."""
    count = len(tiles)
    schema = event_schema(record)
    fixed: dict[str, Any] = {
        "instrument_id": tiles.column("instrument_id").combine_chunks(),
        "venue": [""] * count,
        "id": [""] * count,
        "sequence": np.full(count, -1),
        "tile_time_ns": tiles.column(last_column(record)).combine_chunks(),
    }
    for name in ("raw_partition", "raw_offset", "raw_index"):
        fixed[name] = np.zeros(count, np.int64)
    columns = {name: _typed(values, schema.field(name).type) for name, values in fixed.items()}
    for name in tiles.column_names:
        if name not in _FIXED:
            columns[_FIELD + name] = pa.array(_numbers(tiles, name))
    batch = pa.record_batch(columns)
    return _with_books(batch, _numbers(tiles, BOOK_GAP)) if record == Depth.record else batch


def _with_books(events: pa.RecordBatch, gaps: Array) -> pa.RecordBatch:
    """Return depth events with and without levels, so that books are known where those of the tiles were.

    Where a book was known again at the end of its tile, an event without levels comes before.
    """
    again = np.flatnonzero(gaps == 1)
    both = pa.concat_batches([events.take(pa.array(again)), events])
    empty = np.concatenate([np.ones(len(again), np.bool_), gaps > 1])
    index = pa.array(np.concatenate([np.zeros(len(again)), np.ones(len(gaps))]).astype(np.int32))
    columns = dict(zip(both.schema.names, both.columns, strict=True)) | {"raw_index": index}
    levels = pa.array([[] if without else [1.0] for without in empty], pa.list_(pa.float64()))
    return pa.record_batch({**columns, **dict.fromkeys(list_fields(Depth), levels)})


def _numbers(tiles: pa.Table, name: str) -> Array:
    """Return a column of quantities, NaN where it is null."""
    values = tiles.column(name).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def _typed(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode().cast(kind)
    return pa.array(values, kind) if not isinstance(values, pa.Array) else values.cast(kind)


def require_same_tiles(told: dict[str, str], catalogue: Catalogue) -> None:
    """Raise StateError where stored tiles (name to version) are not those that the code would make."""
    for name, spec in tile_columns(catalogue).items():
        if told.get(name) != spec.version:
            problem = "not among them" if name not in told else f"{told[name]} there and {spec.version} in the code"
            raise StateError(f"stored tiles: {name} is {problem}; make them anew with `foreshock backfill --tiles`")
