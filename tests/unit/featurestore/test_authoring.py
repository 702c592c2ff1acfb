import shutil
import textwrap

import numpy as np
import pytest

from featurestore import feature, market, tile
from featurestore.catalogue import FEATURES, Catalogue, declarations_in
from featurestore.specs import level_of, window_ns_of
from schemas import BARS, TICKS, FeatureError, Trade
from schemas.rows import AGED

EXAMPLE = '''
"""Order-flow features."""
from featurestore import feature, tile
from schemas import Trade


@tile(Trade)
def signed_volume(size, side):
    """Buyer minus seller volume, in base units."""
    return (size * side).sum()


@feature(window="5m")
def order_flow_imbalance(signed_volume, volume):
    """Signed volume over total volume, in [-1, 1]."""
    return signed_volume.sum(-1) / volume.sum(-1)
'''
HEAD = """
import numpy as np
from featurestore import feature, market, tile
from schemas import Quote, Trade
"""


@pytest.fixture
def discover(tmp_path):
    def of(text, rules=TICKS, name="mine.py", head=HEAD):
        (tmp_path / name).write_text(head + textwrap.dedent(text))
        return Catalogue.discover(rules, folders=[tmp_path])

    return of


def series(catalogue, name):
    return catalogue.series[name]


def error_of(discover, text):
    with pytest.raises(FeatureError) as caught:
        discover(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_example_of_the_readme_is_found_by_being_there(tmp_path):
    folder = tmp_path / "features"
    shutil.copytree(FEATURES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "order_flow.py").write_text(EXAMPLE)
    catalogue = Catalogue.of(declarations_in([folder]))
    found = catalogue.feature("order_flow_imbalance_5m")
    assert (found.window_ns, found.inputs) == (300 * 10**9, ("signed_volume", "volume"))
    assert (found.records, found.modality, found.unit) == (("trade",), "trade", "[-1, 1]")
    flow, volume = np.array([[1.0, -2.0], [3.0, 1.0]]), np.array([[3.0, 2.0], [3.0, 5.0]])
    np.testing.assert_array_equal(found.function(flow, volume), [-0.2, 0.5])
    assert catalogue.lineage(found.name) == ("signed_volume", "volume")


def test_a_new_file_changes_no_version_of_the_others(discover):
    before, after = Catalogue.discover(), discover(EXAMPLE, head="")
    assert before.versions.items() < after.versions.items()
    assert before.feature_set_id != after.feature_set_id


def test_decorated_functions_stay_plain_functions():
    @tile(Trade)
    def traded(size):
        """Volume, in base units."""
        return size.sum()

    @feature(window=["1m", "5m"])
    def traded_mean(traded):
        """Mean volume, in base units."""
        return traded.mean(-1)

    assert traded(np.array([1.0, 2.0])) == 3.0
    assert traded_mean(np.array([1.0, 2.0])) == 1.5


def test_discovery_is_the_same_each_time_and_sorted():
    first, again = Catalogue.discover(), Catalogue.discover()
    assert first.versions == again.versions
    assert first.feature_set_id == again.feature_set_id
    assert list(first.versions) == sorted(first.versions)


def test_derived_tiles_come_after_what_they_read():
    seen = {spec.name for spec in Catalogue.discover().tiles} | {"border_s"}
    for spec in Catalogue.discover().derived:
        assert set(spec.inputs) <= seen
        seen.add(spec.name)


def test_profiles_have_the_features_that_fit_their_tiles():
    ticks, bars = Catalogue.discover(TICKS), Catalogue.discover(BARS)
    for name in ("realised_variance_1m", "realised_variance_5m", "realised_variance_15m", "realised_variance_1h"):
        assert name in ticks.versions
    assert {"realised_variance_6h", "realised_variance_1d", "market_volatility_5m"} <= ticks.versions.keys()
    assert not any(name.startswith("bar_") for name in ticks.versions)
    wanted = {f"bar_realised_variance_{window}" for window in ("5m", "1h", "1d", "7d")}
    assert wanted <= bars.versions.keys()
    assert not any(name.endswith("_1m") for name in bars.versions)
    assert "market_volatility_5m" not in bars.versions
    assert set(ticks.modalities) == set(AGED) - {"bar"}


def test_a_subset_has_what_its_features_need_and_no_more():
    part = Catalogue.discover().subset(["realised_variance_1h", "traded_volume_1m"])
    assert list(part.versions) == ["realised_variance_1h", "traded_volume_1m"]
    assert [spec.name for spec in part.tiles] == ["mid", "volume"]
    assert [spec.name for spec in part.derived] == ["log_return", "squared_return"]
    with pytest.raises(
        FeatureError, match="'realised_variance_2h': there is realised_variance_6h or realised_variance_1h"
    ):
        Catalogue.discover().subset(["realised_variance_2h"])


def test_the_finest_level_that_holds_a_window():
    second, minute, hour = 10**9, 60 * 10**9, 3600 * 10**9
    assert level_of(0, TICKS) == (second, 1)
    assert level_of(window_ns_of("24m"), TICKS) == (second, 1440)
    assert level_of(window_ns_of("25m"), TICKS) == (minute, 25)
    assert level_of(window_ns_of("7d"), TICKS) == (hour, 168)
    assert level_of(window_ns_of("7d"), BARS) == (hour, 168)
    assert level_of(window_ns_of("1d"), BARS) == (5 * minute, 288)
    with pytest.raises(FeatureError, match="window of 60 s"):
        level_of(minute, BARS)


RUN_EACH = '''
@tile(Trade, combine="sum")
def median_price(price):
    """Median price, in quote units."""
    return float(np.median(price))

@tile(Trade)
def number(price):
    """Trades, in trades."""
    return len(price)

@tile(Trade)
def third(price):
    """Third price, in quote units."""
    return sorted(price)[2]
'''


def test_a_function_that_cannot_serve_many_tiles_is_called_for_each(discover):
    catalogue = discover(RUN_EACH)
    median, number, third = (series(catalogue, name) for name in ("median_price", "number", "third"))
    assert [spec.on_segments for spec in (median, number, third)] == [False] * 3
    assert series(catalogue, "volume").on_segments
    columns, offsets = {"price": np.array([1.0, 5.0, 2.0, 7.0])}, np.array([0, 3, 3, 4])
    np.testing.assert_array_equal(median.evaluate(columns, offsets), [2.0, np.nan, 7.0])
    np.testing.assert_array_equal(number.evaluate(columns, offsets), [3.0, 0.0, 1.0])
    np.testing.assert_array_equal(third.evaluate(columns, offsets), [5.0, np.nan, np.nan])


def test_tiles_without_events_have_the_value_of_nothing():
    catalogue = Catalogue.discover()
    empty = {name: series(catalogue, name).empty_value for name in ("volume", "trade_count", "high_price", "mid")}
    assert (empty["volume"], empty["trade_count"]) == (0.0, 0.0)
    assert np.isnan([empty["high_price"], empty["mid"]]).all()


def test_texts_may_come_as_strings_or_objects():
    minted = series(Catalogue.discover(), "minted_usd")
    for kind in (np.array(["mint", "burn"]), np.array(["mint", "burn"], object)):
        assert list(minted.evaluate({"kind": kind, "amount_usd": np.array([3.0, 4.0])}, np.array([0, 1, 2]))) == [
            3.0,
            0.0,
        ]


SPREAD = '''
FACTOR = 2.0

def doubled(x):
    """Twice."""
    return FACTOR * x

@feature(window="1m"{version})
def twice_volume(volume):
    """Twice the volume, in base units."""
    return doubled(volume).sum(-1)
'''


def version(discover, text):
    return discover(text).versions["twice_volume_1m"]


def test_a_version_names_the_code_and_not_its_layout(discover):
    text = SPREAD.format(version="")
    first = version(discover, text)
    assert version(discover, text.replace('"""Twice', '# why\n    """Two times')) == first
    assert version(discover, text.replace(", in base", ",  in base")) == first
    assert version(discover, text.replace("FACTOR = 2.0", "FACTOR = 3.0")) != first
    assert version(discover, text.replace("FACTOR * x", "x * FACTOR")) != first


def test_a_version_follows_its_inputs(discover):
    text = """
        @tile(Trade)
        def mine(size):
            '''Volume, in base units.'''
            return {code}

        @feature(window="1m")
        def twice_volume(mine):
            '''Volume, in base units.'''
            return mine.sum(-1)
        """
    assert version(discover, text.format(code="size.sum()")) != version(discover, text.format(code="size.sum() * 1"))


def test_changed_code_under_an_unchanged_version_is_an_error(discover):
    text = SPREAD.format(version=', version="2"')
    announced = discover(text).versions
    assert announced["twice_volume_1m"].startswith("2-")
    discover(text).require_unchanged(announced)
    changed = discover(text.replace("FACTOR = 2.0", "FACTOR = 3.0"))
    with pytest.raises(FeatureError, match=r"mine.py twice_volume: its code or inputs changed under version='2'"):
        changed.require_unchanged(announced)
    discover(text.replace('"2"', '"3"').replace("FACTOR = 2.0", "FACTOR = 3.0")).require_unchanged(announced)


TILE = '@tile({options})\ndef mine({parameters}):\n    """Mine, in units."""\n    return {result}\n'
FEATURE = '@feature({options})\ndef mine({parameters}):\n    """Mine, in units."""\n    return volume.sum(-1)\n'

WRONG = {
    FEATURE.format(
        options='window="5x"', parameters="volume"
    ): "mine.py mine: window '5x': expected a number and s, m, h or d",
    FEATURE.format(
        options='window=["1m", "60s"]', parameters="volume"
    ): "mine.py mine: window=['1m', '60s']: the same window twice",
    FEATURE.format(
        options='window="5m"', parameters="volumes"
    ): "mine.py mine: no tile 'volumes' to read; there is volume",
    FEATURE.format(
        options='window="1441s"', parameters="volume"
    ): "mine.py mine: window of 1441 s: expected 1 to 1440 whole tiles",
    FEATURE.format(options='window="1h"', parameters="first_bid_size"): (
        "mine.py mine: window 1h is too long for 'first_bid_size', which has no combine= to make 1m tiles; at most 24m"
    ),
    FEATURE.format(
        options='window="5m"', parameters="*volume"
    ): "mine.py mine: parameter *volume: expected plain names",
    FEATURE.format(
        options='window="5m"', parameters="volume=1"
    ): "mine.py mine: parameter volume=1: expected plain names",
    TILE.format(
        options="Trade", parameters="sise", result="1"
    ): "mine.py mine: Trade has no field 'sise'; it has price, size, side",
    TILE.format(
        options="dict", parameters="size", result="1"
    ): "mine.py mine: @tile(dict): expected one of Trade, Quote",
    TILE.format(options="", parameters="size", result="1"): "mine.py mine: a tile has either a record",
    TILE.format(options="Trade, combine='mean'", parameters="size", result="1"): (
        "mine.py mine: combine='mean': expected one of sum, min, max, first, last"
    ),
    TILE.format(
        options="Trade, carry='soon'", parameters="size", result="1"
    ): "mine.py mine: carry 'soon': expected a number",
    TILE.format(options="Trade, scope='market'", parameters="size", result="1"): (
        'mine.py mine: scope="market" is for records of assets'
    ),
    TILE.format(options="Trade, scope='all'", parameters="size", result="1"): "mine.py mine: scope='all': expected",
    TILE.format(
        options="Trade", parameters="size", result="size"
    ): "mine.py mine: expected one number for a tile, got TypeError",
    TILE.format(
        options="Trade", parameters="size", result="size.total()"
    ): "got AttributeError: 'numpy.ndarray' object",
    TILE.format(
        options="window=0", parameters="volume", result="1"
    ): "mine.py mine: window=0: expected 1 or more tiles",
    TILE.format(
        options="window='1d'", parameters="volume", result="1"
    ): "mine.py mine: window of 86400 tiles: expected at most",
    TILE.format(
        options="window=2", parameters="log_variance", result="1"
    ): "'log_variance' is a market series, which only",
    TILE.format(options="window=2", parameters="mine", result="1"): "mine.py mine: reads itself by way of mine < mine",
    TILE.format(options="Trade", parameters="size", result="1").replace("mine", "volume"): (
        "mine.py volume: trades.py has a tile of this name"
    ),
    "@feature(window='5m')\ndef mine(volume):\n    return 1\n": "mine.py mine: no docstring",
    "@feature(window='5m')\ndef mine():\n    '''Mine, in units.'''\n": "mine.py mine: no parameters",
    "SEEN = []\n@tile(Trade)\ndef mine(size):\n    '''Mine, in units.'''\n    return len(SEEN)\n": (
        "mine.py mine: SEEN: a list outside of the function"
    ),
    "import nothing_like_it\n": "mine.py: ModuleNotFoundError: No module named 'nothing_like_it'",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_use_is_answered_in_one_line(discover, text):
    assert WRONG[text] in error_of(discover, text)


def test_a_feature_must_reduce_the_last_axis(discover):
    spec = discover(FEATURE.format(options='window="1m"', parameters="volume").replace("sum(-1)", "copy()")).feature(
        "mine_1m"
    )
    with pytest.raises(FeatureError, match=r"mine.py mine: shape \(2, 60\) from inputs \(2, 60\): expected \(2,\)"):
        spec.function(np.ones((2, 60)))


def test_a_function_is_marked_once():
    with pytest.raises(FeatureError, match="marked twice"):

        @market()
        @tile(Trade)
        def mine(size):
            """Mine, in units."""
            return size.sum()


RAISED = """
@feature(window="1m", version="2")
def size(volume):
    '''Volume, in thousandths of base units.'''
    return 1000 * volume.sum(-1)

@feature(window="1m", version="1", former="size")
def size_before(volume):
    '''Volume, in base units.'''
    return volume.sum(-1)
"""


def test_former_code_has_the_version_that_it_had_under_its_own_name(discover):
    before = discover("""
        @feature(window="1m", version="1")
        def size(volume):
            '''Volume, in base units.'''
            return volume.sum(-1)
    """)
    now = discover(RAISED)
    version = before.versions["size_1m"]
    assert now.versions["size_1m"] != version
    assert now.known["size_1m", version].plain.__name__ == "size_before"
    assert "size_before_1m" not in now.versions


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('former="size"', 'former="sise"'), "mine.py size_before: no feature 'sise'"),
        (('version="2"', 'version="1"'), "mine.py size_before: version='1' is in use: raise that of size"),
    ],
)
def test_former_code_of_nothing_is_refused(discover, change, problem):
    assert error_of(discover, RAISED.replace(*change)).startswith(problem)
