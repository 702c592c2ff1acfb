"""Trades, funding, open interest and forced orders against statsmodels, scipy, pandas and plain loops."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import zscore

from featurestore.catalogue import Catalogue
from schemas import PROFILES

START_NS = 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("feature", "tile", "tau", "window"),
    [("hawkes_excitation_1m", "trade_excitation", 10, 60), ("liquidation_burst_5m", "liquidation_excitation", 60, 300)],
)
def test_excitation_is_the_sum_over_events_themselves(quantities, offsets, feature, tile, tau, window):
    times = np.sort(np.random.default_rng(1).uniform(0, window, 200))
    found = quantities.tiles(tile, offsets(times, window), tile_time_ns=START_NS + times * 1e9)
    ends = START_NS / 1e9 + 1 + np.arange(window)
    expected = np.exp(-(window - times) / tau).sum()
    assert quantities.feature(feature, found, ends) == pytest.approx(expected, rel=1e-6)


def test_large_trades_are_those_of_100_000(quantities):
    prices, sizes = [100.0, 100.0, 50_000.0], [999.0, 1000.0, 2.0]
    names = ["kraken:BTC-USD"] * 3
    large, total = quantities.tile("large_volume", price=prices, size=sizes, instrument_id=names), sum(sizes)
    assert quantities.feature("large_trade_share_5m", [large], [total]) == pytest.approx(1002 / total)
    assert np.isnan(quantities.feature("large_trade_share_5m", [0.0], [0.0]))


def test_kyles_lambda_is_the_slope_of_least_squares(quantities):
    draw = np.random.default_rng(2)
    prices, sizes = draw.uniform(90, 110, 900), draw.exponential(size=900)
    sides = draw.choice([-1.0, 1.0], 900)
    columns = {"price": prices, "size": sizes, "side": sides, "instrument_id": np.full(900, "kraken:BTC-USD")}
    signed = quantities.tiles("signed_root_turnover", np.arange(0, 901, 3), **columns)
    expected_signed = (sides * np.sqrt(prices * sizes)).reshape(300, 3).sum(1)
    assert signed == pytest.approx(expected_signed)
    moves = 2e-6 * signed + draw.normal(0, 1e-5, 300)
    slope = sm.OLS(moves, sm.add_constant(expected_signed)).fit().params[1]
    assert quantities.feature("kyle_lambda_5m", moves, signed) == pytest.approx(slope)
    assert slope == pytest.approx(2e-6, rel=0.1)
    moves[0] = np.nan
    assert np.isnan(quantities.feature("kyle_lambda_5m", moves, signed))


def test_rolls_spread_finds_the_bounce_between_bid_and_ask(quantities):
    draw = np.random.default_rng(3)
    value = np.cumsum(draw.normal(0, 1e-5, 900))
    prices = 100 * np.exp(value + 5e-4 * draw.choice([-1, 1], 900))
    volume = np.ones(900)
    changes = pd.Series(np.log(prices)).diff().dropna()
    covariance = ((changes - changes.mean()) * (changes - changes.mean()).shift()).mean()
    found = quantities.feature("roll_spread_15m", prices, volume)
    assert found == pytest.approx(2 * math.sqrt(-covariance), rel=1e-3)
    assert found == pytest.approx(1e-3, rel=0.1)
    trend = np.exp(np.cumsum(np.cumsum(np.full(900, 1e-6))))
    assert quantities.feature("roll_spread_15m", trend, volume) == 0


@pytest.mark.parametrize("trading", [1.0, 0.5, 0.2, 0.1])
def test_rolls_spread_does_not_depend_on_how_often_it_trades(quantities, trading):
    draw = np.random.default_rng(11)
    found = []
    for _ in range(20):
        prices = 100 * np.exp(np.cumsum(draw.normal(0, 1e-5, 900)) + 5e-4 * draw.choice([-1, 1], 900))
        volume = (draw.uniform(size=900) < trading).astype(float)
        carried = pd.Series(np.where(volume > 0, prices, np.nan)).ffill().bfill()
        found.append(quantities.feature("roll_spread_15m", carried, volume))
    assert np.mean(found) == pytest.approx(1e-3, rel=0.08)


def test_rolls_spread_of_few_trades_is_not_known(quantities):
    prices, volume = 100 + 0.1 * (np.arange(900) // 30 % 2), (np.arange(900) % 30 == 0).astype(float)
    assert np.isnan(quantities.feature("roll_spread_15m", prices, volume))
    assert (
        quantities.feature("roll_spread_15m", 100 + 0.1 * (np.arange(900) // 20 % 2), 1.0 * (np.arange(900) % 20 == 0))
        > 0
    )


IN_EUROS = ("kraken:BTC-EUR", "binance:USDT-TRY", "deribit:ETH-BTC-PERP")


@pytest.mark.parametrize("name", IN_EUROS)
def test_values_in_other_money_are_not_taken_for_dollars(quantities, name):
    told = {"price": [100.0], "size": [2000.0], "side": [1.0]}
    dollars = ("kraken:BTC-USD", "binance:BTC-USDT-PERP", "deribit:BTC-USDC-250627", "binance:BTC-FDUSD")
    expected = {"large_volume": 2000, "signed_root_turnover": 2e5**0.5, "dollar_turnover": 2e5, "short_liquidated": 2e5}
    for tile, value in expected.items():
        columns = {
            each: told[each] for each in told if tile not in {"large_volume", "dollar_turnover"} or each != "side"
        }
        assert np.isnan(quantities.tile(tile, **columns, instrument_id=[name]))
        for each in dollars:
            assert quantities.tile(tile, **columns, instrument_id=[each]) == pytest.approx(value)
    assert np.isnan(quantities.tile("dollar_contracts", open_interest=[5.0], instrument_id=[name]))
    assert quantities.tile("dollar_contracts", open_interest=[5.0, np.nan], instrument_id=[dollars[1]] * 2) == 5


def test_the_basis_needs_no_record_that_tells_both_prices(quantities):
    nan = np.nan
    mark = quantities.tiles("told_mark", [0, 2, 3], mark_price=[101.0, nan, 102.0])
    index = quantities.tiles("told_index", [0, 2, 3], index_price=[nan, 100.0, nan])
    assert (mark.tolist(), index[0]) == ([101, 102], 100)
    gap = quantities.series("perpetual_gap", mark, [100.0, 100.0])
    assert gap == pytest.approx([0.01, 0.02])
    assert quantities.series("basis_step", gap)[1] == pytest.approx(0.01)
    assert quantities.feature("basis_change_1h", np.full(60, 0.001)) == pytest.approx(0.06)
    assert quantities.feature("perpetual_basis_1m", [nan, 0.01, 0.02]) == pytest.approx(0.015)
    assert np.isnan(quantities.feature("perpetual_basis_1m", [nan, nan, 0.02]))


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_open_interest_changes_in_a_window_of_one_tile(profile):
    catalogue = Catalogue.discover(PROFILES[profile])
    contracts = np.array([[100.0, 100.0 * math.exp(0.02)]])
    step = catalogue.series["open_interest_step"].function(contracts)
    assert catalogue.feature("open_interest_change_5m").function(step[:, None]) == pytest.approx(0.02)
    assert ("return_autocorrelation_5m" in catalogue.versions) == (profile == "ticks")


def bucketed(bought, sold, buckets=50):
    """VPIN by filling one bucket after the other."""
    size = (bought.sum() + sold.sum()) / buckets
    total, room, imbalance = 0.0, size, 0.0
    for buys, sells in zip(bought.tolist(), sold.tolist(), strict=True):
        left = buys + sells
        while left > 1e-12:
            share = min(left, room)
            imbalance += share * (buys - sells) / (buys + sells)
            left, room = left - share, room - share
            if room < 1e-9 * size:
                total, room, imbalance = total + abs(imbalance), size, 0.0
    return total / (size * buckets)


def test_toxicity_fills_buckets_of_equal_volume(quantities):
    draw = np.random.default_rng(4)
    bought, sold = draw.exponential(size=(2, 900)) * (draw.uniform(size=(2, 900)) < 0.3)
    bought[600:] *= 3
    assert quantities.feature("toxicity_15m", bought, sold) == pytest.approx(bucketed(bought, sold), rel=1e-6)
    assert quantities.feature("toxicity_15m", bought, 0 * sold) == pytest.approx(1)
    assert np.isnan(quantities.feature("toxicity_15m", 0 * bought, 0 * sold))


def test_the_funding_zscore_is_that_of_scipy(quantities):
    rates = np.random.default_rng(5).normal(1e-4, 5e-5, 168)
    assert quantities.feature("funding_zscore_7d", rates) == pytest.approx(zscore(rates)[-1])
    silent = rates.copy()
    silent[20:30] = np.nan
    expected = (rates[-1] - np.nanmean(silent)) / np.nanstd(silent)
    assert quantities.feature("funding_zscore_7d", silent) == pytest.approx(expected)
    silent[0] = np.nan
    assert np.isnan(quantities.feature("funding_zscore_7d", silent))
    assert np.isnan(quantities.feature("funding_zscore_7d", np.full(168, 1e-4)))


def test_settled_funding_is_what_was_told_last_before_the_funding_time(quantities):
    #          funding at 400                    at 800
    nexts = [400.0, 400.0, 400.0, 800.0, 800.0, 800.0, 1200.0, 1200.0]
    rates = [1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4]
    assert quantities.feature("settled_funding_1d", rates, nexts) == 6e-4
    assert quantities.feature("settled_funding_1d", rates[:5], nexts[:5]) == 3e-4
    assert np.isnan(quantities.feature("settled_funding_1d", rates[:3], nexts[:3]))


def test_open_interest_against_volume_and_moves(quantities):
    contracts, mids = [900.0, 1000.0], [100.0, 102.0]
    moves = [0.0, math.log(102 / 100)]
    assert quantities.feature("open_interest_turnover_1h", contracts, [200.0, 50.0]) == 4
    expected = 1000 * 102 * math.log(1.02) / 1e6
    assert quantities.feature("open_interest_move_1h", contracts, mids, moves) == pytest.approx(expected)


def test_forced_sales_close_long_positions(quantities):
    orders = pd.DataFrame({"price": [100.0, 101.0, 99.0], "size": [2.0, 1.0, 3.0], "side": [-1.0, 1.0, -1.0]})
    columns = {name: orders[name].to_numpy() for name in orders} | {"instrument_id": ["kraken:BTC-USD-PERP"] * 3}
    value = (orders["price"] * orders["size"]).groupby(orders["side"]).sum()
    assert quantities.tile("long_liquidated", **columns) == value[-1.0]
    assert quantities.tile("short_liquidated", **columns) == value[1.0]
    assert quantities.tile("liquidation_count", side=columns["side"]) == 3
