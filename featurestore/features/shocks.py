"""Shocks from outside the order book: strong posts, inflows and mints, each fading within minutes.

Volatility answers news and large transfers at once and forgets them in minutes: sums over an hour
hardly move with one of them. Good and bad posts are apart, since bad news moves volatility more.
"""

import numpy as np

from featurestore import feature, tile
from schemas import Score

FADE_S = 180.0


def strength(score):
    """Sum of squared sentiment: a strong post counts, a mild one hardly."""
    return (score * score).sum()


@tile(Score, combine="sum")
def bad_strength(score):
    """Sum of the squared sentiment of bad posts about the asset, in [0, 1] each."""
    return strength(np.minimum(score, 0))


@tile(Score, combine="sum")
def good_strength(score):
    """Sum of the squared sentiment of good posts about the asset, in [0, 1] each."""
    return strength(np.maximum(score, 0))


@tile(Score, combine="sum", scope="market")
def market_bad_strength(score):
    """Sum of the squared sentiment of bad posts about the whole market, in [0, 1] each."""
    return strength(np.minimum(score, 0))


@tile(Score, combine="sum", scope="market")
def market_good_strength(score):
    """Sum of the squared sentiment of good posts about the whole market, in [0, 1] each."""
    return strength(np.maximum(score, 0))


def faded(values, border_s):
    """Sum of the window's tiles, each one's weight falling by e in three minutes."""
    age = border_s[..., -1:] - border_s
    return (values * np.exp(-age / FADE_S)).sum(-1)


@feature(window=["1m", "10m"])
def bad_news(bad_strength, border_s):
    """Squared sentiment of bad posts about the asset (Tetlock 2007), falling by e in 3 minutes, in posts."""
    return faded(bad_strength, border_s)


@feature(window=["1m", "10m"])
def good_news(good_strength, border_s):
    """Squared sentiment of good posts about the asset (Tetlock 2007), falling by e in 3 minutes, in posts."""
    return faded(good_strength, border_s)


@feature(window=["1m", "10m"])
def market_bad_news(market_bad_strength, border_s):
    """Squared sentiment of bad posts about the whole market, falling by e in 3 minutes, in posts."""
    return faded(market_bad_strength, border_s)


@feature(window=["1m", "10m"])
def market_good_news(market_good_strength, border_s):
    """Squared sentiment of good posts about the whole market, falling by e in 3 minutes, in posts."""
    return faded(market_good_strength, border_s)


@feature(window=["1m", "10m"])
def fresh_exchange_inflow(exchange_inflow_units, border_s):
    """The asset's token that reached exchanges less what left, falling by e in 3 minutes, in base units."""
    return faded(exchange_inflow_units, border_s)


@feature(window=["1m", "10m"])
def fresh_issuance(minted_usd, burned_usd, border_s):
    """Stablecoin mints minus burns (Chi, Chu and Hao 2024), falling by e in 3 minutes, in US dollars."""
    return faded(minted_usd - burned_usd, border_s)
