"""The offline definition: canonical messages of all partitions in, all rows and tiles out, no broker.

One engine per partition, in memory, with the market parts of each fed back to all.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from featurestore.catalogue import Catalogue
from featurestore.engine import Output, PartitionEngine, TileWatcher
from featurestore.layout import HOMES, Home
from featurestore.specs import TileSpec
from featurestore.tiler import Tiler
from schemas import Rules
from schemas.forecasts import Announcement
from schemas.rows import AGED, Rows, decode_rows
from schemas.topics import MARKET_STATE

_MESSAGES_BETWEEN = 1024
_EVENTS_BETWEEN = 150_000
"""Messages or events read before tiles are closed. More are fewer and larger blocks, until they leave the cache: of
50 instruments and 2,000 events a second, 60,000 gave 1.2 million events/s, 150,000 gave 1.7 and 300,000 gave 1.4."""


class CanonicalMessage(NamedTuple):
    """One message of a canonical topic."""

    topic: str
    partition: int
    offset: int
    headers: Mapping[str, bytes]
    value: bytes | None


class Backfill:
    """Engines of all partitions, driven together; `on_tiles` as for `backfill`."""

    def __init__(
        self,
        rules: Rules,
        catalogue: Catalogue,
        announcements: Sequence[Announcement] = (),
        *,
        on_tiles: Callable[[pa.Table], None] | None = None,
    ) -> None:
        self.engines = [
            PartitionEngine(partition, rules, catalogue, announcements) for partition in range(rules.partitions)
        ]
        self._market_offsets = [0] * rules.partitions
        if on_tiles is not None:
            for engine in self.engines:
                engine.watch_tiles(_watcher(on_tiles, rules, engine.partition))

    def apply(self, message: CanonicalMessage) -> None:
        """Take in one message; raises DecodeError for bytes that are none."""
        engine = self.engines[message.partition]
        engine.apply(message.topic, message.offset, message.headers, message.value)

    def advance(self) -> Iterator[Output]:
        """Yield the row messages that are complete, those of a partition in order."""
        moved = True
        while moved:
            moved = False
            for engine in self.engines:
                for output in engine.advance():
                    moved = True
                    if output.topic == MARKET_STATE:
                        self._return_part(output)
                    else:
                        yield output

    def rows(self, messages: Iterable[CanonicalMessage]) -> Iterator[Output]:
        """Take in messages and yield the row messages that they complete, those of a partition in order."""
        applied, held = 0, 0
        for message in messages:
            self.apply(message)
            applied += 1
            if applied >= _MESSAGES_BETWEEN or self._held - held >= _EVENTS_BETWEEN:
                yield from self.advance()
                applied, held = 0, self._held
        yield from self.advance()

    @property
    def _held(self) -> int:
        return sum(engine.pending_events for engine in self.engines)

    def _return_part(self, output: Output) -> None:
        offset = self._market_offsets[output.partition]
        self._market_offsets[output.partition] = offset + 1
        self.engines[output.partition].apply(MARKET_STATE, offset, dict(output.headers), output.value)


def backfill(
    messages: Iterable[CanonicalMessage],
    rules: Rules,
    catalogue: Catalogue,
    announcements: Sequence[Announcement] = (),
    *,
    on_tiles: Callable[[pa.Table], None] | None = None,
) -> Iterator[Output]:
    """Yield the row messages of a canonical log, those of a partition in order.

    `messages` keep the order of each topic and partition; how these are interleaved changes
    nothing but the memory needed. `on_tiles` is given a table (`tiles_table`) for each block of
    tiles that closes.
    """
    engines = Backfill(rules, catalogue, announcements, on_tiles=on_tiles)
    yield from engines.rows(messages)


def rows_hash(values: Iterable[bytes]) -> str:
    """Return the SHA-256 of a set of row messages, in any order; of repeats the first counts."""
    first: dict[tuple[int, int, str], bytes] = {}
    for value in values:
        header = decode_rows(value).header
        first.setdefault((header.row_time_ns, header.partition, header.row_id), hashlib.sha256(value).digest())
    digest = hashlib.sha256()
    for key in sorted(first):
        digest.update(first[key])
    return digest.hexdigest()


def rows_table(messages: Sequence[Rows], names: Sequence[str] | None = None) -> pa.Table:
    """Return row messages as a table: instrument_id, row_time_ns, quality, ages, features.

    `names`: its feature columns, null where a message has not that feature; None: those of the
    first message. Tables of the same names have one schema, for `pyarrow.concat_tables` and
    Parquet writers.
    """
    names = messages[0].features if names is None else names
    times = [np.full(len(rows.instruments), rows.header.row_time_ns) for rows in messages]
    columns = {
        "instrument_id": pa.array([name for rows in messages for name in rows.instruments], pa.string()),
        "row_time_ns": pa.array(np.concatenate(times)),
        "quality": pa.array(np.concatenate([rows.quality for rows in messages])),
    }
    ages = np.concatenate([rows.ages for rows in messages])
    values = np.concatenate([_columns_of(rows, names) for rows in messages])
    every = (*(f"age_{record}" for record in AGED), *names)
    for name, column in zip(every, np.hstack([ages, values]).T, strict=True):
        columns[name] = pa.array(np.ascontiguousarray(column), mask=np.isnan(column))
    return pa.table(columns)


def _columns_of(rows: Rows, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the values of the features `names`, (instruments, names)."""
    if tuple(names) == rows.features:
        return rows.values
    places = {name: place for place, name in enumerate(rows.features)}
    values = np.full((len(rows.instruments), len(names)), np.nan)
    for column, name in enumerate(names):
        if name in places:
            values[:, column] = rows.values[:, places[name]]
    return values


def _watcher(on_tiles: Callable[[pa.Table], None], rules: Rules, partition: int) -> TileWatcher:
    # Events of "*" are in every partition; their tiles are told once.
    homes = HOMES if partition == 0 else tuple(home for home in HOMES if home != "all")

    def watch(tiler: Tiler, start: int, stop: int) -> None:
        on_tiles(tiles_table(tiler, start, stop, rules, homes))

    return watch


def tiles_table(tiler: Tiler, start: int, stop: int, rules: Rules, homes: tuple[Home, ...] = HOMES) -> pa.Table:
    """Return closed base tiles [start, stop) with events: instrument_id, tile_start_ns, quantities.

    An asset's tiles stand under its name; a quantity is null where it is not known or not of this
    kind of entity.
    """
    names = sorted(plan.spec.name for plan in tiler.layout.series.values() if isinstance(plan.spec, TileSpec))
    fields = [pa.field("instrument_id", pa.string()), pa.field("tile_start_ns", pa.int64())]
    schema = pa.schema([*fields, *(pa.field(name, pa.float64()) for name in names)])
    starts_ns = np.arange(start, stop) * rules.tile_interval_ns
    tables = []
    for home in homes:
        space = tiler.spaces[home]
        entities, tiles = np.nonzero(space.last_times(start, stop) >= starts_ns)
        columns = [pa.array(np.array(space.names, dtype=object)[entities], pa.string()), pa.array(starts_ns[tiles])]
        for name in names:
            if tiler.layout.series[name].home == home:
                values = space.series[name].levels[0].view(start, stop)[entities, tiles]
                columns.append(pa.array(values, mask=np.isnan(values)))
            else:
                columns.append(pa.nulls(len(entities), pa.float64()))
        tables.append(pa.table(columns, schema=schema))
    return pa.concat_tables(tables).sort_by([("instrument_id", "ascending"), ("tile_start_ns", "ascending")])
