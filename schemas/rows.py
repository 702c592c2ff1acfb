"""Feature rows: one message per partition and row border, one row per instrument."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.batches import ipc_batch
from schemas.errors import DecodeError

AGED = ("trade", "quote", "depth", "derivative", "liquidation", "option", "bar", "flow", "score")
"""Record types with an age column, in this order: `age_trade`, ..."""

QUALITY = ("warming", "stale", "book-gap")
"""Meaning of the bits of the quality column, lowest first."""

_FIXED = ("instrument_id", "quality", "mask")
_NAME = pa.field("instrument_id", pa.string(), nullable=False)
_BITS = pa.field("quality", pa.uint32(), nullable=False)
_FLOAT = pa.float64()
_SOME_TIME = "8888888888888888888"
"""Stands for the time in the bytes of a schema; no other text in it can be that."""
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end of an Arrow IPC stream."""


class RowHeader(msgspec.Struct, frozen=True):
    """What a row message says about all its rows."""

    row_time_ns: int
    partition: int
    rules_id: str
    feature_set_id: str

    @property
    def row_id(self) -> str:
        """Return the id by which repeats of the message are known."""
        return f"{self.partition}@{self.row_time_ns}/{self.rules_id}/{self.feature_set_id}"


class Rows(msgspec.Struct, frozen=True):
    """The rows of one message: N instruments, F features.

    `values` (N, F) holds NaN where the value is not known; `ages` (N, len(AGED)) seconds since the
    last event of each record type, NaN for never; `quality` (N,) bits of `QUALITY`.
    """

    header: RowHeader
    instruments: tuple[str, ...]
    features: tuple[str, ...]
    values: npt.NDArray[np.float64]
    ages: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint32]


def quality_names(bits: int) -> list[str]:
    """Return the names of the quality bits that are set.

    >>> quality_names(5)
    ['warming', 'book-gap']
    """
    return [name for bit, name in enumerate(QUALITY) if bits >> bit & 1]


@lru_cache(maxsize=64)
def row_fields(features: tuple[str, ...]) -> tuple[pa.Field, ...]:
    """Return the Arrow columns of rows with these features.

    A feature's column is null where the value is not known; `mask` says the same for readers that
    want one dense column: 1 known, 0 not, in the order of the feature columns.
    """
    return (
        _NAME,
        _BITS,
        *(pa.field(f"age_{record}", pa.float64()) for record in AGED),
        *(pa.field(name, pa.float64()) for name in features),
        pa.field("mask", pa.list_(pa.uint8(), len(features)), nullable=False),
    )


def row_headers(header: RowHeader) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of a row message."""
    return [
        ("record", b"row"),
        ("row_time_ns", str(header.row_time_ns).encode()),
        ("row_id", header.row_id.encode()),
    ]


def encode_rows(rows: Rows) -> bytes:
    """Return the rows as Arrow IPC bytes; equal rows give equal bytes."""
    return encode_row_messages([rows])[0]


def encode_row_messages(messages: Sequence[Rows]) -> list[bytes]:
    """Return the bytes of each message; all have the same features.

    Columns are made once for all messages and cut: a column costs more than its values.
    """
    features = messages[0].features
    numbers = _numbers([rows.ages for rows in messages], [rows.values for rows in messages])
    encoded, start = [], 1
    for rows in messages:
        stop = start + len(rows.instruments)
        columns = numbers.slice(start, stop - start)
        mask = pa.array((~np.isnan(rows.values)).astype(np.uint8).ravel())
        columns = columns.add_column(0, _NAME, pa.array(rows.instruments, pa.string()))
        columns = columns.add_column(1, _BITS, pa.array(rows.quality, pa.uint32()))
        columns = columns.append_column("mask", pa.FixedSizeListArray.from_arrays(mask, len(features)))
        encoded.append(_schema_bytes(features, rows.header) + columns.serialize().to_pybytes() + _END)
        start = stop
    return encoded


def _numbers(ages: Sequence[npt.NDArray[np.float64]], values: Sequence[npt.NDArray[np.float64]]) -> pa.RecordBatch:
    """Return ages and features of many messages as columns, null where NaN, behind one row that is no message's.

    With that row every cut begins inside, and Arrow copies the validity bits: at the beginning it
    would keep those of the next message in the last byte.
    """
    both = np.concatenate([np.concatenate(ages), np.concatenate(values)], axis=1)
    columns = np.empty((both.shape[1], len(both) + 1))
    columns[:, 0] = np.nan
    columns[:, 1:] = both.T
    known = np.packbits(~np.isnan(columns), axis=1, bitorder="little")
    arrays = [
        pa.Array.from_buffers(_FLOAT, len(column), [pa.py_buffer(bits), pa.py_buffer(column)])
        for column, bits in zip(columns, known, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(map(str, range(len(arrays)))))


def _schema_bytes(features: tuple[str, ...], header: RowHeader) -> bytes:
    """Return the bytes of a message's schema, which differ in the time alone."""
    time = str(header.row_time_ns)
    if len(time) != len(_SOME_TIME):
        return _schema_of(features, header, time)
    template = _template(features, header.partition, header.rules_id, header.feature_set_id)
    return template.replace(_SOME_TIME.encode(), time.encode())


