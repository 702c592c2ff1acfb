"""What a trial finds out about a feature on data."""

import itertools

import numpy as np
import pytest

from featurestore.catalogue import Catalogue
from featurestore.checks import violations
from schemas import TICKS
from schemas.errors import FeatureError
from streams.authoring.log import canonical_log
from streams.authoring.plot import by_instrument, plot_features
from streams.authoring.scaffold import new_file
from streams.authoring.trial import columns_of, trials

CLOCK = itertools.count(step=0.001).__next__


@pytest.fixture(scope="module")
def log():
    source, messages = canonical_log(TICKS, [], 90)
    assert source == "90 s of the built-in market"
    return messages


def test_honest_features_have_the_same_bits_in_any_order_of_work(log):
    catalogue = Catalogue.discover().subset(["relative_spread_10s", "market_volatility_5m", "trade_intensity_1m"])
    done = {trial.name: trial for trial in trials(log, columns_of(log, TICKS, catalogue), TICKS, catalogue, CLOCK)}
    spread = done["relative_spread_10s"]
    assert (spread.parity, spread.look_ahead) == (0, 0)
    assert 0.8 < spread.known / spread.rows < 1
    assert all((trial.parity, trial.look_ahead) == (0, 0) for trial in done.values())


def test_cost_is_the_time_of_a_row_and_the_bytes_of_the_rings(log):
    catalogue = Catalogue.discover().subset(["relative_spread_10s", "relative_spread_5m"])
    short, long = trials(log, columns_of(log, TICKS, catalogue), TICKS, catalogue, CLOCK)
    # The clock moves 1 ms a look: function, two tiles; for 50 instruments.
    assert short.row_microseconds == pytest.approx(3 * 1000 / 50)
    # spread_sum and quote_count, 300 s instead of 10 s of 8 bytes each.
    assert long.instrument_bytes - short.instrument_bytes == 2 * 290 * 8


def test_a_new_file_passes_all_checks_as_it_is(tmp_path, log):
    for record, window in (("trade", "5m"), ("depth", "1m"), ("flow", "6h"), ("option", "1h")):
        new_file(f"mine_{record}", record, window, tmp_path)
    catalogue = Catalogue.discover(TICKS, folders=[tmp_path])
    names = [name for spec in catalogue.features if (name := spec.name).startswith("mine_")]
    assert names == ["mine_depth_1m", "mine_flow_6h", "mine_option_1h", "mine_trade_5m"]
    tiles = [f"mine_{record}_sum" for record in ("trade", "depth", "flow", "option")]
    assert violations(catalogue, TICKS, CLOCK, [*names, *tiles]) == []


@pytest.mark.parametrize(
    ("name", "record", "problem"),
    [
        ("Mine", "trade", "'Mine': expected a name in small letters"),
        ("import", "trade", "'import': expected a name"),
        ("../mine", "trade", "expected a name"),
        ("mine", "trades", "--record 'trades': expected one of trade, quote"),
        ("taken", "trade", "taken.py is there already: choose another name, or edit it"),
        ("mine", "trade:5q", "window '5q': expected a number and s, m, h or d"),
    ],
)
def test_what_cannot_be_a_new_file_is_said(tmp_path, name, record, problem):
    (tmp_path / "taken.py").touch()
    record, _, window = record.partition(":")
    with pytest.raises(FeatureError, match=problem):
        new_file(name, record, window or "5m", tmp_path)


def test_the_name_of_another_feature_is_not_taken_twice(tmp_path):
    path = new_file("mine", "trade", "5m", tmp_path)
    path.rename(tmp_path / "theirs.py")
    with pytest.raises(FeatureError, match=r"theirs.py has a tile 'mine_sum': choose another name"):
        new_file("mine", "quote", "5m", tmp_path)


def test_the_picture_shows_each_feature_by_instrument(tmp_path, log):
    catalogue = Catalogue.discover().subset(["relative_spread_10s", "funding_rate_1m"])
    columns = columns_of(log, TICKS, catalogue)
    lines = by_instrument(columns["relative_spread_10s"])
    assert list(lines) == sorted(lines)
    times, values = lines["binance:BTC-USDT"]
    assert (np.diff(times) > 0).all()
    known = np.flatnonzero(np.isfinite(values))[-1]
    assert columns["relative_spread_10s"]["binance:BTC-USDT", int(times[known])] == values[known]
    path = tmp_path / "picture.png"
    plot_features(catalogue.features, columns, path, source="the built-in market")
    assert path.read_bytes().startswith(b"\x89PNG")
