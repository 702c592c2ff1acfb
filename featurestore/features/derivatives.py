"""Perpetuals and futures: basis, funding, open interest; the last that was told counts."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.filled import mean_where_half_known
from schemas import Derivative


@tile(Derivative, combine="last", carry="15m")
def relative_basis(mark_price, index_price):
    """(Mark - index) / index, in ratio."""
    gap = (mark_price - index_price) / index_price
    return gap[np.isfinite(gap)][-1]


@tile(Derivative, combine="last", carry="15m")
def funding(funding_rate):
    """Funding rate of the interval, in ratio."""
    return funding_rate[np.isfinite(funding_rate)][-1]


@tile(Derivative, combine="last", carry="15m")
def next_funding_s(next_funding_time_ns):
    """Time of the next funding, in seconds since the epoch."""
    return next_funding_time_ns[next_funding_time_ns > 0][-1] / 1e9


@tile(Derivative, combine="last", carry="15m")
def open_contracts(open_interest):
    """Open interest, in base units."""
    return open_interest[open_interest > 0][-1]


@tile(Derivative, combine="last", carry="15m")
def told_mark(mark_price):
    """Mark price that was told last, in quote units."""
    return mark_price[np.isfinite(mark_price)][-1]


@tile(Derivative, combine="last", carry="15m")
def told_index(index_price):
    """Index price that was told last, in quote units."""
    return index_price[np.isfinite(index_price)][-1]


@tile(window=1, combine="last")
def perpetual_gap(told_mark, told_index):
    """(Mark - index) / index, each as it was told last, in ratio."""
    return (told_mark[..., 0] - told_index[..., 0]) / told_index[..., 0]


@tile(window=2, combine="sum")
def basis_step(perpetual_gap):
    """Change of (mark - index) / index since the tile before, in ratio."""
    return perpetual_gap[..., 1] - perpetual_gap[..., 0]


@tile(window=2, combine="sum")
def open_interest_step(open_contracts):
    """Log change of open interest since the tile before, in log ratio."""
    return np.log(open_contracts[..., 1] / open_contracts[..., 0])


@feature(window="1m")
def basis(relative_basis):
    """Mean of (mark - index) / index (He, Manela, Ross and von Wachter 2022), in ratio."""
    return mean_where_half_known(relative_basis)


@feature(window=["1m", "1h"])
def perpetual_basis(perpetual_gap):
    """Mean of (mark - index) / index, told together or not (He, Manela, Ross and von Wachter 2022), in ratio."""
    return mean_where_half_known(perpetual_gap)


@feature(window="1h")
def basis_change(basis_step):
    """Change of (mark - index) / index over the window (He, Manela, Ross and von Wachter 2022), in ratio."""
    return basis_step.sum(-1)


@feature(window="1m")
def funding_rate(funding):
    """Funding rate that was told last, in ratio per funding interval.

    Of the interval that is not paid yet: the predicted rate (He, Manela, Ross and von Wachter 2022).
    """
    return funding[..., -1]


@feature(window="1m")
def minutes_to_funding(next_funding_s, border_s):
    """Time to the next funding, in minutes."""
    return np.maximum(next_funding_s[..., -1] - border_s[..., -1], 0) / 60


@feature(window=["5m", "1h"])
def open_interest_change(open_interest_step):
    """Log change of open interest over the window (Bessembinder and Seguin 1993), in log ratio."""
    return open_interest_step.sum(-1)
