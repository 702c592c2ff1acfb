"""Jumps and what is left without them: measures of the mid's variance that a single large return does not carry.

They are made of the window's minutes (bars where these are longer). Products of the returns of
seconds would do with liquid markets alone: a price that stands still for most seconds makes each
product of neighbours 0, and every move of one tick a jump.
"""

import numpy as np

from featurestore import feature

BIPOWER = np.pi / 2
MEDIAN = np.pi / (6 - 4 * np.sqrt(3) + np.pi)
MINIMUM = np.pi / (np.pi - 2)
TRIPOWER = 1.7434720745319836
"""mu^-3 with mu = E|u|^(4/3) = 2^(2/3) Gamma(7/6) / Gamma(1/2) of a standard normal u."""
RATIO_VARIANCE = np.pi**2 / 4 + np.pi - 5
FLAGGED = 3.090232306167813
"""The 99.9 % quantile of the standard normal."""
STANDING = 0.2
"""Share of returns of 0 above which products of neighbours say too little of the variance."""


def moving(log_return):
    """Sizes of the returns, all NaN where too many of them are 0."""
    standing = (log_return == 0).mean(-1) > STANDING
    return np.where(standing[..., None], np.nan, np.abs(log_return))


def bipower(sizes):
    """pi/2 n / (n - 1) times the sum of the products of two sizes in a row."""
    count = sizes.shape[-1]
    return BIPOWER * count / (count - 1) * (sizes[..., 1:] * sizes[..., :-1]).sum(-1)


def tripower(sizes):
    """n^2 / (n - 2) mu^-3 times the sum of the products of three sizes in a row to the power 4/3."""
    count = sizes.shape[-1]
    products = np.power(sizes[..., 2:] * sizes[..., 1:-1] * sizes[..., :-2], 4 / 3)
    return TRIPOWER * count * count / (count - 2) * products.sum(-1)


def ratio_statistic(log_return):
    """Share of jumps in the variance over its standard error without jumps."""
    sizes = moving(log_return)
    total, smooth = np.square(sizes).sum(-1), bipower(sizes)
    total, smooth = np.where(total > 0, total, np.nan), np.where(smooth > 0, smooth, np.nan)
    deviation = np.sqrt(RATIO_VARIANCE / sizes.shape[-1] * np.maximum(tripower(sizes) / (smooth * smooth), 1))
    return (total - smooth) / total / deviation


@feature(window="1h")
def bipower_variation(log_return):
    """pi/2 n/(n - 1) sum |r| |r before| of minutes (Barndorff-Nielsen and Shephard 2004), in squared log return."""
    return bipower(moving(log_return))


@feature(window="1h")
def jump_variance(log_return):
    """Variance of minutes above bipower variation (Andersen, Bollerslev and Diebold 2007), in squared log return."""
    sizes = moving(log_return)
    return np.maximum(np.square(sizes).sum(-1) - bipower(sizes), 0)


@feature(window="1h")
def jump_statistic(log_return):
    """Ratio test of jumps, z (Huang and Tauchen 2005; Andersen, Bollerslev and Diebold 2007), in standard deviations.

    z = (1 - BV/RV) / sqrt((pi^2/4 + pi - 5) / n * max(1, TQ/BV^2)) of the window's minutes, TQ the
    tripower quarticity.
    """
    return ratio_statistic(log_return)


@feature(window="1h")
def jump_flag(log_return):
    """Whether the ratio test sees a jump at 99.9 % (Andersen, Bollerslev and Diebold 2007), in {0, 1}."""
    statistic = ratio_statistic(log_return)
    return np.where(np.isnan(statistic), np.nan, 1.0 * (statistic > FLAGGED))


@feature(window="1h")
def median_variance(log_return):
    """MedRV of minutes (Andersen, Dobrev and Schaumburg 2012), in squared log return.

    pi / (6 - 4 sqrt 3 + pi) n / (n - 2) sum med^2; med is the median size of the returns of three minutes in a row.
    """
    sizes = moving(log_return)
    first, second, third = sizes[..., :-2], sizes[..., 1:-1], sizes[..., 2:]
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    count = sizes.shape[-1]
    return MEDIAN * count / (count - 2) * np.square(np.maximum(lower, np.minimum(upper, third))).sum(-1)


@feature(window="1h")
def minimum_variance(log_return):
    """MinRV of minutes (Andersen, Dobrev and Schaumburg 2012), in squared log return.

    pi / (pi - 2) n / (n - 1) sum min^2; min is the smaller size of the returns of two minutes in a row.
    """
    sizes = moving(log_return)
    count = sizes.shape[-1]
    return MINIMUM * count / (count - 1) * np.square(np.minimum(sizes[..., 1:], sizes[..., :-1])).sum(-1)


@feature(window=["1h", "1d"])
def measurement_error(squared_return, fourth_power_return, return_count):
    """HARQ's term sqrt(RQ) RV (Bollerslev, Patton and Quaedvlieg 2016), in fourth power of log return."""
    quarticity = fourth_power_return.sum(-1) * return_count.sum(-1) / 3
    return np.sqrt(quarticity) * squared_return.sum(-1)
