"""Series of an asset: what its declaration may say, and how a mean or sum over instruments is made."""

import numpy as np
import pytest
from canonical import BTC, Canon, by_time, event, trade
from world import RULES

from featurestore import asset, feature, tile
from featurestore.catalogue import Catalogue, declarations_in
from featurestore.layout import own_home
from schemas import BARS, TICKS, FeatureError, Quote, Trade

HEAD = """
import numpy as np
from featurestore import asset, feature, tile
from schemas import Quote, Trade
"""


def catalogue_of(folder, text, rules=TICKS):
    (folder / "mine.py").write_text(HEAD + text)
    return Catalogue.discover(rules, folders=[folder])


def small_catalogue_of(folder, text):
    """Return what the text alone declares, under the rules of the small world."""
    (folder / "mine.py").write_text(HEAD + VOLUME + text.replace('"10s"', '"1s"'))
    return Catalogue.of(declarations_in([folder]), RULES)


VOLUME = '''
@tile(Trade, combine="sum")
def volume(size):
    """Traded volume, in base units."""
    return size.sum()
'''

PEERS = '''
@asset({options})
def peer_volume(volume):
    """Volume of the asset's instruments, in base units."""
    return volume[..., 0]

@feature(window="10s")
def asset_volume(peer_volume):
    """Volume of the asset's instruments, in base units."""
    return peer_volume.sum(-1)
'''


def test_a_mean_and_a_sum_are_two_versions(tmp_path):
    found = {
        options: catalogue_of(tmp_path, PEERS.format(options=options)).feature("asset_volume_10s")
        for options in ("", 'reduce="mean"', 'reduce="sum"', 'combine="sum"')
    }
    versions = {options: spec.version for options, spec in found.items()}
    assert versions[""] == versions['reduce="mean"']
    assert len(set(versions.values())) == 3
    assert found[""].modality == "trade"


def test_a_wrong_reduction_says_what_there_is():
    with pytest.raises(FeatureError, match=r'mine: reduce=\'median\': expected "mean" or "sum"'):

        @asset(reduce="median")
        def mine(volume):
            """Mine, in units."""
            return volume


def test_names_and_times_of_events_may_be_read_and_others_not():
    @tile(Quote)
    def mine(instrument_id, venue, tile_time_ns):
        """Mine, in units."""
        return tile_time_ns[0]

    assert mine
    with pytest.raises(FeatureError, match=r"Trade has no field 'raw_offset'; it has price, size, side, instrument_id"):

        @tile(Trade)
        def other(raw_offset):
            """Other, in units."""
            return raw_offset[0]


def test_a_feature_of_one_tile_interval_is_in_that_profile_alone(tmp_path):
    text = '''
@feature(window="5m", interval="1s")
def mine(volume):
    """Mine, in units."""
    return volume.sum(-1)
'''
    assert "mine_5m" in catalogue_of(tmp_path, text, TICKS).versions
    assert "mine_5m" not in catalogue_of(tmp_path, text, BARS).versions
    with pytest.raises(FeatureError, match="interval"):
        feature(window="5m", interval="soon")(lambda volume: volume)


def test_options_belong_to_their_asset():
    assert {record for record in ("trade", "quote", "depth", "option", "flow") if own_home(record) == "asset"} == {
        "option",
        "flow",
    }


@pytest.fixture
def summed(tmp_path):
    """Rows of two venues: trades at 10 ms in tiles of 100 ms, an instrument listed for 500 ms."""
    catalogue = small_catalogue_of(tmp_path, PEERS.format(options='reduce="sum"'))

    def rows(*events, until_ms=1500):
        canon = Canon(catalogue=catalogue)
        canon.progress(-2000)
        canon.send(*events)
        canon.progress(until_ms)
        return by_time(canon.advance())

    return rows


def test_a_sum_is_over_the_instruments_of_the_asset_alone(summed):
    rows = summed(
        *[trade(-990 + 100 * n, size=1.0) for n in range(20)],
        *[trade(-990 + 100 * n, size=2.0, instrument="beta:BTC-USD") for n in range(20)],
        *[trade(-990 + 100 * n, size=5.0, instrument="alpha:ETH-USD") for n in range(20)],
        until_ms=1100,
    )
    assert rows[900][BTC]["asset_volume_1s"] == pytest.approx(30)
    assert rows[900]["beta:BTC-USD"]["asset_volume_1s"] == pytest.approx(30)


def test_an_instrument_that_is_no_longer_listed_leaves_the_sum(summed):
    #   beta trades 2 in each tile of [-1000, 0) and is listed for 500 ms: silent tiles add 0 to it all the same
    rows = summed(
        *[trade(-990 + 100 * n, size=1.0) for n in range(20)],
        *[trade(-990 + 100 * n, size=2.0, instrument="beta:BTC-USD") for n in range(10)],
        until_ms=1100,
    )
    assert rows[0][BTC]["asset_volume_1s"] == pytest.approx(30)
    assert rows[500][BTC]["asset_volume_1s"] == pytest.approx(20)
    assert rows[1000][BTC]["asset_volume_1s"] == pytest.approx(10)
    assert "beta:BTC-USD" not in rows[600]


def test_a_restart_keeps_the_series_of_an_asset(tmp_path):
    catalogue = small_catalogue_of(tmp_path, PEERS.format(options=""))
    values = []
    for restarts in (False, True):
        canon = Canon(catalogue=catalogue)
        canon.progress(-2000)
        found = {}
        for n in range(30):
            canon.send(trade(-990 + 100 * n, size=n + 1.0), trade(-980 + 100 * n, size=1.0, instrument="beta:BTC-USD"))
            canon.progress(-900 + 100 * n)
            found |= by_time(canon.advance())
            if restarts and n % 7 == 3:
                canon.restarted()
        values.append({time: row[BTC]["asset_volume_1s"] for time, row in found.items() if BTC in row})
    np.testing.assert_equal(values[0], values[1])
    assert values[0][1900] == pytest.approx(sum((n + 2) / 2 for n in range(19, 29)))


def test_an_option_alone_makes_no_row(summed):
    told = event("option", 10, instrument="gamma:BTC-USD-250627-1-C", strike=1.0, expiry_ns=1, kind="call")
    assert summed(told) == {}
