"""Exponentially weighted moving average (RiskMetrics 1996) as a live expert: the second one without a network.

Its input is a decayed variance; how long a memory serves a horizon best was chosen in training. Its level is
corrected by the rows' recent residuals, as that of log-HAR is.
"""

import msgspec
import numpy as np

from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.har import LogForecast, shape_of, steps_of
from triton_models.seasons import Floats
from triton_models.terms import FLOOR_PER_NS, Columns


class Ewma(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted moving average. K decayed variances, H horizons, Q quantiles."""

    features: tuple[str, ...]
    """Decayed variances, shortest memory first."""
    unit_ns: int
    """They are per time so long."""
    horizons: tuple[str, ...]
    chosen: tuple[int, ...]
    """(H,): which of the features serves a horizon; where it is not known, the longest known below it."""
    smearing: tuple[tuple[float, ...], ...]
    """(K, H): log of the mean of what was realised over the level."""
    residuals: tuple[tuple[tuple[float, ...], ...], ...]
    """(K, H, Q): quantiles of the log of what was realised over the level."""

    def fits(self) -> bool:
        """Return whether its parts have the shapes that they say."""
        known, horizons = len(self.features), len(self.horizons)
        return (
            known > 0
            and self.unit_ns > 0
            and shape_of(self.chosen) == (horizons,)
            and all(0 <= place < known for place in self.chosen)
            and shape_of(self.smearing) == (known, horizons)
            and shape_of(self.residuals) == (known, horizons, len(QUANTILES))
        )


def log_level(decayed: Floats, unit_ns: int, horizon: str) -> Floats:
    """Return the log (N,) of a decayed variance (N,) going on over a horizon, not below its floor."""
    ahead_ns = HORIZON_NS[horizon]
    return np.asarray(np.log(np.maximum(decayed * (ahead_ns / unit_ns), FLOOR_PER_NS * ahead_ns)))


def forecast(ewma: Ewma, columns: Columns) -> LogForecast:
    """Forecast from features (B,) by name, NaN where masked; NaN where none of the chosen memory or less is known."""
    known = np.stack([np.isfinite(columns[name]) for name in ewma.features], axis=-1)  # (B, K)
    rows = np.arange(len(known))
    levels, smearing, offsets = [], [], []
    for index, (horizon, chosen) in enumerate(zip(ewma.horizons, ewma.chosen, strict=True)):
        place = np.where(known[:, : chosen + 1], np.arange(chosen + 1), 0).max(-1)
        each = np.stack([log_level(columns[name], ewma.unit_ns, horizon) for name in ewma.features], axis=-1)
        levels.append(each[rows, place])
        smearing.append(np.asarray(ewma.smearing, np.float64)[place, index])
        offsets.append(np.asarray(ewma.residuals, np.float64)[place, index])
    level, offset = np.stack(levels, axis=-1), np.stack(offsets, axis=1)  # (B, H), (B, H, Q)
    return LogForecast(level + np.stack(smearing, axis=-1), level + offset[..., QUANTILES.index(0.5)], steps_of(offset))
