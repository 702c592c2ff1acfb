"""The events of many tiles in one array, so that one call of a tile function serves all."""

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray


class Segments(NDArrayOperatorsMixin):
    """Values of consecutive tiles; tile i is values[offsets[i]:offsets[i + 1]]."""

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.int64]) -> None:
        self.values = values
        self.offsets = offsets

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Apply a ufunc to each event."""
        return NotImplemented
