import numpy as np
import pytest
from small_catalogue import feature, small_catalogue
from world import MS, RULES

from featurestore.catalogue import Catalogue
from featurestore.layout import NO_START, Plotter, levels_of
from featurestore.specs import DerivedSpec, TileSpec
from schemas import BARS, TICKS, FeatureError
from schemas.rules import HOUR_NS, MINUTE_NS, SECOND_NS


def first(x):
    return x[..., 0]


def tile(name, record="trade", **options):
    return TileSpec(name=name, record=record, inputs=(), function=len, version="1", **options)


def derived(name, *inputs, market=False):
    plain = {"function": first, "plain": first, "version": "1", "market": market}
    return DerivedSpec(name=name, inputs=inputs, window_tiles=3, combine="sum", **plain)


def plotted(tiles, series, *features):
    catalogue = Catalogue(tuple(tiles), tuple(series), tuple(features))
    return Plotter(catalogue, RULES).plot(catalogue.features, "id")


def reads(*inputs, window_ns=300 * MS):
    return feature("f", window_ns, first, inputs)


def test_levels_are_whole_numbers_of_tiles():
    assert levels_of(TICKS) == (SECOND_NS, MINUTE_NS, HOUR_NS)
    assert levels_of(BARS) == (5 * MINUTE_NS, HOUR_NS)


def test_only_what_the_features_need_is_kept():
    whole = small_catalogue()
    layout = Plotter(whole, RULES).plot([spec for spec in whole.features if spec.name == "squared_return_400ms"], "id")
    assert list(layout.series) == ["last_price", "squared_return"]
    assert layout.series["last_price"].windows == [2]
    assert layout.series["squared_return"].windows == [4]
    assert layout.settle_tiles == 3 + 1 + 2  # 300 ms of carrying, and a window of two
    assert layout.features[0].start_ns == NO_START


def test_a_derived_tile_lives_where_its_inputs_do():
    tiles = [tile("own"), tile("asset", "score"), tile("all", "score", scope="market")]
    series = [
        derived("a", "asset", "all"),
        derived("b", "all"),
        derived("c", "a", "own"),
        derived("m", "all", market=True),
    ]
    layout = plotted(tiles, series, reads("a", "b", "c", "m"))
    assert {name: plan.home for name, plan in layout.series.items()} == {
        "asset": "asset",
        "all": "all",
        "own": "instrument",
        "a": "asset",
        "b": "all",
        "c": "instrument",
    }
    assert layout.market["m"].home == "instrument"
    assert layout.features[0].sources == (("all", "score"), ("asset", "score"), ("instrument", "trade"))
    assert layout.features[0].sees_market


@pytest.mark.parametrize(
    ("series", "inputs", "window_ns", "text"),
    [
        ([derived("m", "t", market=True), derived("d", "m")], ["d"], 300 * MS, "m is a market series, which only"),
        ([], ["nothing"], 300 * MS, "no tile is called 'nothing'"),
        ([], ["t"], 180_000 * MS, "t has no combine=, so no minutes and hours"),
    ],
)
def test_what_cannot_be_is_said(series, inputs, window_ns, text):
    with pytest.raises(FeatureError, match=text):
        plotted([tile("t")], series, reads(*inputs, window_ns=window_ns))


def test_only_assets_have_a_market_scope():
    with pytest.raises(FeatureError, match="is for flow and score"):
        plotted([tile("t", scope="market")], [], reads("t"))
    assert np.isnan(tile("t").empty_value)
