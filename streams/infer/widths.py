"""Uncertainty: where the band's relative width stands among those of the past."""

import numpy as np
import numpy.typing as npt

from streams.infer.combine import Floats, Levels


def relative_widths(levels: Levels) -> npt.NDArray[np.float32]:
    """Return (N, H): the outer band's width over the median."""
    q = levels.quantiles
    return ((q[..., -1] - q[..., 0]) / q[..., q.shape[-1] // 2]).astype(np.float32)


class WidthHistory:
    """The last widths of one instrument, one for each horizon (H, N), in a ring."""

    def __init__(self, horizons: int, room: int) -> None:
        self.widths = np.full((horizons, room), np.nan, np.float32)
        self.count = 0
        self.last_ns = -1

    def rank(self, widths: npt.NDArray[np.float32]) -> Floats:
        """Return (H,) the share of past widths below these, ties counted half; 0.5 without a past."""
        past = self.widths[:, : min(self.count, self.widths.shape[1])]
        if not past.shape[1]:
            return np.full(len(widths), 0.5)
        now = widths[:, None]
        ranks: Floats = (past < now).mean(-1) + 0.5 * (past == now).mean(-1)
        return ranks

    def add(self, widths: npt.NDArray[np.float32], time_ns: int) -> None:
        """Take in the widths of a forecast."""
        self.widths[:, self.count % self.widths.shape[1]] = widths
        self.count += 1
        self.last_ns = time_ns
