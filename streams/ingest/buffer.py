"""Events on their way to one canonical partition, until they fill a micro-batch."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas import Event
from schemas.batches import NAMES, event_schema, field_names, ipc_bytes


class Texts(NamedTuple):
    """A text column: `codes` are indices into `table`, an array of distinct texts."""

    table: pa.Array
    codes: NDArray[np.intp]


class Piece(NamedTuple):
    """Events by column, in the order of their stamps: `start` to `stop` of the arrays."""

    columns: Mapping[str, NDArray[Any] | Texts]
    start: int
    stop: int

    def array(self, field: pa.Field) -> pa.Array:
        """Return one column, names as texts."""
        values = self.columns[field.name]
        if isinstance(values, Texts):
            return values.table.take(pa.array(values.codes[self.start : self.stop]))
        return pa.array(values[self.start : self.stop], field.type)


class _Listed(NamedTuple):
    """Events one by one, and what is added to each."""

    columns: Mapping[str, list[Any]]

    def array(self, field: pa.Field) -> pa.Array:
        return pa.array(self.columns[field.name], pa.string() if field.name in NAMES else field.type)


class Buffer:
    """Events of one record type, in the order of their stamps: one by one, or many by column."""

    __slots__ = ("_count", "_events", "_pieces", "_raw", "_stamps", "record", "topic")

    def __init__(self, record: str, topic: str, raw_partition: int) -> None:
        self.record = record
        self.topic = topic
        self._raw = raw_partition
        self.clear()

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all events."""
        self._count = 0
        self._pieces: list[Piece | _Listed] = []
        self._begin()

    def _begin(self) -> None:
        self._events: list[Event] = []
        self._stamps: list[tuple[int, int, int, int]] = []

    def append(self, event: Event, received_ns: int, tile_time_ns: int, offset: int, index: int) -> None:
        """Add one event; `offset` and `index` are its stamp."""
        self._events.append(event)
        self._stamps.append((received_ns, tile_time_ns, offset, index))
        self._count += 1

    def extend(self, piece: Piece) -> None:
        """Add many events."""
        if self._events:
            self._pieces.append(self._listed())
            self._begin()
        self._pieces.append(piece)
        self._count += piece.stop - piece.start

    def encode(self) -> bytes:
        """Return all events as one micro-batch: the same bytes whichever way they came."""
        pieces = [*self._pieces, self._listed()] if self._events else self._pieces
        schema = event_schema(self.record)
        return ipc_bytes(pa.record_batch([_column(field, pieces) for field in schema], schema=schema))

    def _listed(self) -> _Listed:
        columns: dict[str, list[Any]] = {
            name: list(map(attrgetter(name), self._events)) for name in field_names(self.record)
        }
        received, tiles, offsets, indexes = map(list, zip(*self._stamps, strict=True))
        columns |= {"receive_time_ns": received, "tile_time_ns": tiles, "raw_offset": offsets, "raw_index": indexes}
        columns["raw_partition"] = [self._raw] * len(self._events)
        return _Listed(columns)


def _column(field: pa.Field, pieces: Sequence[Piece | _Listed]) -> pa.Array:
    arrays = [piece.array(field) for piece in pieces]
    column = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
    return column.dictionary_encode().cast(field.type) if field.name in NAMES else column
