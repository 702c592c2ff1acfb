"""When a window holds enough to say something: a mean over a minute of which six seconds are known is not one."""

import numpy as np

HALF = 0.5


def half_known(values):
    """Whether at least half of the window's tiles are known."""
    return np.isfinite(values).mean(-1) >= HALF


def mean_where_half_known(values):
    """Mean over the tiles that are known, NaN where they are less than half of the window."""
    known = np.isfinite(values)
    count = np.where(half_known(values), known.sum(-1), np.nan)
    return np.where(known, values, 0.0).sum(-1) / count
