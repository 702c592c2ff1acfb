"""All that is discovered keeps the automatic checks; the important features equal their formulas."""

import math
import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from featurestore.catalogue import Catalogue
from featurestore.checks import Checks, specs_of, violations
from featurestore.probe import Sample
from featurestore.specs import level_of
from schemas import BARS, PROFILES, TICKS, FeatureError

CATALOGUES = {name: Catalogue.discover(rules) for name, rules in PROFILES.items()}
CHECKS = {name: Checks(CATALOGUES[name], rules) for name, rules in PROFILES.items()}
SPECS = [(profile, spec) for profile, catalogue in CATALOGUES.items() for spec in specs_of(catalogue)]


@pytest.mark.parametrize(("profile", "spec"), SPECS, ids=[f"{profile}-{spec.name}" for profile, spec in SPECS])
def test_every_tile_and_feature_keeps_the_automatic_checks(profile, spec):
    assert CHECKS[profile].failed(spec, time.perf_counter) == []


HEAD = """
import numpy as np
import random
from featurestore import feature, tile
from schemas import Trade
"""
FEATURE = HEAD + '@feature(window="1m")\ndef mine(volume):\n    """Mine, in units."""\n    return {result}\n'
TILE = HEAD + '@tile(Trade)\ndef mine(price):\n    """Mine, in units."""\n    return {result}\n'

