"""News: more posts than usual, how long ago the last came, and hours in which everybody waits for one."""

import numpy as np

from featurestore import feature

MINUTES = 60
DECISIONS = (
    *("2023-02-01T19:00", "2023-03-22T18:00", "2023-05-03T18:00", "2023-06-14T18:00"),
    *("2023-07-26T18:00", "2023-09-20T18:00", "2023-11-01T18:00", "2023-12-13T19:00"),
    *("2024-01-31T19:00", "2024-03-20T18:00", "2024-05-01T18:00", "2024-06-12T18:00"),
    *("2024-07-31T18:00", "2024-09-18T18:00", "2024-11-07T19:00", "2024-12-18T19:00"),
    *("2025-01-29T19:00", "2025-03-19T18:00", "2025-05-07T18:00", "2025-06-18T18:00"),
    *("2025-07-30T18:00", "2025-09-17T18:00", "2025-10-29T18:00", "2025-12-10T19:00"),
    *("2026-01-28T19:00", "2026-03-18T18:00", "2026-04-29T18:00", "2026-06-17T18:00"),
    *("2026-07-29T18:00", "2026-09-16T18:00", "2026-10-28T18:00", "2026-12-09T19:00"),
)
"""Statements of the Federal Reserve's committee, UTC; the dates are public a year before."""
NEAR_S = 1800.0


@feature(window="1d", interval="1s")
def post_volume_zscore(post_count):
    """Posts of the last hour against the hours before, z-score (Lehrer, Xie and Yi 2021), in deviations.

    Mean and deviation are those of the day's 23 other hours; a deviation of 0 counts as one post.
    """
    hours = post_count.reshape(*post_count.shape[:-1], -1, MINUTES).sum(-1)
    before = np.ascontiguousarray(hours[..., :-1])
    mean = before.mean(-1)
    deviation = np.sqrt(np.square(before - mean[..., None]).mean(-1))
    return (hours[..., -1] - mean) / np.where(deviation == 0, 1, deviation)


@feature(window="1d", interval="1s")
def minutes_since_post(post_count, border_s):
    """Time since the last minute with a post about the asset, in minutes."""
    told = np.where(post_count > 0, border_s, -np.inf).max(-1)
    return (border_s[..., -1] - np.where(np.isfinite(told), told, np.nan)) / MINUTES


@feature()
def scheduled_decision(border_s):
    """Whether a statement of the Federal Reserve is at most half an hour away (Lucca and Moench 2015), in {0, 1}.

    Not known before February 2023 and from half an hour after the last listed statement on (December 2026):
    the list has to grow each year.
    """
    times = np.array(DECISIONS, dtype="datetime64[s]").astype(np.float64)
    now = border_s[..., -1]
    near = (np.abs(now[..., None] - times) <= NEAR_S).any(-1)
    return np.where((now >= times[0] - NEAR_S) & (now <= times[-1] + NEAR_S), 1.0 * near, np.nan)
