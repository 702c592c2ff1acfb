"""Many frames read at once: what a format may offer beside `decode`, for speed alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class FrameRun(NamedTuple):
    """Events of one record type, one of each frame, by column.

    `rows`: which of the frames, rising. `fields`: the record's own numbers, as its micro-batch holds
    them; `identity` is the `id` of all. `times_ns` is 0 where a frame carries no event time.
    """

    record: str
    rows: NDArray[np.int64]
    instruments: list[str]
    times_ns: NDArray[np.int64]
    sequences: NDArray[np.int64]
    fields: dict[str, NDArray[Any]]
    identity: str = ""


DecodeRun = Callable[[Sequence[bytes], str], list[FrameRun] | None]
"""Reads frames of one source: exactly what `decode` makes of each alone, or None where it cannot tell."""
