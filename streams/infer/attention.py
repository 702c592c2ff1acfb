"""What the Performer looked at, from its weights (B, A, T, M) of the last row interval over all tokens."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.forecasts import HeadSummary
from schemas.rules import SECOND_NS
from streams.infer.models import Shape

TOP = 3
"""How many of the heaviest tokens a head's summary lists."""

Floats = npt.NDArray[np.float64]


class Summary(NamedTuple):
    """Attention behind one forecast."""

    modalities: dict[str, float]
    heads: list[HeadSummary]


class Summaries:
    """Summaries of a batch, computed at once; a row's numbers do not depend on the others."""

    def __init__(self, weights: npt.NDArray[np.float32], shape: Shape, half_lives: tuple[float, ...]) -> None:
        """Take weights (B, A, T, M), of which each (T, M) sums to 1, or to 0 where all is absent."""
        w = np.asarray(weights, np.float64)
        rows, heads, intervals, modalities = w.shape
        self._shape, self._half_lives = shape, half_lives
        self._look_back = np.arange(intervals - 1, -1, -1) * (shape.row_interval_ns / SECOND_NS)  # (T,)
        self._mass = w.sum(2)  # (B, A, M)
        self._mean_look_back = (w.sum(3) * self._look_back).sum(-1)  # (B, A)
        self._entropy = -np.where(w > 0, w * np.log(np.where(w > 0, w, 1.0)), 0.0).sum((2, 3))
        flat = w.reshape(rows, heads, intervals * modalities)
        self._top = np.argsort(-flat, axis=-1, kind="stable")[..., :TOP]
        self._top_weights = np.take_along_axis(flat, self._top, axis=-1)

    def __getitem__(self, row: int) -> Summary:
        """Return the summary of one row of the batch."""
        heads = [self._head(row, head) for head in range(self._mass.shape[1])]
        return Summary(self._named(self._mass[row].mean(0)), heads)

    def _head(self, row: int, head: int) -> HeadSummary:
        return HeadSummary(
            half_life_seconds=self._half_lives[head],
            mean_look_back_seconds=float(self._mean_look_back[row, head]),
            entropy=max(0.0, float(self._entropy[row, head])),
            modalities=self._named(self._mass[row, head]),
            top=[self._token(*pair) for pair in zip(self._top[row, head], self._top_weights[row, head], strict=True)],
        )

    def _token(self, place: Any, weight: Any) -> tuple[str, float, float]:
        interval, modality = divmod(int(place), len(self._shape.modalities))
        return self._shape.modalities[modality], float(self._look_back[interval]), float(weight)

    def _named(self, mass: Floats) -> dict[str, float]:
        return dict(zip(self._shape.modalities, mass.tolist(), strict=True))
