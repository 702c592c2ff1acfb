"""Feature rows: one message per partition and row border, one row per instrument."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.batches import ipc_batch, ipc_bytes
from schemas.errors import DecodeError

AGED = ("trade", "quote", "depth", "derivative", "liquidation", "option", "bar", "flow", "score")
"""Record types with an age column, in this order: `age_trade`, ..."""

QUALITY = ("warming", "stale", "book-gap")
"""Meaning of the bits of the quality column, lowest first."""

_FIXED = ("instrument_id", "quality", "mask")


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
        pa.field("instrument_id", pa.string(), nullable=False),
        pa.field("quality", pa.uint32(), nullable=False),
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
    known = ~np.isnan(rows.values)
    mask = pa.FixedSizeListArray.from_arrays(pa.array(known.astype(np.uint8).ravel()), len(rows.features))
    arrays = [
        pa.array(rows.instruments, pa.string()),
        pa.array(rows.quality, pa.uint32()),
        *_nullable(rows.ages),
        *_nullable(rows.values),
        mask,
    ]
    header = rows.header
    metadata = {
        "record": "row",
        "row_time_ns": str(header.row_time_ns),
        "partition": str(header.partition),
        "rules_id": header.rules_id,
        "feature_set_id": header.feature_set_id,
    }
    schema = pa.schema(row_fields(rows.features), metadata=metadata)
    return ipc_bytes(pa.record_batch(arrays, schema=schema))


def decode_rows(value: bytes) -> Rows:
    """Return the rows of a message; raises DecodeError."""
    batch = ipc_batch(value)
    header = _header(batch.schema.metadata or {})
    ages = tuple(f"age_{record}" for record in AGED)
    features = tuple(name for name in batch.schema.names if name not in _FIXED and name not in ages)
    if batch.schema.names != [field.name for field in row_fields(features)]:
        problem = f"expected the columns of a feature row, got {batch.schema.names[:4]} ..."
        raise DecodeError(problem, path="schema")
    return Rows(
        header,
        tuple(batch.column("instrument_id").to_pylist()),
        features,
        _matrix(batch, features),
        _matrix(batch, ages),
        batch.column("quality").to_numpy(),
    )


def _nullable(values: npt.NDArray[np.float64]) -> list[pa.Array]:
    return [pa.array(column, mask=np.isnan(column)) for column in np.ascontiguousarray(values.T)]


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
