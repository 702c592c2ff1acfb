import textwrap
import time

import numpy as np
import pytest
from canonical import BTC, Canon, by_time, event, trade
from world import RULES

from featurestore.catalogue import Catalogue, declarations_in
from featurestore.checks import violations
from featurestore.levels import LEVELS, level_matrix
from featurestore.probe import events_of
from schemas import TICKS, Depth, FeatureError

HEAD = """
import numpy as np
from featurestore import feature, field, tile
from schemas import Depth, Trade
"""
BOOKS = """
@field(Depth)
def bid_depth(bid_sizes):
    \"\"\"Size of all bids, in base units.\"\"\"
    return np.where(np.isnan(bid_sizes), 0.0, bid_sizes).sum(-1)


@tile(Depth, combine="last")
def second_bid(bid_price_2):
    \"\"\"Second bid of the last book, in quote units.\"\"\"
    return bid_price_2[-1]


@tile(Depth, combine="sum")
def bid_depth_sum(bid_depth, ask_price_1):
    \"\"\"Sum of the size of all bids of books with asks, in base units.\"\"\"
    return np.where(np.isnan(ask_price_1), 0.0, bid_depth).sum()


@feature()
def second_bids(second_bid):
    \"\"\"Second bid, in quote units.\"\"\"
    return second_bid[..., -1]


@feature()
def bid_depths(bid_depth_sum):
    \"\"\"Sum of the size of all bids, in base units.\"\"\"
    return bid_depth_sum.sum(-1)
"""


@pytest.fixture
def discover(tmp_path):
    def of(text, rules=TICKS):
        (tmp_path / "mine.py").write_text(HEAD + textwrap.dedent(text))
        return Catalogue.of(declarations_in([tmp_path]), rules)

    return of


def named(specs, name):
    return next(spec for spec in specs if spec.name == name)


def test_lists_of_any_length_become_levels():
    found = level_matrix(np.arange(25.0), np.array([0, 0, 3, 5]), np.array([0, 3, 1, 20]))
    assert found.shape == (4, LEVELS)
    assert np.isnan(found[0]).all()
    assert found[1, :3].tolist() == [0, 1, 2]
    assert np.isnan(found[1, 3:]).all()
    assert found[3].tolist() == list(range(5, 15))


def test_tiles_read_levels_and_what_is_made_of_them(discover):
    catalogue = discover(BOOKS)
    spec = named(catalogue.tiles, "bid_depth_sum")
    assert [each.name for each in catalogue.fields] == ["bid_depth"]
    assert set(spec.columns) == {"bid_sizes", "ask_prices"}
    assert named(catalogue.features, "bid_depths").modality == "depth"
    books = {"bid_sizes": np.full((3, LEVELS), np.nan), "ask_prices": np.full((3, LEVELS), 5.0)}
    books["bid_sizes"][:2, :2] = [[1.0, 2.0], [4.0, 8.0]]
    assert spec.evaluate(books, np.array([0, 1, 3])).tolist() == [3.0, 12.0]
    books["ask_prices"][1] = np.nan
    assert spec.evaluate(books, np.array([0, 3])).tolist() == [3.0]


def test_the_code_of_a_field_is_part_of_the_version_of_what_reads_it(discover):
    before, after = discover(BOOKS), discover(BOOKS.replace("0.0, bid_sizes)", "0.0, 2 * bid_sizes)"))
    assert named(before.tiles, "second_bid").version == named(after.tiles, "second_bid").version
    assert named(before.tiles, "bid_depth_sum").version != named(after.tiles, "bid_depth_sum").version
    assert before.versions["second_bids"] == after.versions["second_bids"]
    assert before.versions["bid_depths"] != after.versions["bid_depths"]


def test_a_subset_has_the_fields_that_its_tiles_read(discover):
    catalogue = discover(BOOKS)
    assert catalogue.subset(["second_bids"]).fields == ()
    assert catalogue.subset(["bid_depths"]).fields == catalogue.fields


def test_fields_and_tiles_of_books_keep_the_automatic_checks(discover):
    assert violations(discover(BOOKS), TICKS, time.perf_counter) == []


