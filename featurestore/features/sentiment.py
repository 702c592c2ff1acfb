"""Posts: how many, what they say, how far they disagree; of the asset and of the whole market."""

import numpy as np

from featurestore import feature, tile
from schemas import Score

SHOCK_DECAY_S = 600.0


@tile(Score, combine="sum")
def post_count(score):
    """Posts about the asset, in posts."""
    return score.size


@tile(Score, combine="sum")
def score_sum(score):
    """Sum of the sentiment of posts about the asset, in [-1, 1] each."""
    return score.sum()


@tile(Score, combine="sum")
def squared_score_sum(score):
    """Sum of the squared sentiment of posts about the asset, in [0, 1] each."""
    return (score * score).sum()


@tile(Score, combine="sum", scope="market")
def market_post_count(score):
    """Posts about the whole market, in posts."""
    return score.size


@tile(Score, combine="sum", scope="market")
def market_score_sum(score):
    """Sum of the sentiment of posts about the whole market, in [-1, 1] each."""
    return score.sum()


def decayed(score_sum, border_s):
    """Sum of sentiment, each post's weight falling by e in ten minutes."""
    age = border_s[..., -1:] - border_s
    return (score_sum * np.exp(-age / SHOCK_DECAY_S)).sum(-1)


@feature(window=["5m", "1h"])
def posts(post_count):
    """Posts about the asset (Lehrer, Xie and Yi 2021), in posts."""
    return post_count.sum(-1)


@feature(window=["5m", "1h"])
def sentiment(score_sum, post_count):
    """Mean sentiment of posts about the asset (Lehrer, Xie and Yi 2021), in [-1, 1]."""
    return score_sum.sum(-1) / post_count.sum(-1)


@feature(window="1h")
def disagreement(squared_score_sum, score_sum, post_count):
    """Standard deviation of the sentiment of posts about the asset (Antweiler and Frank 2004), in [0, 1]."""
    count = post_count.sum(-1)
    mean = score_sum.sum(-1) / count
    return np.sqrt(np.maximum(squared_score_sum.sum(-1) / count - mean * mean, 0))


@feature(window="1h")
def news_shock(score_sum, border_s):
    """Sum of sentiment about the asset, falling by e in ten minutes (Tetlock 2007), in posts."""
    return decayed(score_sum, border_s)


@feature(window=["5m", "1h"])
def market_posts(market_post_count):
    """Posts about the whole market (Lehrer, Xie and Yi 2021), in posts."""
    return market_post_count.sum(-1)


@feature(window="1h")
def market_sentiment(market_score_sum, market_post_count):
    """Mean sentiment of posts about the whole market (Lehrer, Xie and Yi 2021), in [-1, 1]."""
    return market_score_sum.sum(-1) / market_post_count.sum(-1)


@feature(window="1h")
def market_news_shock(market_score_sum, border_s):
    """Sum of sentiment about the whole market, falling by e in ten minutes (Tetlock 2007), in posts."""
    return decayed(market_score_sum, border_s)
