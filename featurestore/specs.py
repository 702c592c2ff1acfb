"""What a tile, a derived tile and a feature are to the engine: data and one pure function each."""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featurestore.levels import level_columns
from featurestore.segments import Segments
from schemas import EVENTS, FeatureError, Rules
from schemas.rules import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

Array: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = Mapping[str, NDArray[Any]]
Combine: TypeAlias = Literal["sum", "min", "max", "first", "last"]
Scope: TypeAlias = Literal["own", "market"]
Reduce: TypeAlias = Literal["mean", "sum"]

BORDER_S = "border_s"
"""The reserved input: end times of the tiles of the window, in seconds since the epoch."""

LONGEST_WINDOW_TILES = 1440
"""The most tiles that a window may have at its level."""

_ROWS_AT_ONCE = 4096
"""Rows of one call of a field's function: its arrays stay in the cache."""

_UNITS_NS = {"s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}


def window_ns_of(window: str) -> int:
    """Return the nanoseconds of a window such as ``"5m"``; raises `FeatureError` for another text.

    >>> window_ns_of("5m")
    300000000000
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", window)
    if match is None:
        raise FeatureError(f'window {window!r}: expected a number and s, m, h or d, such as "5m"')
    return int(match[1]) * _UNITS_NS[match[2]]


def level_of(window_ns: int, rules: Rules) -> tuple[int, int]:
    """Return (tile interval in ns, number of tiles T) of the finest level that holds a window.

    Levels are the rules' tile, the minute and the hour; T is at most 1440. A window of 0 is one
    tile of the rules. Raises `FeatureError` where no level fits.

    >>> level_of(300 * SECOND_NS, Rules()), level_of(DAY_NS, Rules())
    ((1000000000, 300), (60000000000, 1440))
    """
    tile_ns = rules.tile_interval_ns
    if window_ns == 0:
        return tile_ns, 1
    for level_ns in (tile_ns, *(level for level in (MINUTE_NS, HOUR_NS) if level > tile_ns)):
        count, rest = divmod(window_ns, level_ns)
        if rest == 0 and 0 < count <= LONGEST_WINDOW_TILES:
            return level_ns, count
    raise FeatureError(
        f"window of {window_ns / SECOND_NS:g} s: expected 1 to {LONGEST_WINDOW_TILES} whole tiles "
        f"of {tile_ns / SECOND_NS:g} s, minutes or hours"
    )


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One number of each event of a record that holds lists: a reduction over the levels."""

    name: str
    record: str
    """Record type ("depth")."""
    inputs: tuple[str, ...]
    """List fields of the record."""
    function: Callable[..., Array] = field(repr=False)
    """[..., LEVELS] arrays, one per input -> [...]; bit for bit the same in any batch."""
    plain: Callable[..., Any] = field(repr=False)
    """The function as it was written."""
    version: str
    docs: str = ""
    file: str = ""

    def evaluate(self, columns: Columns) -> Array:
        """Return the field of each event (n,); `columns` holds the inputs, (n, LEVELS)."""
        inputs = [columns[name] for name in self.inputs]
        count = len(inputs[0])
        if count <= _ROWS_AT_ONCE:
            return self.function(*inputs)
        parts = (slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE))
        return np.concatenate([self.function(*(each[part] for each in inputs)) for part in parts])


