"""Jumps and what is left without them: measures of the mid's variance that a single large return does not carry.

A product of k returns in a row belongs to the tile of the last, so that a window of n returns has n
of each and needs none of the small-sample factors n / (n - k + 1).
"""

import numpy as np

from featurestore import feature, tile

BIPOWER = np.pi / 2
MEDIAN = np.pi / (6 - 4 * np.sqrt(3) + np.pi)
MINIMUM = np.pi / (np.pi - 2)
TRIPOWER = 1.7434720745319836
"""mu^-3 with mu = E|u|^(4/3) = 2^(2/3) Gamma(7/6) / Gamma(1/2) of a standard normal u."""
RATIO_VARIANCE = np.pi**2 / 4 + np.pi - 5
FLAGGED = 3.090232306167813
"""The 99.9 % quantile of the standard normal."""


@tile(window=3, combine="sum")
def tripower_product(log_return):
    """Product of the sizes of three returns in a row to the power 4/3, in fourth power of log return."""
    sizes = np.abs(log_return)
    return np.power(sizes[..., 0] * sizes[..., 1] * sizes[..., 2], 4 / 3)


@tile(window=3, combine="sum")
def squared_median(log_return):
    """Square of the median size of three returns in a row, in squared log return."""
    first, second, third = (np.abs(log_return[..., place]) for place in range(3))
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    return np.square(np.maximum(lower, np.minimum(upper, third)))


@tile(window=2, combine="sum")
def squared_minimum(log_return):
    """Square of the smaller size of two returns in a row, in squared log return."""
    return np.square(np.minimum(np.abs(log_return[..., 0]), np.abs(log_return[..., 1])))


def ratio_statistic(squared_return, bipower_product, tripower_product, return_count):
    """Share of jumps in the variance over its standard error without jumps."""
    total, smooth = squared_return.sum(-1), BIPOWER * bipower_product.sum(-1)
    total, smooth = np.where(total > 0, total, np.nan), np.where(smooth > 0, smooth, np.nan)
    count = return_count.sum(-1)
    quarticity = count * TRIPOWER * tripower_product.sum(-1)
    deviation = np.sqrt(RATIO_VARIANCE / count * np.maximum(quarticity / (smooth * smooth), 1))
    return (total - smooth) / total / deviation


@feature(window="1h")
def jump_statistic(squared_return, bipower_product, tripower_product, return_count):
    """Ratio test of jumps, z (Huang and Tauchen 2005; Andersen, Bollerslev and Diebold 2007), in standard deviations.

    z = (1 - BV/RV) / sqrt((pi^2/4 + pi - 5) / n * max(1, TQ/BV^2)), TQ the tripower quarticity.
    """
    return ratio_statistic(squared_return, bipower_product, tripower_product, return_count)


@feature(window="1h")
def jump_flag(squared_return, bipower_product, tripower_product, return_count):
    """Whether the ratio test sees a jump at 99.9 % (Andersen, Bollerslev and Diebold 2007), in {0, 1}."""
    statistic = ratio_statistic(squared_return, bipower_product, tripower_product, return_count)
    return np.where(np.isnan(statistic), np.nan, 1.0 * (statistic > FLAGGED))


@feature(window="1h")
def median_variance(squared_median):
    """MedRV, pi / (6 - 4 sqrt 3 + pi) sum med^2 (Andersen, Dobrev and Schaumburg 2012), in squared log return."""
    return MEDIAN * squared_median.sum(-1)


@feature(window="1h")
def minimum_variance(squared_minimum):
    """MinRV, pi / (pi - 2) sum min^2 (Andersen, Dobrev and Schaumburg 2012), in squared log return."""
    return MINIMUM * squared_minimum.sum(-1)


@feature(window=["1h", "1d"])
def measurement_error(squared_return, fourth_power_return, return_count):
    """HARQ's term sqrt(RQ) RV (Bollerslev, Patton and Quaedvlieg 2016), in fourth power of log return."""
    quarticity = fourth_power_return.sum(-1) * return_count.sum(-1) / 3
    return np.sqrt(quarticity) * squared_return.sum(-1)