BROKEN = {
    FEATURE.format(result="volume.sum(-1)").replace(
        ", in units", ""
    ): "docstring 'Mine.': expected one line with the unit",
    FEATURE.format(result="volume.sum(-1) * random.random()"): "uses 'random': expected a function of its inputs alone",
    FEATURE.format(result="volume.sum(-1) + np.random.default_rng().normal()"): "uses 'np.random'",
    FEATURE.format(
        result="np.log(volume.sum(-1))"
    ): "infinite on a window with one event tiles: expected a finite number or NaN",
    FEATURE.format(result="volume.sum(-1) * np.nan"): "NaN on a window full of events",
    FEATURE.format(result="np.where(volume.sum(-1) > 0, 0.0, np.nan)"): "0.0 on all windows",
    FEATURE.format(result="np.log(volume, out=volume).sum(-1)"): "changes its input 'volume'",
    FEATURE.format(result="volume.sum(-1) - volume.sum(-1).mean()"): "other bits",
    FEATURE.format(result="(volume / 3) @ np.ones(60)"): "other bits",
    FEATURE.format(result="np.flip(np.cumsum(np.flip(volume.sum(-1), -1), -1), -1)"): "without the rows after it",
    FEATURE.format(
        result="volume[:, 0]"
    ): "shape (3, 60) from inputs (3, 5, 60): expected (3, 5), the last axis reduced",
    FEATURE.format(result="volume.sum(-1, 5)"): "mine.py mine_1m: TypeError: Cannot interpret",
    TILE.format(result="1 / (price.sum() - price.sum())"): "infinite on a window with busy tiles",
    TILE.format(result="1 / (len(price) - len(price))"): "expected one number for a tile, got ZeroDivisionError",
    TILE.format(result="price.sort() or price[0]"): "changes its input 'price'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_check_says_in_one_line_what_is_broken(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    try:
        catalogue = Catalogue.discover(folders=[tmp_path])
        found = violations(catalogue, TICKS, time.perf_counter, ["mine", "mine_1m"])
    except FeatureError as error:
        found = [str(error)]
    assert any(line.startswith("mine.py mine") and BROKEN[text] in line for line in found), found
    assert not any("\n" in line for line in found)


def test_a_slow_feature_is_over_its_budget():
    ticks = iter(np.arange(0.0, 10.0, 0.03))
    spec = CATALOGUES["ticks"].feature("traded_volume_1m")
    with pytest.raises(FeatureError, match=r"trades.py traded_volume_1m: 0.030 s for 64 instruments: expected at most"):
        CHECKS["ticks"].fast(spec, lambda: next(ticks))


# Formulas, written again as plain loops and pandas over the same made-up series.


def windows_of(name, scenario="busy", profile="ticks"):
    """Return the feature's value and its input windows of the second instrument, as lists."""
    catalogue, rules = CATALOGUES[profile], PROFILES[profile]
    spec = catalogue.feature(name)
    sample = Sample(catalogue.series, rules)
    windows = sample.windows(spec.inputs, level_of(spec.window_ns, rules)[1], scenario)
    return spec.function(*windows)[1, -1], [each[1, -1].tolist() for each in windows]


def tile_of(name, columns, profile="ticks"):
    spec = CATALOGUES[profile].series[name]
    count = len(next(iter(columns.values())))
    return spec.evaluate({key: np.array(value) for key, value in columns.items()}, np.array([0, count]))[0]


def derived_of(name, *windows, profile="ticks"):
    spec = CATALOGUES[profile].series[name]
    return spec.function(*(np.array(each, float) for each in windows))


PRICES = [100.0, 101.0, 99.5, 102.0]
SIZES = [1.0, 2.0, 0.5, 4.0]
SIDES = [1, -1, -1, 1]


def test_trade_tiles_are_what_pandas_says():
    frame = pd.DataFrame({"price": PRICES, "size": SIZES, "side": SIDES, "instrument_id": "kraken:BTC-USD"})
    columns = {name: frame[name].to_numpy() for name in frame}
    expected = {
        "trade_count": len(frame),
        "volume": frame["size"].sum(),
        "signed_flow": (frame["size"] * frame["side"]).sum(),
        "buy_volume": frame["size"][frame["side"] > 0].sum(),
        "sell_volume": frame["size"][frame["side"] < 0].sum(),
        "dollar_turnover": (frame["price"] * frame["size"]).sum(),
        "first_price": frame["price"].iloc[0],
        "last_price": frame["price"].iloc[-1],
        "low_price": frame["price"].min(),
        "high_price": frame["price"].max(),
    }
    assert {name: tile_of(name, columns) for name in expected} == pytest.approx(expected, rel=1e-14)


def test_realised_measures_from_mids():
    up, down = math.log(101 / 100), math.log(98 / 101)
    assert derived_of("log_return", [100, 101]) == pytest.approx(up)
    assert derived_of("squared_return", [down]) == pytest.approx(down**2)
    assert derived_of("squared_loss", [down]) == pytest.approx(down**2)
    assert derived_of("squared_gain", [down]) == 0
    assert derived_of("fourth_power_return", [down]) == pytest.approx(down**4)
    assert np.isnan(derived_of("log_return", [np.nan, 101]))


def test_realised_variance_is_the_sum_of_squared_returns_of_the_window():
    for window in ("1m", "5m", "15m", "1h", "6h", "1d"):
        value, (squares,) = windows_of(f"realised_variance_{window}")
        assert value == pytest.approx(math.fsum(squares), rel=1e-12)


def test_realised_quarticity():
    value, (fourths, counts) = windows_of("realised_quarticity_5m")
    assert value == pytest.approx(sum(counts) / 3 * math.fsum(fourths), rel=1e-12)


def test_decayed_variance_is_a_weighted_mean():
    value, (squares, _, borders) = windows_of("decayed_variance_5m")
    tau = (borders[-1] - borders[0]) / 5
    weights = [math.exp(-(borders[-1] - border) / tau) for border in borders]
    mean = math.fsum(w * x for w, x in zip(weights, squares, strict=True)) / math.fsum(weights)
    assert value == pytest.approx(mean, rel=1e-12)


def test_trade_imbalance_and_size_dispersion():
    value, (bought, sold) = windows_of("trade_imbalance_5m")
    assert value == pytest.approx((sum(bought) - sum(sold)) / (sum(bought) + sum(sold)), rel=1e-12)
    sizes = pd.Series([1.0, 3.0, 2.0, 7.0])
    spec = CATALOGUES["ticks"].feature("trade_size_dispersion_5m")
    tiles = [(sizes**2), sizes, sizes * 0 + 1]
    assert spec.function(*(each.to_numpy() for each in tiles)) == pytest.approx(sizes.std(ddof=0) / sizes.mean())


def test_amihud_counts_the_minutes_with_trades():
    spec = CATALOGUES["ticks"].feature("amihud_illiquidity_1h")
    found = spec.function(np.array([100.0, 101.0, 101.0, 99.0]), np.array([5e6, 2e6, 0.0, 1e6]))
    assert found == pytest.approx((math.log(101 / 100) / 2 + math.log(101 / 99) / 1) / 2)


def test_parkinson_range_looks_through_silent_tiles():
    spec = CATALOGUES["ticks"].feature("range_variance_5m")
    found = spec.function(np.array([np.nan, 102.0, 103.0]), np.array([np.nan, 100.0, 101.0]))
    assert found == pytest.approx(math.log(103 / 100) ** 2 / (4 * math.log(2)))
    assert np.isnan(spec.function(np.full(3, np.nan), np.full(3, np.nan)))


def test_garman_klass_of_trades_finds_the_first_and_last_trade():
    nan = np.nan
    windows = [[nan, 100, 101, nan], [nan, 103, 102, nan], [nan, 99, 98, nan], [nan, 102, 101.5, nan]]
    windows.append([0, 2, 3, 0])
    found = CATALOGUES["ticks"].feature("garman_klass_variance_5m").function(*map(np.array, windows))
    expected = 0.5 * math.log(103 / 98) ** 2 - (2 * math.log(2) - 1) * math.log(101.5 / 100) ** 2
    assert found == pytest.approx(expected)


def order_flow(bids, asks):
    """Cont, Kukanov and Stoikov (2014), equation 3, quote by quote."""
    total = 0.0
    for (bid_before, size_before), (bid, size) in pairwise(bids):
        total += size * (bid >= bid_before) - size_before * (bid <= bid_before)
    for (ask_before, size_before), (ask, size) in pairwise(asks):
        total += -size * (ask <= ask_before) + size_before * (ask >= ask_before)
    return total


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_order_flow_of_quotes_joins_across_tiles(cut):
    bids = [(99.0, 2.0), (99.0, 3.0), (99.5, 1.0), (98.0, 4.0), (98.0, 1.0), (98.5, 2.5)]
    asks = [(101.0, 1.0), (100.5, 3.0), (100.5, 1.0), (102.0, 2.0), (101.0, 1.0), (101.0, 5.0)]
    found = 0.0
    for side, quotes, sign in (("bid", bids, 1), ("ask", asks, -1)):
        inside, first, last = [], [], []
        for part in (quotes[:cut], quotes[cut:]):
            columns = {f"{side}_price": [price for price, _ in part], f"{side}_size": [size for _, size in part]}
            price, size = ({name: columns[name]} for name in columns)
            inside.append(tile_of(f"{side}_flow_inside", columns))
            first.append((tile_of(f"first_{side}_price", price), tile_of(f"first_{side}_size", size)))
            last.append((tile_of(f"last_{side}_price", price), tile_of(f"last_{side}_size", size)))
        windows = (inside, *zip(*first, strict=True), *zip(*last, strict=True))
        found += sign * (inside[0] + derived_of(f"{side}_flow_total", *windows))
    assert found == pytest.approx(order_flow(bids, asks))


def test_order_flow_of_a_silent_tile_is_none():
    quiet = [[1.0, 0.0], [99.0, np.nan], [1.0, np.nan], [99.0, 99.0], [2.0, 2.0]]
    assert derived_of("bid_flow_total", *quiet) == 0


def test_quote_means():
    columns = {"bid_price": [99.0, 99.5], "bid_size": [1.0, 3.0], "ask_price": [101.0, 100.5], "ask_size": [3.0, 3.0]}

    def tile(name):
        return tile_of(name, {key: columns[key] for key in CATALOGUES["ticks"].series[name].inputs})

    assert tile("mid") == 100
    assert tile("spread_sum") == pytest.approx(2 / 100 + 1 / 100)
    assert tile("queue_imbalance_sum") == pytest.approx(-0.5 + 0)
    assert tile("microprice_gap_sum") == pytest.approx(((101 * 1 + 99 * 3) / 4 - 100) / 100 + 0)


def test_the_last_told_funding_counts():
    assert tile_of("funding", {"funding_rate": [1e-4, 2e-4, np.nan]}) == 2e-4
    assert tile_of("relative_basis", {"mark_price": [101.0, np.nan], "index_price": [100.0, 99.0]}) == pytest.approx(
        0.01
    )
    spec = CATALOGUES["ticks"].feature("minutes_to_funding_1m")
    assert spec.function(np.array([[1000.0, 4000.0]]), np.array([[100.0, 400.0]])) == 60


def test_flows_by_kind_leave_out_unknown_values():
    columns = {"kind": ["mint", "transfer", "mint", "burn", "mint"], "amount_usd": [5e6, 2e6, 1e6, 4e6, np.nan]}
    found = [tile_of(name, columns) for name in ("minted_usd", "burned_usd", "moved_usd")]
    assert found == [6e6, 4e6, 2e6]


def test_sentiment_of_posts():
    scores = pd.Series([0.5, -0.2, 0.9])
    count, total, squares = len(scores), scores.sum(), (scores**2).sum()
    catalogue = CATALOGUES["ticks"]
    one = [np.array([value]) for value in (squares, total, count)]
    assert catalogue.feature("disagreement_1h").function(*one) == pytest.approx(scores.std(ddof=0))
    shock = catalogue.feature("news_shock_1h").function(np.array([1.0, 0.0, 0.5]), np.array([0.0, 300.0, 600.0]))
    assert shock == pytest.approx(math.exp(-1) + 0.5)


def test_bars_have_garman_klass_for_one_and_squared_returns_for_more():
    bar = {"open": [100.0], "high": [103.0], "low": [98.0], "close": [101.0]}
    expected = 0.5 * math.log(103 / 98) ** 2 - (2 * math.log(2) - 1) * math.log(101 / 100) ** 2
    assert tile_of("garman_klass", bar, "bars") == pytest.approx(expected)
    value, (_, of_bar) = windows_of("bar_realised_variance_5m", profile="bars")
    assert value == of_bar[0]
    for window in ("1h", "1d", "7d"):
        value, (squares, _) = windows_of(f"bar_realised_variance_{window}", profile="bars")
        assert value == pytest.approx(math.fsum(squares), rel=1e-12)


@pytest.mark.parametrize("moment", ["2024-03-04 00:00", "2024-03-06 18:00", "2023-12-31 23:59:59"])
def test_calendar_is_that_of_pandas(moment):
    at = pd.Timestamp(moment)
    day = (at - at.normalize()).total_seconds() / 86_400
    week = (at.weekday() + day) / 7
    catalogue = CATALOGUES["ticks"]
    border = np.array([[float(at.timestamp())]])
    expected = {"hour": day, "weekday": week}
    for name, part in expected.items():
        assert catalogue.feature(f"{name}_sine").function(border) == pytest.approx(
            math.sin(2 * math.pi * part), abs=1e-9
        )
        assert catalogue.feature(f"{name}_cosine").function(border) == pytest.approx(
            math.cos(2 * math.pi * part), abs=1e-9
        )


def test_the_market_factor_leaves_out_who_did_not_move():
    assert derived_of("log_variance", [1e-8, 3e-8]) == pytest.approx(math.log(4e-8))
    assert np.isnan(derived_of("log_variance", [0.0, 0.0]))
    found = CATALOGUES["ticks"].feature("market_volatility_5m").function(np.array([-17.0, np.nan, -19.0]))
    assert found == -18


def test_bars_profile_windows_are_whole_bars():
    assert all(spec.window_ns % BARS.tile_interval_ns == 0 for spec in CATALOGUES["bars"].features)
