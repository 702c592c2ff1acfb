"""Exchange flows by labels of their time, concentration, active addresses; posts and scheduled news."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore

from featurestore.features.exchange_addresses import EXCHANGES

BINANCE = "0x28c6c06298d514db089934071355e5743bf21d60"
BYBIT = "0xf89d7b9c864f589bbf53a82105107622b35eaa40"
SOMEBODY, ANOTHER = "0x" + "1" * 40, "0x" + "2" * 40


def nanoseconds(*moments):
    return [float(pd.Timestamp(moment).value) for moment in moments]


def moves(frm, to, usd, at):
    return {"from_address": frm, "to_address": to, "tile_time_ns": nanoseconds(*at), "amount_usd": usd}


def test_inflow_counts_what_reaches_an_exchange_less_what_leaves(quantities):
    at = ["2024-03-01"] * 5
    told = moves(
        [SOMEBODY, BINANCE, BINANCE, SOMEBODY, SOMEBODY],
        [BINANCE, ANOTHER, BYBIT, ANOTHER, ANOTHER],
        [100.0, 30.0, 1000.0, 5000.0, np.nan],
        at,
    )
    assert quantities.tile("exchange_inflow_usd", **told) == 70
    told["to_address"][-1] = BYBIT
    assert np.isnan(quantities.tile("exchange_inflow_usd", **told))
    told["amount"] = told.pop("amount_usd")
    told["amount"][-1] = 5.0
    assert quantities.tile("exchange_inflow_units", **told) == 75


@pytest.mark.parametrize("name", ["stablecoin_exchange_inflow_1h", "asset_exchange_inflow_6h"])
def test_before_the_first_label_flows_are_not_known(quantities, name):
    count = {"1h": 60, "6h": 360}[name[-2:]]
    for moment, expected in (("2022-08-01", np.nan), ("2022-08-28", np.nan), ("2022-08-29", 7 * count)):
        ends = pd.Timestamp(moment).timestamp() + 60.0 * np.arange(1 - count, 1)
        found = quantities.feature(name, np.full(count, 7.0), ends)
        assert found == pytest.approx(expected, nan_ok=True)


def test_transfers_of_an_asset_are_in_its_units_and_unknown_with_one_of_them(quantities):
    assert quantities.tile("asset_moved", amount=[2.0, 0.5]) == 2.5
    assert np.isnan(quantities.tile("asset_moved", amount=[2.0, np.nan]))
    assert quantities.inputs("asset_transfers_1h") == ("asset_moved",)


def test_a_label_counts_only_from_when_it_was_known(quantities):
    #   Binance's was public on 2022-08-28, Bybit's on 2023-04-06
    at = ["2022-08-27 23:59:59.999", "2022-08-28", "2023-04-05", "2023-04-06"]
    told = moves([SOMEBODY] * 4, [BINANCE, BINANCE, BYBIT, BYBIT], [1.0, 10.0, 100.0, 1000.0], at)
    assert quantities.tile("exchange_inflow_usd", **told) == 1010


def test_labels_are_lower_case_addresses_that_stand_once():
    addresses = [address for address, _, _ in EXCHANGES]
    assert len(set(addresses)) == len(addresses)
    assert all(len(each) == 42 and each == each.lower() for each in addresses)
    assert all(pd.Timestamp(known, unit="s").normalize() == pd.Timestamp(known, unit="s") for _, _, known in EXCHANGES)


def test_concentration_is_one_for_one_transfer_and_a_share_for_many(quantities):
    told = {"kind": ["transfer", "transfer", "mint"], "amount_usd": [3e6, 1e6, 9e6]}
    squares, total = (quantities.tile(name, **told) for name in ("squared_moved_usd", "moved_usd"))
    shares = np.array([0.75, 0.25])
    assert quantities.feature("transfer_concentration_1h", [squares], [total]) == pytest.approx((shares**2).sum())
    assert np.isnan(quantities.feature("transfer_concentration_1h", [0.0], [0.0]))


def test_whales_and_active_addresses(quantities):
    assert quantities.tile("whale_usd", amount_usd=[1e6, 999_999.0, 5e6, np.nan]) == 6e6
    told = {"from_address": [SOMEBODY, ANOTHER, SOMEBODY], "to_address": [ANOTHER, BINANCE, BINANCE]}
    assert quantities.tile("address_count", **told) == 3
    minted = {"from_address": ["0x" + "0" * 40, ""], "to_address": [ANOTHER, BINANCE]}
    assert quantities.tile("address_count", **minted) == 2


def test_the_volume_of_posts_is_a_zscore_of_hours(quantities):
    posts = np.random.default_rng(1).poisson(0.3, 1440).astype(float)
    posts[-60:] += 1
    hours = posts.reshape(24, 60).sum(1)
    expected = (hours[-1] - hours[:-1].mean()) / hours[:-1].std()
    assert expected > zscore(hours)[-1] + 2  # an hour held against itself seems less than it is
    assert quantities.feature("post_volume_zscore_1d", posts) == pytest.approx(expected)
    assert quantities.feature("post_volume_zscore_1d", np.ones(1440)) == 0
    posts[0] = np.nan
    assert np.isnan(quantities.feature("post_volume_zscore_1d", posts))


def test_minutes_since_the_last_post(quantities):
    ends = 1.7e9 + 60.0 * np.arange(1440)
    posts = np.zeros(1440)
    posts[[3, 1400]] = 2
    assert quantities.feature("minutes_since_post_1d", posts, ends) == 39
    assert np.isnan(quantities.feature("minutes_since_post_1d", 0 * posts, ends))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2024-03-20 18:00", 1),  # 2 p.m. in New York in summer time
        ("2024-03-20 18:30", 1),
        ("2024-03-20 18:31", 0),
        ("2024-01-31 18:45", 1),
        ("2024-01-31 18:00", 0),  # 2 p.m. in winter is 19:00 UTC
        ("2024-03-21 18:00", 0),
        ("2019-03-20 18:00", np.nan),
        ("2023-02-01 18:45", 1),  # the first of the list, and the last
        ("2026-12-09 19:15", 1),
        ("2026-12-09 19:31", np.nan),
        ("2031-03-20 18:00", np.nan),
    ],
)
def test_scheduled_statements_are_near_for_half_an_hour(quantities, moment, expected):
    found = quantities.feature("scheduled_decision", [pd.Timestamp(moment).timestamp()])
    assert found == pytest.approx(expected, nan_ok=True)
