"""What trades do to prices: excitation, large trades, price impact, bounce, toxicity."""

import numpy as np

from featurestore import feature, tile
from featurestore.features.dollars import where_in_dollars
from schemas import Trade

SECOND_NS = 1e9
DECAY_S = 10.0
LARGE_TRADE = 1e5
BUCKETS = 50
FEWEST_PAIRS = 30
"""Pairs of changes below which their covariance says nothing."""


@tile(Trade, interval="1s")
def trade_excitation(tile_time_ns):
    """Sum over trades of exp(-age / 10 s) at the tile's end, in trades."""
    age = 1 - tile_time_ns % SECOND_NS / SECOND_NS
    return np.exp(-age / DECAY_S).sum()


@tile(Trade, combine="sum")
def large_volume(price, size, instrument_id):
    """Volume of trades of 100,000 dollars and more, in base units."""
    return where_in_dollars(size * (price * size >= LARGE_TRADE), instrument_id).sum()


@tile(Trade)
def signed_root_turnover(price, size, side, instrument_id):
    """Sum over trades of side times the root of the value, in root of dollars."""
    return where_in_dollars(side * np.sqrt(price * size), instrument_id).sum()


@feature(window="1m", interval="1s")
def hawkes_excitation(trade_excitation, border_s):
    """Sum over the minute's trades of exp(-age / 10 s) (Bacry, Mastromatteo and Muzy 2015), in trades."""
    age = border_s[..., -1:] - border_s
    return (trade_excitation * np.exp(-age / DECAY_S)).sum(-1)


@feature(window=["5m", "1h"])
def large_trade_share(large_volume, volume):
    """Share of the volume in trades of 100,000 dollars and more (Barclay and Warner 1993), in [0, 1]."""
    total = volume.sum(-1)
    return large_volume.sum(-1) / np.where(total > 0, total, np.nan)


@feature(window=["5m", "15m"], interval="1s")
def kyle_lambda(log_return, signed_root_turnover):
    """Slope of returns on signed root value (Kyle 1985; Hasbrouck 2009), in log return per root of dollar.

    Least squares with a constant over the window's seconds.
    """
    gap = signed_root_turnover - signed_root_turnover.mean(-1)[..., None]
    spread = np.square(gap).sum(-1)
    return (gap * log_return).sum(-1) / np.where(spread > 0, spread, np.nan)


@feature(window="15m", interval="1s")
def roll_spread(trade_price, volume):
    """Spread from the bounce of trade prices, 2 sqrt(-cov) (Roll 1984), in log return.

    cov is that of two changes in a row of the log price, each from one second with trades to the
    next such second however far it is; 0 where it is above 0, not known of fewer than 30 pairs.
    """
    changes = np.diff(np.log(trade_price), axis=-1)
    traded = (volume[..., 1:] > 0) & np.isfinite(changes)
    number = np.where(traded, np.arange(traded.shape[-1]), -1)
    latest = np.maximum.accumulate(number, axis=-1)[..., :-1]
    paired = traded[..., 1:] & (latest >= 0)
    gap = np.where(traded, changes, 0.0)
    gap = gap - (gap.sum(-1) / traded.sum(-1))[..., None]
    before = np.take_along_axis(gap, np.maximum(latest, 0), axis=-1)
    count = paired.sum(-1)
    covariance = np.where(paired, gap[..., 1:] * before, 0.0).sum(-1) / count
    known = (count >= FEWEST_PAIRS) & np.isfinite(volume).all(-1)
    return np.where(known, 2 * np.sqrt(np.maximum(-covariance, 0)), np.nan)


@feature(window="15m", interval="1s")
def toxicity(buy_volume, sell_volume):
    """Mean |bought - sold| of 50 buckets of equal volume, VPIN (Easley, Lopez de Prado and O'Hara 2012), in [0, 1].

    Read it beside intensity and volume: it has been found to add nothing to them (Andersen and
    Bondarenko 2014). A second's volume is cut where a bucket is full, its buys and sells alike.
    """
    zero = np.zeros((*buy_volume.shape[:-1], 1))
    traded = np.concatenate([zero, np.cumsum(buy_volume + sell_volume, axis=-1)], axis=-1)
    bought = np.concatenate([zero, np.cumsum(buy_volume - sell_volume, axis=-1)], axis=-1)
    total = traded[..., -1]
    found = np.full(total.shape, np.nan)
    for row in np.ndindex(*total.shape):
        if total[row] > 0:
            borders = total[row] * np.arange(BUCKETS + 1) / BUCKETS
            found[row] = np.abs(np.diff(np.interp(borders, traded[row], bought[row]))).sum() / total[row]
    return found
