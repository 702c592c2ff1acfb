"""A small simulated panel of the bars profile: volatility with memory, seasons, leverage and a market factor.

Columns are computed here by their definitions, apart from the feature code that tests of it use.
"""

import numpy as np

from triton_models.evaluation.panel import Panel

DAY_NS = 86_400 * 10**9
BAR_NS = DAY_NS // 288
START_NS = 19_358 * DAY_NS
"""2023-01-01."""


def simulated_columns(days, instruments, seed, persistence=0.97):
    """Return times (T,), and per instrument the returns (T,), ranges (T,) and volumes (T,) of bars."""
    random = np.random.default_rng(seed)
    count = days * 288
    times = START_NS + BAR_NS * np.arange(1, count + 1)
    season = 0.6 * np.sin(2 * np.pi * (times % DAY_NS) / DAY_NS)
    market = _memory(random, count, persistence)
    found = {}
    for index in range(instruments):
        log_variance = -13.5 + 0.3 * index + season + 0.7 * market + 0.7 * _memory(random, count, persistence)
        deviation = np.exp(log_variance / 2)
        returns = deviation * random.standard_normal(count)
        ranges = deviation**2 * random.gamma(4, 0.25, count)
        volumes = np.exp(0.5 * log_variance + 0.3 * random.standard_normal(count))
        found[f"venue:COIN{index}-USDT"] = (returns, ranges, volumes)
    return times, found


def simulated_panel(days=70, instruments=3, seed=0, held_out=(), persistence=0.97):
    """Return a panel of simulated bars."""
    times, series = simulated_columns(days, instruments, seed, persistence)
    return panel_of_series(times, series, held_out)


def panel_of_series(times, series, held_out=()):
    """Return the panel of returns, ranges and volumes of bars by instrument."""
    names = [name for name in series for _ in times]
    parts = [_columns(times, *values) for values in series.values()]
    log_hour = np.mean([np.log(part["bar_realised_variance_1h"]) for part in parts], axis=0)
    market = {"1h": log_hour, **{name: _mean(log_hour, bars) for name, bars in (("1d", 288), ("5d", 1440))}}
    for part in parts:
        part |= {f"market_bar_volatility_{name}": values for name, values in market.items()}
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Panel(names, np.tile(times, len(parts)), columns, held_out=held_out)


def _memory(random, count, persistence):
    """A slow and a fast autoregression, unit deviation together."""
    total = np.zeros(count)
    for rate in (1 - (1 - persistence) / 10, persistence):
        noise = random.standard_normal(count) * np.sqrt(1 - rate**2) / np.sqrt(2)
        value = 0.0
        for index, shock in enumerate(noise):
            value = rate * value + shock
            total[index] += value
    return total


def _sum(values, bars):
    sums = np.concatenate([[0.0], np.cumsum(values)])
    result = np.full(len(values), np.nan)
    result[bars - 1 :] = sums[bars:] - sums[:-bars]
    return result


def _mean(values, bars):
    """Return the mean of what is known, where at least half of it is."""
    known = np.isfinite(values)
    total, count = (
        np.concatenate([[0.0], np.cumsum(each)]) for each in (np.where(known, values, 0.0), known.astype(float))
    )
    first = np.maximum(np.arange(1, len(values) + 1) - bars, 0)
    number = count[1:] - count[first]
    with np.errstate(invalid="ignore"):
        return np.where(number >= bars / 2, (total[1:] - total[first]) / number, np.nan)


def _decayed(values, bars):
    """Return the mean whose weights fall by e in a fifth of the window."""
    weights = np.exp(-5 * np.arange(bars) / (bars - 1))
    result = np.full(len(values), np.nan)
    result[bars - 1 :] = np.convolve(values, weights / weights.sum())[bars - 1 : len(values)]
    return result


def _columns(times, returns, ranges, volumes):
    squared, losses = returns**2, np.minimum(returns, 0) ** 2
    hour_volume, day_volume = _sum(volumes, 12), _sum(volumes, 288)
    return {
        "bar_realised_variance_5m": ranges,
        **{f"bar_realised_variance_{name}": _sum(squared, bars) for name, bars in _WINDOWS.items()},
        **{f"bar_garman_klass_variance_{name}": _mean(ranges, bars) for name, bars in _RANGES.items()},
        **{f"bar_decayed_variance_{name}": _decayed(ranges, bars) for name, bars in _DECAYED.items()},
        "bar_negative_semivariance_1h": _sum(losses, 12),
        "bar_negative_semivariance_1d": _sum(losses, 288),
        "bar_realised_quarticity_1d": _sum(squared**2, 288) * 288 / 3,
        "bar_signed_return_5m": returns,
        "bar_signed_return_1h": _sum(returns, 12),
        "bar_signed_return_1d": _sum(returns, 288),
        "bar_traded_volume_5m": volumes,
        "bar_traded_volume_1h": hour_volume,
        "bar_traded_volume_1d": day_volume,
        "bar_traded_volume_7d": _sum(volumes, 2016),
        "bar_volume_surprise_1d": np.log(hour_volume / 12) - np.log(day_volume / 288),
        "hour_sine": np.sin(2 * np.pi * (times % DAY_NS) / DAY_NS),
        "hour_cosine": np.cos(2 * np.pi * (times % DAY_NS) / DAY_NS),
        "weekday_sine": np.sin(2 * np.pi * (times % (7 * DAY_NS)) / (7 * DAY_NS)),
        "weekday_cosine": np.cos(2 * np.pi * (times % (7 * DAY_NS)) / (7 * DAY_NS)),
        "bar_range_variance_1h": _sum(ranges, 12),
        "bar_range_variance_1d": _sum(ranges, 288),
    }


_WINDOWS = {"1h": 12, "6h": 72, "1d": 288, "7d": 2016}
_RANGES = {
    "5m": 1,
    "10m": 2,
    "15m": 3,
    "30m": 6,
    "1h": 12,
    "2h": 24,
    "4h": 48,
    "8h": 96,
    "12h": 144,
    "1d": 288,
    "2d": 576,
    "4d": 1152,
    "7d": 2016,
}
_DECAYED = {"1h": 12, "6h": 72, "1d": 288, "4d": 1152, "7d": 2016}
