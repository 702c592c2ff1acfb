"""Parquet files of a backfill: rows, and tiles with all that rows need when they are made from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.catalogue import Catalogue
from featurestore.stored_tiles import TileSpan, require_same_tiles, tile_columns, tile_schema
from schemas import Rules, StateError
from schemas.forecasts import Announcement
from streams.backfill.tasks import TileSpans

_GROUP_ROWS = 50_000
_ABOUT = b"foreshock.tiles"


class Parquet:
    """A Parquet file written in groups of rows; its schema is that of the first table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Append a table."""
        self._tables.append(table)
        self._rows += len(table)
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)
        self._tables, self._rows = [], 0


class StoredSpan(msgspec.Struct, array_like=True):
    """One row group of a file of tiles, or none where a span had no tiles: a `TileSpan` of a partition."""

    partition: int
    border_ns: int
    first_row_ns: int
    group: int | None


class AboutTiles(msgspec.Struct, kw_only=True):
    """What a file of tiles says about them: rules, versions of the tiles, announcements, spans in their order.

    With the times of each tile's last events, which are columns, it is all that rows follow from:
    up to which border each partition's tiles are complete, and which row is its first.
    """

    rules: Rules
    versions: dict[str, str]
    announcements: list[Announcement] = []
    spans: list[StoredSpan] = []


class TileFile:
    """A file of the tiles of all partitions; those of all assets ("*") are in each of them."""

    def __init__(self, path: Path, rules: Rules, catalogue: Catalogue, announcements: Sequence[Announcement]) -> None:
        versions = {name: spec.version for name, spec in tile_columns(catalogue).items()}
        self._about = AboutTiles(rules=rules, versions=versions, announcements=list(announcements))
        schema = tile_schema(versions)
        self._writer = pq.ParquetWriter(path, schema.insert(0, pa.field("partition", pa.int16())))
        self._groups = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.add_key_value_metadata({_ABOUT: msgspec.json.encode(self._about)})
        self._writer.close()

    def write(self, spans: TileSpans) -> int:
        """Append a span of each partition; return the number of tiles."""
        count = 0
        for partition, (span, _) in sorted(spans.items()):
            if span is None:
                continue
            group = None
            if span.table is not None and len(span.table):
                group, self._groups = self._groups, self._groups + 1
                number = pa.array([partition] * len(span.table), pa.int16())
                table = span.table.add_column(0, "partition", number)
                self._writer.write_table(table, row_group_size=len(table))
                count += len(table)
            self._about.spans.append(StoredSpan(partition, span.border_ns, span.first_row_ns, group))
        return count


class StoredTiles:
    """Files of tiles of one log, as one: those of a partition follow each other, or lie in files of their own."""

    def __init__(self, paths: Iterable[Path]) -> None:
        files = sorted({file for path in paths for file in _tile_files(path)})
        self._files = [(path, _about(path)) for path in files]
        if not self._files:
            raise StateError("no file of tiles; `foreshock backfill PATH... --tiles FILE` writes one")
        first = self._files[0][1]
        for path, about in self._files:
            if (about.rules, about.announcements) != (first.rules, first.announcements):
                raise StateError(f"{path}: its tiles were made under other rules or announcements than {files[0]}")
        self.rules = first.rules
        self.announcements = first.announcements

    def require(self, rules: Rules, catalogue: Catalogue) -> None:
        """Raise StateError where rows of these rules and this code cannot be made from them."""
        path, about = self._files[0]
        if about.rules.rules_id != rules.rules_id:
            raise StateError(
                f"{path}: its tiles have the rules {about.rules.rules_id}, the settings say {rules.rules_id}; "
                "use the settings that they were made with"
            )
        for _, each in self._files:
            require_same_tiles(each.versions, catalogue)

    def spans(self) -> Iterator[Mapping[int, TileSpan]]:
        """Yield the next span of each partition that has one more."""
        waiting: dict[int, list[tuple[pq.ParquetFile, StoredSpan]]] = {}
        for path, about in self._files:
            file = pq.ParquetFile(path)
            for span in about.spans:
                waiting.setdefault(span.partition, []).append((file, span))
        for spans in waiting.values():
            spans.sort(key=lambda pair: pair[1].border_ns)
        for place in range(max(map(len, waiting.values()), default=0)):
            yield {p: _read(*spans[place]) for p, spans in sorted(waiting.items()) if place < len(spans)}


def _tile_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.parquet"))
    if not path.is_file():
        raise StateError(f"{path}: no such file or folder of tiles")
    return [path]


def _about(path: Path) -> AboutTiles:
    try:
        metadata: dict[bytes, bytes] = pq.read_metadata(path).metadata or {}
        about = metadata.get(_ABOUT)
        if about is not None:
            return msgspec.json.decode(about, type=AboutTiles)
        reason = "Parquet of something else, such as rows"
    except (OSError, pa.ArrowException, msgspec.MsgspecError) as error:
        reason = f"{(str(error).splitlines() or [''])[0]:.100}"
    raise StateError(
        f"{path}: no file of tiles that a backfill wrote ({reason}); "
        "`foreshock backfill PATH... --tiles FILE` writes one"
    )


def _read(file: pq.ParquetFile, span: StoredSpan) -> TileSpan:
    table: Any = None if span.group is None else file.read_row_group(span.group).drop_columns(["partition"])
    return TileSpan(table, span.border_ns, span.first_row_ns)
