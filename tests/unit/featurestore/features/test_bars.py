"""Means over the bars that are there, against plain loops over bars that tests write down."""

import math

import numpy as np
import pytest

from featurestore.catalogue import Catalogue
from schemas import BARS

CATALOGUE = Catalogue.discover(BARS)
START_S = 1.7e9


def feature(name, variances, tile_bars=1):
    """Return a feature of one window of bars' variances, NaN: no bar; `tile_bars` of them make a tile."""
    bars = np.asarray(variances, float).reshape(-1, tile_bars)
    inputs = {
        "known_garman_klass": np.nan_to_num(bars).sum(-1),
        "bar_count": np.isfinite(bars).sum(-1).astype(float),
        "border_s": START_S + 300.0 * tile_bars * np.arange(1, len(bars) + 1),
    }
    spec = CATALOGUE.feature(name)
    return float(spec.function(*(inputs[each] for each in spec.inputs)))


def test_a_missing_bar_counts_as_none_and_not_as_calm():
    assert feature("bar_garman_klass_variance_15m", [3.0, math.nan, 5.0]) == 4.0
    assert feature("bar_garman_klass_variance_10m", [math.nan, 5.0]) == 5.0


def test_a_mean_is_not_known_where_more_than_half_of_the_bars_are_missing():
    hour = [2.0] * 12
    assert feature("bar_garman_klass_variance_1h", [math.nan] * 6 + hour[:6]) == 2.0
    assert math.isnan(feature("bar_garman_klass_variance_1h", [math.nan] * 7 + hour[:5]))
    assert math.isnan(feature("bar_decayed_variance_1h", [math.nan] * 7 + hour[:5]))
    assert math.isnan(feature("bar_garman_klass_variance_5m", [math.nan]))


def test_a_week_of_hours_is_the_mean_of_its_bars():
    bars = np.random.default_rng(0).gamma(2.0, 1.0, 2016)
    bars[100:600] = math.nan
    assert feature("bar_garman_klass_variance_7d", bars, 12) == pytest.approx(np.nanmean(bars))
    bars[:1100] = math.nan
    assert math.isnan(feature("bar_garman_klass_variance_7d", bars, 12))


def test_a_decayed_mean_forgets_by_e_in_a_fifth_of_its_window():
    bars = np.random.default_rng(1).gamma(2.0, 1.0, 12)
    bars[4] = math.nan
    weights = [math.exp(-5 * age / 11) for age in range(11, -1, -1)]
    pairs = [(weight, bar) for weight, bar in zip(weights, bars, strict=True) if not math.isnan(bar)]
    expected = sum(weight * bar for weight, bar in pairs) / sum(weight for weight, _ in pairs)
    assert feature("bar_decayed_variance_1h", bars) == pytest.approx(expected)
