"""Micro-batches of events: Arrow IPC bytes of one record type, and the headers around them.

A canonical message holds events of one raw partition, in the order of their stamps, and then, in
its headers, that partition's progress. A message without events carries progress alone.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow_stream import require_plain
from schemas.errors import DecodeError
from schemas.events import EVENTS, Event

PROGRESS = "progress"
"""The record header of a message that carries progress alone."""

NAMES = ("instrument_id", "venue")
STAMPS = ("receive_time_ns", "tile_time_ns", "raw_partition", "raw_offset", "raw_index")
"""What ingest adds to every event; the last three are its stamp."""

_NAME = pa.dictionary(pa.int16(), pa.string())
_ARROW: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    list[float]: pa.list_(pa.float64()),
}
_READ = pa.ipc.IpcReadOptions(use_threads=False)
"""One message is too small to be read by several threads."""

_NARROW = {"side": pa.int8(), "raw_partition": pa.int16(), "raw_index": pa.int32()}


class Progress(msgspec.Struct, frozen=True):
    """Ingest has written every event of `raw_partition` up to and with `raw_offset`.

    `watermark_ns`: no later event of that partition has a tile time below it.
    """

    raw_partition: int
    raw_offset: int
    watermark_ns: int

    header: ClassVar[str] = "progress"

    def encode(self) -> bytes:
        """Return the header's value.

        >>> Progress(2, 17, 5_000).encode()
        b'2:17:5000'
        """
        return f"{self.raw_partition}:{self.raw_offset}:{self.watermark_ns}".encode()

    @classmethod
    def decode(cls, value: bytes) -> "Progress":
        """Return the progress in a header's value; raises DecodeError."""
        try:
            partition, offset, watermark = map(int, value.split(b":"))
        except ValueError:
            problem = f"expected partition:offset:watermark, got {value[:80]!r}"
            raise DecodeError(problem, path="headers.progress") from None
        return cls(partition, offset, watermark)


@cache
def field_names(record: str) -> tuple[str, ...]:
    """Return the fields of an event record, in the order of its columns."""
    return EVENTS[record].__struct_fields__


@cache
def event_schema(record: str) -> pa.Schema:
    """Return the Arrow schema of a micro-batch of `record`, derived from its class."""
    hints = get_type_hints(EVENTS[record])
    fields = [
        pa.field(name, _NAME if name in NAMES else _NARROW.get(name, _ARROW[hints[name]]), nullable=False)
        for name in field_names(record)
    ]
    fields += [pa.field(name, _NARROW.get(name, pa.int64()), nullable=False) for name in STAMPS]
    return pa.schema(fields, metadata={"record": record})


@cache
def column_places(record: str) -> Mapping[str, int]:
    """Return the place of each column of a micro-batch of `record`."""
    return {name: place for place, name in enumerate(event_schema(record).names)}


def message_headers(record: str, raw_partition: int, progress: Progress | None = None) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of a canonical message."""
    headers = [("record", record.encode()), ("raw", str(raw_partition).encode())]
    if progress is not None:
        headers.append((Progress.header, progress.encode()))
    return headers


def encode_batch(record: str, columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> bytes:
    """Return one micro-batch as Arrow IPC bytes; equal columns give equal bytes.

    `columns` holds one equally long sequence for each field of the record and each of `STAMPS`.
    """
    schema = event_schema(record)
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return ipc_bytes(pa.record_batch(arrays, schema=schema))


def ipc_bytes(batch: pa.RecordBatch) -> bytes:
    """Return one record batch as the bytes of an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def ipc_batch(value: bytes) -> pa.RecordBatch:
    """Return the one record batch of an Arrow IPC stream that is not compressed; raises DecodeError."""
    require_plain(value)
    try:
        batch = pa.ipc.open_stream(pa.py_buffer(value), options=_READ).read_next_batch()
        batch.validate(full=True)
    except (pa.ArrowException, StopIteration, OSError, ValueError) as error:
        problem = f"expected an Arrow IPC stream, got {len(value)} bytes: {error}"
        raise DecodeError(problem.splitlines()[0][:300]) from None
    return batch


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if kind is _NAME:
        return pa.array(values, pa.string()).dictionary_encode().cast(_NAME)
    return pa.array(values, kind)


class EventBatch:
    """Decoded events of one record type, by column.

    Columns are read-only views of the message's bytes where their type allows it.
    """

    __slots__ = ("_batch", "_places", "record")

    def __init__(self, record: str, batch: pa.RecordBatch) -> None:
        self.record = record
        self._batch = batch
        self._places = column_places(record)

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """Return a numeric column of shape (events,)."""
        return self._batch.column(self._places[name]).to_numpy()  # type: ignore[no-any-return]

    def codes(self, name: str) -> tuple[npt.NDArray[np.int16], list[str]]:
        """Return `instrument_id` or `venue` as indices into a list of names."""
        column = self._batch.column(name)
        return column.indices.to_numpy(), column.dictionary.to_pylist()

    def texts(self, name: str) -> npt.NDArray[np.str_]:
        """Return a text column as an array of str."""
        return np.array(self._batch.column(name).to_pylist(), dtype=np.str_)

    def any_text(self, name: str) -> bool:
        """Return whether a text column holds anything but empty text, without decoding it."""
        return bool(pa.compute.any(pa.compute.not_equal(self._batch.column(name), "")).as_py())

    def to_arrow(self) -> pa.RecordBatch:
        """Return the batch itself."""
        return self._batch


def decode_batch(value: bytes) -> EventBatch:
    """Return the events of a micro-batch.

    Raises DecodeError where the bytes are no micro-batch, or of a record or column that this
    release does not know. A column added since the batch was written gets its default.
    """
    batch = ipc_batch(value)
    record = (batch.schema.metadata or {}).get(b"record", b"").decode("ascii", "replace")
    if record not in EVENTS:
        known = ", ".join(EVENTS)
        raise DecodeError(f"expected one of {known}, got {record!r}", path="schema.record")
    schema = event_schema(record)
    if batch.schema.equals(schema):
        return EventBatch(record, _checked(batch))
    columns = [_column(batch, field, EVENTS[record]) for field in schema]
    return EventBatch(record, _checked(pa.record_batch(columns, schema=schema)))


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.drop_null().num_rows == batch.num_rows:
        return batch
    for column, field in zip(batch.columns, batch.schema, strict=True):
        if column.null_count:
            raise DecodeError("expected a value in every row, got null", path=f"$.{field.name}")
    return batch


def _column(batch: pa.RecordBatch, field: pa.Field, event: type[Event]) -> pa.Array:
    position = batch.schema.get_field_index(field.name)
    if position >= 0:
        column = batch.column(position)
        if column.type != field.type:
            problem = f"expected {field.type}, got {column.type}"
            raise DecodeError(problem, path=f"$.{field.name}")
        return column
    defaults = {item.name: item.default for item in msgspec.structs.fields(event)}
    default = defaults.get(field.name, msgspec.NODEFAULT)
    if default is msgspec.NODEFAULT:
        raise DecodeError("expected a column, got none", path=f"$.{field.name}")
    return _array([default] * batch.num_rows, field.type)
