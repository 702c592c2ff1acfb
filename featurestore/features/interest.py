"""Funding against its own history, and open interest against volume and moves."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.dollars import where_in_dollars
from schemas import Derivative

MILLION = 1e6


@tile(Derivative, combine="last", carry="15m")
def dollar_contracts(open_interest, instrument_id):
    """Open interest of what is quoted in dollars, in base units."""
    return where_in_dollars(open_interest, instrument_id)[open_interest > 0][-1]


@feature(window="7d")
def funding_zscore(funding):
    """Funding rate against the week's hours, z-score (He, Manela, Ross and von Wachter 2022), in deviations."""
    known = np.isfinite(funding)
    count = known.sum(-1)
    mean = np.where(known, funding, 0.0).sum(-1) / count
    gap = np.where(known, funding - mean[..., None], 0.0)
    deviation = np.sqrt(np.square(gap).sum(-1) / count)
    # Known since the first hour: what a venue does not tell later is no reason to forget the week.
    # A rate that stays has a deviation of its rounding alone.
    moved = np.fmax.reduce(funding, -1) > np.fmin.reduce(funding, -1)
    return np.where(known[..., 0] & moved, gap[..., -1] / np.where(moved, deviation, 1), np.nan)


@feature(window="1d")
def settled_funding(funding, next_funding_s):
    """Funding rate that was told last before the last funding time, in ratio per funding interval.

    The rate that was paid (He, Manela, Ross and von Wachter 2022).
    """
    settled = next_funding_s[..., 1:] > next_funding_s[..., :-1]
    place = settled.shape[-1] - 1 - settled[..., ::-1].argmax(-1)
    rate = np.take_along_axis(funding, place[..., None], -1)[..., 0]
    return np.where(settled.any(-1), rate, np.nan)


@feature(window="1h")
def open_interest_turnover(open_contracts, volume):
    """Open interest over the window's volume (Bessembinder and Seguin 1993), in ratio."""
    traded = volume.sum(-1)
    return open_contracts[..., -1] / np.where(traded > 0, traded, np.nan)


@feature(window="1h")
def open_interest_move(dollar_contracts, mid, log_return):
    """Value of open interest times |log return|: what the move took from one side, in million dollars."""
    return dollar_contracts[..., -1] * mid[..., -1] * np.abs(log_return.sum(-1)) / MILLION
