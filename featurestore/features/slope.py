"""The shape of a book: how its size grows with the distance from the mid."""

import numpy as np

from featurestore import feature, field, tile
from featurestore.features.filled import mean_where_half_known
from schemas import Depth

BASIS_POINT = 1e-4


def distances(prices, other_prices):
    """Distance of each level from the mid over the mid, NaN behind the last level."""
    mid = (prices[..., :1] + other_prices[..., :1]) / 2
    return np.abs(prices - mid) / mid


def cumulated(sizes):
    """Size up to each level, NaN behind the last."""
    return np.where(np.isnan(sizes), np.nan, np.cumsum(np.where(np.isnan(sizes), 0.0, sizes), axis=-1))


def slope_of(prices, sizes, other_prices):
    """Least-squares slope of the log size up to a level on its distance, by basis point."""
    far, grown = distances(prices, other_prices), np.log(cumulated(sizes))
    known = np.isfinite(far) & np.isfinite(grown)
    count = known.sum(-1)[..., None]
    far, grown = np.where(known, far, 0.0), np.where(known, grown, 0.0)
    far = np.where(known, far - far.sum(-1)[..., None] / count, 0.0)
    return (far * grown).sum(-1) / np.square(far).sum(-1) * BASIS_POINT


def bulge_of(prices, sizes, other_prices):
    """Twice the area between the curve of size up to a distance and its chord, both axes scaled to 1."""
    far, grown = distances(prices, other_prices), cumulated(sizes)
    total = np.fmax.reduce(grown, -1)[..., None]
    first, last = np.fmin.reduce(far, -1)[..., None], np.fmax.reduce(far, -1)[..., None]
    steps = (far[..., 1:] - far[..., :-1]) / (last - first)
    heights = (grown[..., 1:] + grown[..., :-1]) / 2
    start = grown[..., :1]
    area = np.where(np.isnan(steps), 0.0, steps * (heights - start) / (total - start)).sum(-1)
    return 2 * area - 1


@field(Depth)
def book_slope(bid_prices, bid_sizes, ask_prices, ask_sizes):
    """Growth of log size with distance, mean of both sides, in log size per basis point."""
    return (slope_of(bid_prices, bid_sizes, ask_prices) + slope_of(ask_prices, ask_sizes, bid_prices)) / 2


@field(Depth)
def book_bulge(bid_prices, bid_sizes, ask_prices, ask_sizes):
    """How far size grows early (1) or late (-1) with distance, mean of both sides, in [-1, 1]."""
    return (bulge_of(bid_prices, bid_sizes, ask_prices) + bulge_of(ask_prices, ask_sizes, bid_prices)) / 2


@tile(Depth, carry="15m")
def last_book_slope(book_slope):
    """Slope of the last book, in log size per basis point."""
    return book_slope[-1]


@tile(Depth, carry="15m")
def last_book_bulge(book_bulge):
    """Bulge of the last book, in [-1, 1]."""
    return book_bulge[-1]


@feature(window="1m")
def depth_slope(last_book_slope):
    """Mean over time of d log(size up to a level) / d distance (Naes and Skjeltorp 2006), in log size per basis point.

    Least squares over the ten levels, mean of bid and ask side.
    """
    return mean_where_half_known(last_book_slope)


@feature(window="1m")
def book_convexity(last_book_bulge):
    """Mean over time of the curvature of size up to a distance (Kalay, Sade and Wohl 2004), in [-1, 1].

    Twice the area between the curve from the best to the last level and its chord, both axes scaled
    to 1: above 0 where most of the size lies near the best price.
    """
    return mean_where_half_known(last_book_bulge)
