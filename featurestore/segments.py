"""The events of many tiles in one array, so that one call of a tile function serves all.

What keeps a tile's bits apart from its neighbours (measured on numpy 2.4 with AVX-512, AVX2 and the
baseline, see tests): elementwise ufuncs give a value the same bits wherever it stands in a forward
array, aligned or not; `ufunc.reduceat` adds a segment in an order that depends on its length alone.
Reversed views, matrix products and running sums do not, so there are none here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

_WHOLE_AXIS = (None, 0, -1)


class Segments(NDArrayOperatorsMixin):
    """Values of consecutive tiles; tile i is values[offsets[i]:offsets[i + 1]].

    It behaves as one tile's array would: elementwise operations give `Segments`, reductions and
    `[0]`, `[-1]` give one number per tile, shape (n,), which elementwise operations accept back.
    What it cannot do for each tile alone raises `TypeError`.

    >>> sizes = Segments(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 2, 3]))
    >>> sizes.sum()
    array([3., 0., 4.])
    >>> (sizes / sizes.sum()).max(), sizes[-1]
    (array([0.66666667,        nan, 1.        ]), array([ 2., nan,  4.]))
    """

    __iter__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.int64]) -> None:
        self.values = values[offsets[0] : offsets[-1]]
        self.offsets = offsets - offsets[0]

    def __repr__(self) -> str:
        return f"Segments of {len(self.offsets) - 1} tiles with {len(self.values)} events"

    def __bool__(self) -> bool:
        raise TypeError("the truth of many tiles at once")

    def __len__(self) -> int:
        raise TypeError("the length of many tiles at once; .size gives one for each")

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("many tiles are not one array")

    @property
    def size(self) -> NDArray[np.float64]:
        """Number of events of each tile, (n,)."""
        counts: NDArray[np.int64] = np.diff(self.offsets)
        return counts.astype(np.float64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    def sum(self, axis: int | None = None) -> NDArray[Any]:
        """Sum of each tile, 0 where it is empty, (n,)."""
        return self._reduce(np.add, 0.0, axis)

    def prod(self, axis: int | None = None) -> NDArray[Any]:
        """Product of each tile, 1 where it is empty, (n,)."""
        return self._reduce(np.multiply, 1.0, axis)

    def min(self, axis: int | None = None) -> NDArray[Any]:
        """Least value of each tile, NaN where it is empty, (n,)."""
        return self._reduce(np.minimum, np.nan, axis)

    def max(self, axis: int | None = None) -> NDArray[Any]:
        """Greatest value of each tile, NaN where it is empty, (n,)."""
        return self._reduce(np.maximum, np.nan, axis)

    def any(self, axis: int | None = None) -> Any:
        """Whether any value of a tile is true, (n,)."""
        return self._count(self.values.astype(np.bool_), axis) > 0

    def all(self, axis: int | None = None) -> Any:
        """Whether no value of a tile is false, (n,)."""
        return self._count(~self.values.astype(np.bool_), axis) == 0

    def mean(self, axis: int | None = None) -> NDArray[Any]:
        """Mean of each tile, NaN where it is empty, (n,)."""
        with np.errstate(invalid="ignore"):
            mean: NDArray[Any] = self.sum(axis) / self.size
        return mean

    def var(self, axis: int | None = None) -> NDArray[Any]:
        """Population variance of each tile, NaN where it is empty, (n,)."""
        deviation = self - self.mean(axis)
        mean: NDArray[Any] = (deviation * deviation).mean()
        return mean

    def std(self, axis: int | None = None) -> NDArray[Any]:
        """Population standard deviation of each tile, NaN where it is empty, (n,)."""
        deviation: NDArray[Any] = np.sqrt(self.var(axis))
        return deviation

    def __getitem__(self, key: Any) -> Any:
        """Return one event of each tile (NaN where there is none), a slice, or what a mask holds."""
        if isinstance(key, (int, np.integer)):
            return self._at(int(key))
        if isinstance(key, slice) and key.step in (None, 1):
            return self._slice(key)
        if isinstance(key, Segments) and key.dtype == np.bool_:
            counts = np.diff(self.offsets) if not len(self.values) else key.sum().astype(np.int64)
            return Segments(self.values[self.aligned(key)], _offsets_of(counts))
        raise TypeError(f"index {key!r} of many tiles")

    def aligned(self, value: Any) -> Any:
        """Return `value` with one entry for each event, or as it is where it is one number or text."""
        if isinstance(value, Segments):
            if not np.array_equal(value.offsets, self.offsets):
                raise TypeError("two arrays with other numbers of events")
            return value.values
        if np.ndim(value) == 0:
            return value
        if np.shape(value) != (len(self.offsets) - 1,):
            raise TypeError(f"array of shape {np.shape(value)} for {len(self.offsets) - 1} tiles")
        return np.repeat(value, np.diff(self.offsets))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Apply a ufunc to each event, or reduce each tile with it."""
        if kwargs.pop("axis", None) not in _WHOLE_AXIS or kwargs:
            raise TypeError(f"{ufunc.__name__} of many tiles with options {sorted(kwargs)}")
        if method == "reduce":
            return self._reduce_by(ufunc)
        if method != "__call__" or ufunc.signature is not None:  # a signature: not elementwise, as matmul
            raise TypeError(f"{ufunc.__name__}.{method} of many tiles")
        result = ufunc(*(self.aligned(value) for value in inputs))
        if isinstance(result, tuple):
            return tuple(Segments(values, self.offsets) for values in result)
        return Segments(result, self.offsets)

    def __array_function__(self, function: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Apply one of the numpy functions that keep to a tile."""
        if function not in _FUNCTIONS:
            raise TypeError(f"{function.__name__} of many tiles")
        return _FUNCTIONS[function](*args, **kwargs)

    def _count(self, values: NDArray[np.bool_], axis: int | None) -> Any:
        return Segments(values, self.offsets).sum(axis)

    def _reduce(self, ufunc: np.ufunc, empty: float, axis: int | None) -> NDArray[Any]:
        if axis not in _WHOLE_AXIS:
            raise TypeError(f"axis {axis} of a tile")
        if self.values.dtype.kind not in "bf":
            raise TypeError(f"{ufunc.__name__} of texts")
        result = np.full(len(self.offsets) - 1, empty)
        filled = np.flatnonzero(self.offsets[1:] > self.offsets[:-1])
        if len(filled):
            values = self.values.astype(np.float64, copy=False)
            result[filled] = ufunc.reduceat(values, self.offsets[filled])
        return result

    def _reduce_by(self, ufunc: np.ufunc) -> NDArray[Any]:
        if ufunc not in _REDUCTIONS:
            raise TypeError(f"{ufunc.__name__}.reduce of many tiles")
        return self._reduce(ufunc, _REDUCTIONS[ufunc], None)

    def _at(self, index: int) -> NDArray[Any]:
        starts, stops = self.offsets[:-1], self.offsets[1:]
        place = starts + index if index >= 0 else stops + index
        there = (place >= starts) & (place < stops)
        result = np.full(len(starts), np.nan)
        result[there] = self.values[place[there]]
        return result

    def _slice(self, key: slice) -> "Segments":
        lengths = np.diff(self.offsets)
        start = _bound(key.start, lengths, 0)
        counts = np.maximum(_bound(key.stop, lengths, lengths) - start, 0)
        offsets = _offsets_of(counts)
        place = np.repeat(self.offsets[:-1] + start - offsets[:-1], counts) + np.arange(offsets[-1])
        return Segments(self.values[place], offsets)


def _offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _bound(bound: int | None, lengths: NDArray[np.int64], missing: Any) -> NDArray[np.int64]:
    """Return a slice's bound for each length, as Python does for one."""
    if bound is None:
        return np.broadcast_to(missing, lengths.shape)
    return np.clip(bound if bound >= 0 else lengths + bound, 0, lengths)


def _where(condition: Any, yes: Any, no: Any) -> Segments:
    first = next(value for value in (condition, yes, no) if isinstance(value, Segments))
    return Segments(np.where(*map(first.aligned, (condition, yes, no))), first.offsets)


def _diff(values: Segments) -> Any:
    return values[1:] - values[:-1]


def _clip(values: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(values, low), high)


def _nan_sum(values: Segments) -> NDArray[Any]:
    return _where(np.isnan(values), 0.0, values).sum()


def _nan_mean(values: Segments) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):
        mean: NDArray[Any] = _nan_sum(values) / (~np.isnan(values)).sum()
    return mean


_REDUCTIONS = {
    np.add: 0.0,
    np.multiply: 1.0,
    np.minimum: np.nan,
    np.maximum: np.nan,
    np.fmin: np.nan,
    np.fmax: np.nan,
}

_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: Segments.sum,
    np.prod: Segments.prod,
    np.min: Segments.min,
    np.max: Segments.max,
    np.amin: Segments.min,
    np.amax: Segments.max,
    np.any: Segments.any,
    np.all: Segments.all,
    np.mean: Segments.mean,
    np.var: Segments.var,
    np.std: Segments.std,
    np.size: lambda values: values.size,
    np.count_nonzero: lambda values: (values != 0).sum(),
    np.nansum: _nan_sum,
    np.nanmean: _nan_mean,
    np.nanmin: np.fmin.reduce,
    np.nanmax: np.fmax.reduce,
    np.diff: _diff,
    np.where: _where,
    np.clip: _clip,
}