FIELD = '@field(Depth)\ndef mine(bid_sizes):\n    """Mine, in units."""\n    return {result}\n'
BROKEN = {
    FIELD.format(result="np.nansum(bid_sizes, -1) + np.random.default_rng().normal()"): "uses 'np.random'",
    FIELD.format(result="np.nansum(bid_sizes, -1) / 0"): "infinite on a window with busy tiles",
    FIELD.format(result="bid_sizes[..., 0] * np.nan"): "NaN on a window full of events",
    FIELD.format(result="np.nan_to_num(bid_sizes, copy=False).sum(-1)"): "changes its input 'bid_sizes'",
    FIELD.format(result="bid_sizes[..., 0] - np.nanmean(bid_sizes)"): "without the events after it",
    FIELD.format(result="np.nan_to_num(bid_sizes) / 3 @ np.linspace(0, 1, 10)"): "other bits",
    FIELD.format(result="bid_sizes"): "shape (1690, 10) from inputs (1690, 10): expected (1690,)",
    FIELD.replace("bid_sizes", "bid_size").format(
        result="bid_size"
    ): "Depth has no field 'bid_size'; it has bid_prices",
    FIELD.replace("mine(", "bid_size_1(").format(result="bid_sizes[..., 0]"): "Depth has a field of this name",
    FIELD.replace("Depth", "Trade").format(result="1"): "@field(Trade): expected a record that holds lists: Depth",
    '@tile(Depth)\ndef mine(bid_price_11):\n    """Mine, in units."""\n    return 1.0\n': "Depth has no field "
    "'bid_price_11', and no @field(Depth) makes it; there is bid_price_1",
    FIELD.format(result="1")
    + FIELD.replace("@field(Depth)", "@tile(Depth)\n").replace("bid_sizes", "bid_size_1"): "mine",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_check_says_in_one_line_what_is_broken(discover, text):
    try:
        found = violations(discover(text), TICKS, time.perf_counter)
    except FeatureError as error:
        found = [str(error)]
    assert any(line.startswith("mine.py ") and BROKEN[text] in line for line in found), found
    assert not any("\n" in line for line in found)


def test_sample_books_are_full_short_one_sided_and_unknown():
    books = events_of(Depth, 500)
    bids, asks = (np.isfinite(books[f"{side}_prices"]).sum(axis=1) for side in ("bid", "ask"))
    for kind in ((bids == LEVELS) & (asks == LEVELS), bids == 4, (bids == 0) & (asks > 0), (bids == 0) & (asks == 0)):
        assert kind.any()
    both = (bids > 0) & (asks > 0)
    assert (books["bid_price_1"] < books["ask_price_1"])[both].all()
    assert (np.diff(books["bid_prices"][bids == LEVELS], axis=1) < 0).all()


def book(at_ms, bids=(), asks=()):
    (prices, sizes), (ask_prices, ask_sizes) = (zip(*side, strict=True) if side else ((), ()) for side in (bids, asks))
    lists = {"bid_prices": prices, "bid_sizes": sizes, "ask_prices": ask_prices, "ask_sizes": ask_sizes}
    return event("depth", at_ms, **{name: list(values) for name, values in lists.items()})


def test_rows_see_books_level_by_level(discover):
    #   0           100           200           300           400
    #   [-- full -----)[- one-sided )[- marker ---)[- a trade ---)
    catalogue = discover(BOOKS, RULES)
    canon = Canon(catalogue=catalogue)
    canon.progress(-50)
    canon.send(
        book(10, bids=[(9.0, 1.0), (8.0, 2.0)], asks=[(10.0, 1.0)]),
        book(20, bids=[(9.0, 4.0), (8.5, 2.0), (8.0, 2.0)], asks=[(10.0, 1.0)]),
        book(110, bids=[(9.0, 1.0), (7.0, 1.0)]),
        book(210),
    )
    canon.send(trade(310))
    canon.progress(500)
    rows = by_time(canon.advance())
    found = {at: (rows[at][BTC]["second_bids"], rows[at][BTC]["bid_depths"]) for at in (100, 200, 300, 400)}
    assert found[100] == (8.5, 11.0)
    assert found[200] == (7.0, 0.0)
    assert np.isnan(found[300][0])
    assert found[300][1] == 0.0
    assert np.isnan(found[400]).all()