@dataclass(frozen=True, kw_only=True)
class TileSpec:
    """One number of an instrument, a record type and a tile interval: a function of its events."""

    name: str
    record: str
    """Record type ("trade")."""
    inputs: tuple[str, ...]
    """Columns of the record: its numbers and texts, its levels, and fields made of these."""
    function: Callable[..., Any] = field(repr=False)
    version: str
    fields: tuple[FieldSpec, ...] = ()
    """Those of the inputs that are made of the record's levels."""
    scope: Scope = "own"
    """"market": of the events of all assets ("*") instead of the instrument's own."""
    combine: Combine | None = None
    """How tiles merge to minutes and hours; None: they do not."""
    carry_ns: int = 0
    """How long a silent tile repeats the last value that was not NaN; 0: it does not."""
    interval_ns: int = 0
    """The only tile interval that it is meant for; 0: any."""
    empty_value: float = np.nan
    """The value of a tile without events (before carrying)."""
    on_segments: bool = False
    """Whether one call serves many tiles (`Segments`); else one call per tile, on plain arrays."""
    docs: str = ""
    file: str = ""

    def evaluate(self, columns: Columns, offsets: NDArray[np.int64]) -> Array:
        """Return the tiles' values (n,); tile i has the rows offsets[i]:offsets[i + 1] (n + 1,).

        `columns` holds at least `inputs`: numbers, which become float64, and texts as numpy
        strings or objects; of levels and fields at least what they are made of (n, LEVELS). The
        bits of one tile do not depend on the others of the call.
        """
        inputs = [as_input(self.column(name, columns)) for name in self.inputs]
        if self.on_segments:
            return evaluate_segments(self.function, inputs, offsets)
        return evaluate_each(self.function, inputs, offsets, self.empty_value)

    def column(self, name: str, columns: Columns) -> NDArray[Any]:
        """Return one of the inputs (n,), where need be made of the lists in `columns`."""
        return column_of(self.record, name, columns, self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the fields of the record itself that the inputs are made of."""
        levels = level_columns(EVENTS[self.record])
        made = {each.name: each.inputs for each in self.fields}
        behind = (made.get(name) or (levels[name][0] if name in levels else name,) for name in self.inputs)
        return tuple(dict.fromkeys(name for names in behind for name in names))


@dataclass(frozen=True, kw_only=True)
class DerivedSpec:
    """A series computed at every base tile from a window of other series."""

    name: str
    inputs: tuple[str, ...]
    """Tiles, derived tiles, market series or `border_s`."""
    window_tiles: int
    """Number of base tiles in the window, this tile included."""
    function: Callable[..., Array] = field(repr=False)
    """[..., window_tiles] arrays, one per input -> [...]; bit for bit the same in any batch."""
    plain: Callable[..., Any] = field(repr=False)
    """The function as it was written."""
    version: str
    combine: Combine | None = None
    market: bool = False
    """Whether the series is its mean over all instruments of all partitions."""
    of_asset: Reduce | None = None
    """Whether the series is its mean or sum over the listed instruments of an asset."""
    window_ns: int = 0
    """The window where it was asked for as a time, else 0."""
    docs: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """One column of a row: a reduction of the last axis of its inputs' windows."""

    name: str
    """Quantity and window ("order_flow_imbalance_5m")."""
    quantity: str
    window_ns: int
    """0: one tile of the rules."""
    inputs: tuple[str, ...]
    """Tiles, derived tiles, market series or `border_s`."""
    function: Callable[..., Array] = field(repr=False)
    """[..., T] arrays, one per input -> [...]; bit for bit the same in any batch."""
    plain: Callable[..., Any] = field(repr=False)
    """The function as it was written."""
    version: str
    """Opaque: names code, inputs' versions and options; "label-hash" where `version=` is given."""
    records: tuple[str, ...] = ()
    """Record types behind it, sorted; those behind a market series are not its own."""
    modality: str = "clock"
    unit: str = ""
    owner: str = ""
    docs: str = ""
    file: str = ""


def column_of(record: str, name: str, columns: Columns, fields: Iterable[FieldSpec]) -> NDArray[Any]:
    """Return a column of a record's events (n,): as it is, one level of a list, or a field made of lists."""
    if name in columns:
        return columns[name]
    for spec in fields:
        if spec.name == name:
            return spec.evaluate(columns)
    source, place = level_columns(EVENTS[record])[name]
    return columns[source][:, place]


def as_input(column: NDArray[Any]) -> NDArray[Any]:
    """Return a column as tile functions get it: contiguous float64, or texts."""
    if column.dtype.kind in "biuf":
        return np.ascontiguousarray(column, dtype=np.float64)
    return column.astype(np.str_)


def evaluate_segments(function: Callable[..., Any], inputs: list[NDArray[Any]], offsets: NDArray[np.int64]) -> Array:
    """Return `function` of all tiles at once, (n,)."""
    count = len(offsets) - 1
    with np.errstate(all="ignore"):
        result = function(*(Segments(values, offsets) for values in inputs))
    if isinstance(result, Segments) or np.shape(result) not in ((), (count,)):
        raise TypeError(f"expected one number, got {result!r}")
    return known(np.broadcast_to(result, count))


def evaluate_each(
    function: Callable[..., Any],
    inputs: list[NDArray[Any]],
    offsets: NDArray[np.int64],
    empty_value: float,
) -> Array:
    """Return `function` of each tile on its own, (n,); NaN where a tile has too few events for it."""
    result = np.full(len(offsets) - 1, empty_value)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for i, (start, stop) in enumerate(pairwise(offsets.tolist())):
            if stop > start:
                # Fresh copies: kernels may look at how memory is aligned.
                result[i] = value_of_one(function, *(values[start:stop].copy() for values in inputs))
    return known(result)


def value_of_one(function: Callable[..., Any], *inputs: NDArray[Any]) -> float:
    """Return `function` of one tile, NaN where it asks for an event that is not there."""
    try:
        return float(function(*inputs))
    except (IndexError, ValueError, ZeroDivisionError):
        return np.nan


@contextmanager
def without_warnings() -> Iterator[None]:
    """Let numbers overflow and windows be empty: what is not finite becomes NaN afterwards."""
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        yield


def called(function: Callable[..., Any], where: str, *inputs: Any) -> NDArray[Any]:
    """Return `function(*inputs)` as an array, without warnings; what it raises becomes `FeatureError`."""
    with without_warnings():
        return _called(function, where, *inputs)


def _called(function: Callable[..., Any], where: str, *inputs: Any) -> NDArray[Any]:
    try:
        return np.asarray(function(*inputs))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise FeatureError(f"{where}: {reason}") from error


class Reduction:
    """A function of arrays [..., T], one per input, as the engine calls it: [...].

    The function always sees contiguous [rows, T], whether there is one row or all history: numpy
    computes a lone row of shape (T,) by other means (scalars), with other bits.
    """

    def __init__(self, function: Callable[..., Any], where: str) -> None:
        self._function = function
        self._where = where

    def __call__(self, *arrays: Array) -> Array:
        """Return the function of the arrays, without warnings; raises `FeatureError`."""
        with without_warnings():
            return self.quietly(*arrays)

    def quietly(self, *arrays: Array) -> Array:
        """Return the same where warnings are off already, which takes longer than a short function."""
        *outer, length = arrays[0].shape
        rows = math.prod(outer)
        if rows == 0:
            return np.empty(outer)
        inputs = [np.ascontiguousarray(each, np.float64).reshape(rows, length) for each in arrays]
        result = _called(self._function, self._where, *inputs)
        if result.shape != (rows,):
            raise FeatureError(
                f"{self._where}: shape {result.shape} from inputs {(rows, length)}: expected {(rows,)}; "
                "reduce the last axis, as in x.sum(-1)"
            )
        return known(result).reshape(outer)


def reduction(function: Callable[..., Any], where: str) -> Reduction:
    """Return `function` of arrays [..., T], one per input, as the engine calls it: [...]."""
    return Reduction(function, where)


def quietly(function: Callable[..., Array], *windows: Array) -> Array:
    """Return a spec's function of windows, finite or NaN; only where warnings are off."""
    return function.quietly(*windows) if isinstance(function, Reduction) else known(np.asarray(function(*windows)))


def known(values: NDArray[Any]) -> Array:
    """Return finite values as float64, NaN (always with the same bits) for all others."""
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64, copy=False)
