"""Windows of a series as one array: what features and derived tiles are given."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from featurestore.specs import Array

_FEW_WINDOWS = 4
"""Up to so many windows are copied one by one, which is faster than numpy's way to all of them."""


def windowed(columns: Array, length: int, step: int) -> Array:
    """Return all windows of `length` columns, every `step`, as one read-only C-contiguous array.

    >>> windowed(np.array([[1.0, 2.0, 3.0]]), 2, 1)
    array([[[1., 2.],
            [2., 3.]]])
    """
    count = (columns.shape[1] - length) // step + 1
    result = np.empty((len(columns), count, length))
    if count <= _FEW_WINDOWS:
        for place in range(count):
            result[:, place] = columns[:, place * step : place * step + length]
    else:
        along, between = columns.strides
        result[...] = as_strided(columns, result.shape, (along, step * between, between), writeable=False)
    result.flags.writeable = False
    return result