@lru_cache(maxsize=64)
def _template(features: tuple[str, ...], partition: int, rules_id: str, feature_set_id: str) -> bytes:
    return _schema_of(features, RowHeader(0, partition, rules_id, feature_set_id), _SOME_TIME)


def _schema_of(features: tuple[str, ...], header: RowHeader, time: str) -> bytes:
    metadata = {
        "record": "row",
        "row_time_ns": time,
        "partition": str(header.partition),
        "rules_id": header.rules_id,
        "feature_set_id": header.feature_set_id,
    }
    return bytes(pa.schema(row_fields(features), metadata=metadata).serialize())


def decode_rows(value: bytes) -> Rows:
    """Return the rows of a message; raises DecodeError."""
    batch = ipc_batch(value)
    header = _header(batch.schema.metadata or {})
    ages = tuple(f"age_{record}" for record in AGED)
    names = _names(batch)
    features = tuple(name for name in names if name not in _FIXED and name not in ages)
    fields = row_fields(features)
    if names != [field.name for field in fields]:
        problem = f"expected the columns of a feature row, got {names[:4]} ..."
        raise DecodeError(problem, path="schema")
    for column, field in zip(batch.columns, fields, strict=True):
        # A column of another type may be of any length in no bytes at all.
        if column.type != field.type:
            raise DecodeError(f"expected {field.type}, got {column.type}", path=f"$.{field.name}")
        if column.null_count and not field.nullable:
            raise DecodeError("expected a value in every row, got null", path=f"$.{field.name}")
    return Rows(
        header,
        tuple(batch.column("instrument_id").to_pylist()),
        features,
        _matrix(batch, features),
        _matrix(batch, ages),
        batch.column("quality").to_numpy(),
    )


def _names(batch: pa.RecordBatch) -> list[str]:
    try:
        return list(batch.schema.names)
    except UnicodeDecodeError:
        raise DecodeError("expected names of columns in UTF-8", path="schema") from None


def _matrix(batch: pa.RecordBatch, names: Sequence[str]) -> npt.NDArray[np.float64]:
    columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
    if not columns:
        return np.empty((batch.num_rows, 0))
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.float64, copy=False))


def _header(metadata: Mapping[bytes, bytes]) -> RowHeader:
    try:
        return RowHeader(
            int(metadata[b"row_time_ns"]),
            int(metadata[b"partition"]),
            metadata[b"rules_id"].decode("ascii"),
            metadata[b"feature_set_id"].decode("ascii"),
        )
    except (KeyError, ValueError) as error:
        raise DecodeError(f"expected a feature row, got {error!r}", path="schema") from None
