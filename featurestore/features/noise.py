"""Microstructure noise: variance without it, and how much there is of it."""

import numpy as np

from featurestore import feature, tile

AVERAGED = 10
"""k: prices in a pre-averaged return, with weights g(j/k), g(x) = min(x, 1 - x)."""
PSI_1 = 1.0
"""k sum_j (g(j/k) - g((j-1)/k))^2"""
PSI_2 = 0.085
"""1/k sum_j g(j/k)^2"""
NOISE = PSI_1 / (2 * AVERAGED * AVERAGED * PSI_2)
"""Share of the squared returns that is taken off the pre-averaged ones."""
COARSE = 5
"""Tiles of the coarse returns that the fine ones are held against."""


@tile(window=2, combine="sum")
def squared_trade_return(trade_price):
    """Square of the log change of the trade price, in squared log return."""
    return np.square(np.log(trade_price[..., 1] / trade_price[..., 0]))


@tile(window=AVERAGED, combine="sum", interval="1s")
def squared_averaged_return(trade_price):
    """Square of nine returns in a row with weights .1 .2 .3 .4 .5 .4 .3 .2 .1, in squared log return."""
    prices = np.log(trade_price)
    early = prices[..., 0] + prices[..., 1] + prices[..., 2] + prices[..., 3] + prices[..., 4]
    late = prices[..., 5] + prices[..., 6] + prices[..., 7] + prices[..., 8] + prices[..., 9]
    # sum_j g(j/k) r_j by parts: the weights rise by a tenth at each of the early prices and fall at the late ones
    return np.square((late - early) / AVERAGED)


@feature(window=["1h", "1d"], interval="1s")
def pre_averaged_variance(squared_averaged_return, squared_trade_return):
    """Pre-averaged variance of trade prices (Jacod, Li, Mykland, Podolskij and Vetter 2009), in squared log return.

    (sum ybar^2 / (k psi_2) - psi_1 / (2 k^2 psi_2) sum r^2) / (1 - psi_1 / (2 k^2 psi_2)), k = 10
    seconds, g(x) = min(x, 1 - x), not below 0 (finite-sample form of Hautsch and Podolskij 2013).
    """
    averaged = squared_averaged_return.sum(-1) / (AVERAGED * PSI_2)
    return np.maximum(averaged - NOISE * squared_trade_return.sum(-1), 0) / (1 - NOISE)


def in_blocks(values):
    """Sums of blocks of `COARSE` tiles."""
    return values.reshape(*values.shape[:-1], -1, COARSE).sum(-1)


@feature(window="1d", interval="1s")
def signature_ratio(squared_return, log_return):
    """Variance from second returns over that from 5-minute returns (Andersen et al. 2000), in ratio.

    Of a day: an hour's twelve 5-minute returns would make it a fifth too large in the mean.
    """
    coarse = np.square(in_blocks(log_return)).sum(-1)
    return squared_return.sum(-1) / np.where(coarse > 0, coarse, np.nan)


@feature(window=["15m", "1h"], interval="1s")
def variance_ratio(log_return):
    """Variance of returns of 5 tiles over 5 times that of one, tiles of seconds or minutes, in ratio.

    Lo and MacKinlay (1988), blocks that do not overlap, mean taken off, both variances without bias
    (n q - 1 and n - 1): 1 without autocorrelation, in short windows too.
    """
    mean = log_return.mean(-1)[..., None]
    coarse = np.square(in_blocks(log_return) - COARSE * mean).sum(-1)
    fine = np.square(log_return - mean).sum(-1)
    count = log_return.shape[-1]
    return coarse / (count - COARSE) * (count - 1) / np.where(fine > 0, fine, np.nan)
