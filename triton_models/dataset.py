"""Feature rows as training examples: windows on the grid of row intervals, and what followed them."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import StateError
from schemas.tensors import HORIZON_NS
from triton_models.bundle import Scaling
from triton_models.har import Floats, Times, window_ns
from triton_models.pinned import Pinned

Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

CLOCK = "clock"
"""The modality of features without a record type: its age is always 0."""
NEVER = -1.0
_VARIANCE = re.compile(r"(bar_)?realised_variance_\d+[smhd]")
_INSTRUMENT_STRIDE = 1 << 44
_SCALING_ROWS = 100_000
_SKEW = 4.0
"""A quantity never below zero whose 95 % quantile is so many medians enters as its logarithm."""


class RowTable:
    """Rows of all instruments (N), sorted by instrument and time."""

    def __init__(
        self,
        instrument: Sequence[str],
        row_time_ns: Times,
        values: Singles,
        ages: Singles,
        pinned: Pinned,
        *,
        row_interval_ns: int,
    ) -> None:
        """Take unsorted rows: values (N, F) with NaN where masked, ages (N, M) with NEVER."""
        names, code = np.unique(np.asarray(instrument, dtype=np.str_), return_inverse=True)
        order = np.lexsort((row_time_ns, code))
        self.instruments = tuple(str(name) for name in names)
        self.instrument = code[order]
        self.row_time_ns = row_time_ns[order]
        self.values = np.ascontiguousarray(values[order])
        self.ages = np.ascontiguousarray(ages[order])
        self.pinned = pinned
        self.row_interval_ns = row_interval_ns
        self._keys = self.instrument * _INSTRUMENT_STRIDE + self.row_time_ns // row_interval_ns
        if (np.diff(self._keys) <= 0).any():
            raise StateError("expected one row per instrument and row time, got some twice")

    def __len__(self) -> int:
        return len(self.row_time_ns)

    @property
    def data_hash(self) -> str:
        """Return a hash over everything in the table."""
        digest = hashlib.sha256(repr((self.instruments, self.pinned, self.row_interval_ns)).encode())
        for array in (self.instrument, self.row_time_ns, self.values, self.ages):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def column(self, feature: str) -> Floats:
        """Return a feature of all rows (N,), NaN where masked."""
        return self.values[:, self.pinned.features.index(feature)].astype(np.float64)

    def columns(self, features: Sequence[str]) -> dict[str, Floats]:
        """Return features of all rows (N,) by name, NaN where masked."""
        return {name: self.column(name) for name in features}

    def ahead(self, horizon: str) -> Floats:
        """Return the realised variance over the horizon behind each row (N,), NaN where not known."""
        variance = self.column(self._variance(horizon))
        at, found = self._at(self._keys + HORIZON_NS[horizon] // self.row_interval_ns)
        return np.where(found, variance[at], np.nan)

    def _variance(self, horizon: str) -> str:
        """Return the feature that holds the realised variance over a horizon."""
        for name in windows_of(self.pinned.features):
            if name.endswith(f"_{horizon}"):
                return name
        raise StateError(f"no realised variance over {horizon} among the pinned features; pin it, it is a target")

    def windows(self, rows: Indices, intervals: int) -> tuple[Singles, Singles, Singles]:
        """Return features and mask (B, T, F) and age (B, T, M) of the windows that end at `rows`.

        An interval without a row is masked, with age NEVER.
        """
        at, found = self._at(self._keys[rows][:, None] - np.arange(intervals - 1, -1, -1))
        values = self.values[at]
        known = np.isfinite(values) & found[..., None]
        age = np.where(found[..., None], self.ages[at], np.float32(NEVER))
        return np.where(known, values, np.float32(0)), known.astype(np.float32), age

    def _at(self, keys: Indices) -> tuple[Indices, npt.NDArray[np.bool_]]:
        """Return where rows with these keys are, and which of them there are."""
        at = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        return at, self._keys[at] == keys


def windows_of(features: Sequence[str]) -> tuple[str, ...]:
    """Return the realised variances among `features`, shortest window first."""
    return tuple(sorted((name for name in features if _VARIANCE.fullmatch(name)), key=window_ns))


def from_arrow(table: pa.Table, pinned: Pinned, *, row_interval_ns: int) -> RowTable:
    """Take the rows of `foreshock backfill --rows`: instrument_id, row_time_ns, features, age_<record>."""
    missing = [name for name in ("instrument_id", "row_time_ns", *pinned.features) if name not in table.column_names]
    if missing:
        raise StateError(f"rows lack the columns {', '.join(missing[:4])}; backfill them with this catalogue")
    values = np.stack([_floats(table, name) for name in pinned.features], axis=-1)
    ages = np.stack([_ages(table, name) for name in pinned.modalities], axis=-1)
    times = table.column("row_time_ns").cast(pa.int64()).to_numpy()
    return RowTable(
        table.column("instrument_id").to_pylist(), times, values, ages, pinned, row_interval_ns=row_interval_ns
    )


def read_rows(path: Path, pinned: Pinned, *, row_interval_ns: int) -> RowTable:
    """Read a Parquet file of rows."""
    return from_arrow(pq.read_table(path), pinned, row_interval_ns=row_interval_ns)


def scaling_of(table: RowTable, rows: Indices) -> tuple[Scaling, ...]:
    """Return how features enter a network, learned from `rows` alone."""
    stride = -(-len(rows) // _SCALING_ROWS)
    return tuple(_scaling(column[np.isfinite(column)]) for column in table.values[rows[::stride]].T.astype(np.float64))


def _scaling(x: Floats) -> Scaling:
    """Scale by median and quartiles; what is positive and skewed, by those of its logarithm."""
    if not len(x):
        return Scaling(median=0.0, scale=1.0)
    positive = x[x > 0]
    skewed = x.min() >= 0 and len(positive) > 0 and np.quantile(positive, 0.95) > _SKEW * np.median(positive)
    log = bool(skewed)
    floor = float(np.median(positive)) / 100 if log else 0.0
    median = float(np.median(x))
    inside = np.log(x + floor) - np.log(median + floor) if log else x - median
    lower, upper = np.quantile(inside, [0.25, 0.75])
    scale = float(upper - lower) / 1.35 or float(inside.std())
    return Scaling(median=median, scale=scale if scale > 0 else 1.0, log=log, floor=floor)


def _floats(table: pa.Table, name: str) -> Singles:
    return np.asarray(table.column(name).cast(pa.float64()).to_numpy(), np.float32)


def _ages(table: pa.Table, modality: str) -> Singles:
    """Return the ages of a modality; a null age is never."""
    if modality == CLOCK:
        return np.zeros(len(table), np.float32)
    ages = _floats(table, f"age_{modality}") if f"age_{modality}" in table.column_names else np.full(len(table), np.nan)
    return np.where(np.isfinite(ages), ages, NEVER).astype(np.float32)
