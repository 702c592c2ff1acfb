"""Best quotes, books and the flow at their levels against pandas, numpy, statsmodels and plain loops."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

SECONDS = 20
START_NS = 1_700_000_000 * 10**9


@pytest.fixture(scope="module")
def quotes():
    """Random quotes over twenty seconds, none in the seventh."""
    draw = np.random.default_rng(1)
    times = np.sort(draw.uniform(0, SECONDS, 200))
    times = times[(times < 6) | (times >= 7)]
    middle = 100 + np.cumsum(draw.choice([-0.01, 0, 0, 0.01], len(times)))
    gap = draw.choice([0.01, 0.02], len(times))
    frame = pd.DataFrame({"time": times, "bid_price": middle - gap, "ask_price": middle + gap})
    frame["bid_size"], frame["ask_size"] = draw.integers(1, 9, (2, len(times))).astype(float)
    return frame


def by_column(frame, *names):
    return {name: frame[name].to_numpy() for name in names}


def test_the_time_weighted_spread_is_the_integral_of_what_was_quoted(quantities, quotes, offsets):
    starts = offsets(quotes["time"], SECONDS)
    prices = by_column(quotes, "bid_price", "ask_price")
    times = {"tile_time_ns": START_NS + quotes["time"].to_numpy() * 1e9}
    inner = quantities.tiles("inner_spread_time", starts, **prices, **times)
    first, last = (quantities.tiles(f"{name}_quote_s", starts, **times) for name in ("first", "last"))
    latest = pd.Series(quantities.tiles("last_spread", starts, **prices)).ffill()
    found = quantities.series("spread_time", inner, first, last, latest)
    spread = 2 * (quotes["ask_price"] - quotes["bid_price"]) / (quotes["ask_price"] + quotes["bid_price"])
    for second in range(1, SECONDS):
        edges = np.concatenate([[second], quotes["time"][(quotes["time"] > second) & (quotes["time"] < second + 1)]])
        lengths = np.diff(np.append(edges, second + 1))
        held = [spread[quotes["time"] <= edge].iloc[-1] for edge in edges]
        assert found[second] == pytest.approx((lengths * held).sum(), rel=1e-5)
    assert quantities.feature("time_weighted_spread_10s", found[-10:]) == pytest.approx(found[-10:].mean())


def test_the_size_of_the_order_flow_is_in_mean_depths(quantities):
    bids, asks = np.array([3.0, -2.0, 0.0, 4.0]), np.array([1.0, -5.0, 2.0, 4.0])
    flows = [quantities.series(name, bids, asks) for name in ("absolute_flow", "squared_flow")]
    depth, count = np.array([4.0, 4.0, 0.0, 8.0]), np.array([2.0, 2.0, 0.0, 4.0])
    imbalance = pd.Series(bids - asks)
    assert quantities.feature("absolute_order_flow_1m", flows[0], depth, count) == imbalance.abs().sum() / 2
    assert quantities.feature("squared_order_flow_1m", flows[1], depth, count) == (imbalance**2).sum() / 4


def test_what_comes_and_goes_at_the_best_prices_adds_up_to_the_order_flow(quantities, quotes):
    names = ("bid_price", "bid_size", "ask_price", "ask_size")
    columns = by_column(quotes, *names)
    added, removed = (quantities.tile(f"{name}_size", **columns) for name in ("added", "removed"))
    expected_added = expected_removed = 0.0
    for side, better in (("bid", 1), ("ask", -1)):
        prices, sizes = quotes[f"{side}_price"].to_numpy() * better, quotes[f"{side}_size"].to_numpy()
        for i in range(1, len(prices)):
            if prices[i] > prices[i - 1]:
                expected_added += sizes[i]
            elif prices[i] < prices[i - 1]:
                expected_removed += sizes[i - 1]
            else:
                expected_added += max(sizes[i] - sizes[i - 1], 0)
                expected_removed += max(sizes[i - 1] - sizes[i], 0)
    assert (added, removed) == pytest.approx((expected_added, expected_removed))
    # Cut into seconds, what happens from one to the next counts just the same.
    cuts = [0, 1, 2, 40, 41, 90, len(quotes)]
    told = [quantities.tiles(f"{name}_size", cuts, **columns) for name in ("added", "removed")]
    ends = [
        quantities.tiles(f"{place}_{name}", cuts, **{name: columns[name]})
        for place in ("first", "last")
        for name in names
    ]
    for inside, name, expected in zip(told, ("added", "removed"), (expected_added, expected_removed), strict=True):
        total = quantities.series(f"{name}_total", inside, *ends)
        assert inside[0] + total[1:].sum() == pytest.approx(expected)
        assert inside.sum() < expected - 10
    found = quantities.feature("cancel_add_ratio_5m", [added], [removed], [10.0])
    assert found == pytest.approx((expected_removed - 10) / expected_added)
    assert quantities.feature("cancel_add_ratio_5m", [added], [removed], [removed + 1]) == 0


def test_resilience_finds_the_half_life_of_an_autoregression(quantities):
    draw = np.random.default_rng(2)
    gap = np.zeros(900)
    for i in range(1, 900):
        gap[i] = 0.9 * gap[i - 1] + draw.normal(0, 0.1)
    depth, volume = np.exp(2 + gap), (draw.uniform(size=900) < 0.7).astype(float)
    truth = math.log(0.5) / math.log(0.9)
    for noise in (0.0, 0.15):  # orders that flicker within the second; a slope of gaps on gaps says 1.5 seconds
        seen = depth * np.exp(draw.normal(0, noise, 900))
        found = quantities.feature("resilience_half_life_15m", 0.4 * seen, 0.6 * seen, volume)
        gaps = np.log(seen) - np.log(seen).mean()
        before = np.where(volume[:-2] > 0, gaps[:-2], 0)
        slope = sm.OLS(gaps[2:], gaps[1:-1]).fit().params[0] if noise == 0 else math.nan
        expected = math.log(0.5) / math.log((before * gaps[2:]).sum() / (before * gaps[1:-1]).sum())
        assert found == pytest.approx(expected)
        assert found == pytest.approx(truth, rel=0.4)
        assert noise or found == pytest.approx(math.log(0.5) / math.log(slope), rel=0.3)
    assert np.isnan(quantities.feature("resilience_half_life_15m", depth, depth, 0 * volume))


@pytest.fixture(scope="module")
def book():
    draw = np.random.default_rng(3)
    bids = 100 - np.cumsum(draw.uniform(0.005, 0.1, 10))
    asks = 100 + np.cumsum(draw.uniform(0.005, 0.1, 10))
    return bids, draw.uniform(1, 9, 10), asks, draw.uniform(1, 9, 10)


@pytest.mark.parametrize("basis_points", [5, 25, 100])
def test_depth_behind_the_last_told_level_is_not_known(quantities, book, basis_points):
    bids, bid_sizes, _, ask_sizes = book
    far = bids[9] - 2  # all ten levels are nearer than this ratio of the mid, or a few are there and that is all
    tight = 100 + (bids - 100) * basis_points * 1e-2 / (100 - far)
    assert np.isnan(quantities.field(f"bid_size_{basis_points}bp", tight, bid_sizes, 200 - tight))
    few = quantities.field(f"bid_size_{basis_points}bp", tight[:4], bid_sizes[:4], 200 - tight)
    assert few == pytest.approx(bid_sizes[:4].sum())
    assert np.isnan(quantities.field(f"ask_size_{basis_points}bp", tight, 200 - tight, ask_sizes))


@pytest.mark.parametrize("basis_points", [5, 25, 100])
def test_depth_within_basis_points_is_counted_level_by_level(quantities, book, basis_points):
    bids, bid_sizes, asks, ask_sizes = book
    bids, asks = (np.append(prices[:9], end) for prices, end in ((bids, 98.0), (asks, 102.0)))
    mid = (bids[0] + asks[0]) / 2
    near = mid * basis_points * 1e-4
    expected = sum(size for price, size in zip(bids, bid_sizes, strict=True) if price >= mid - near)
    assert quantities.field(f"bid_size_{basis_points}bp", bids, bid_sizes, asks) == pytest.approx(expected)
    expected = sum(size for price, size in zip(asks, ask_sizes, strict=True) if price <= mid + near)
    assert quantities.field(f"ask_size_{basis_points}bp", bids, asks, ask_sizes) == pytest.approx(expected)


def test_a_book_without_a_side_has_no_depth_and_one_that_is_not_known_has_nothing(quantities, book):
    bids, bid_sizes, *_ = book
    assert np.isnan(quantities.field("bid_size_25bp", bids, bid_sizes, []))
    assert quantities.field("deep_imbalance", bid_sizes, []) == 1
    for name, lists in (("bid_size_25bp", 3), ("deep_imbalance", 2), ("book_slope", 4), ("mean_level_size", 2)):
        assert np.isnan(quantities.field(name, *[[]] * lists))


def test_imbalance_of_the_deep_levels_leaves_the_best_out(quantities, book):
    _, bids, _, asks = book
    expected = (bids[1:].sum() - asks[1:].sum()) / (bids[1:].sum() + asks[1:].sum())
    assert quantities.field("deep_imbalance", bids, asks) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [10, 4])
def test_the_slope_of_the_book_is_that_of_polyfit(quantities, book, levels):
    bids, bid_sizes, asks, ask_sizes = (each[:levels] for each in book)
    mid = (bids[0] + asks[0]) / 2
    slopes = [
        np.polyfit(np.abs(prices - mid) / mid, np.log(np.cumsum(sizes)), 1)[0]
        for prices, sizes in ((bids, bid_sizes), (asks, ask_sizes))
    ]
    found = quantities.field("book_slope", bids, bid_sizes, asks, ask_sizes)
    assert found == pytest.approx(np.mean(slopes) * 1e-4, rel=1e-9)


def test_convexity_is_the_area_above_the_chord(quantities, book):
    bids, bid_sizes, asks, ask_sizes = book
    expected = []
    for prices, sizes in ((bids, bid_sizes), (asks, ask_sizes)):
        far, grown = np.abs(prices - prices[0]), np.cumsum(sizes)
        heights = (grown - grown[0]) / (grown[-1] - grown[0])
        expected.append(2 * np.trapezoid(heights, far / far[-1]) - 1)
    found = quantities.field("book_bulge", bids, bid_sizes, asks, ask_sizes)
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_a_book_of_even_levels_is_straight_and_one_that_is_full_at_once_is_convex(quantities):
    bids, asks = 100 - 0.01 * np.arange(1, 11), 100 + 0.01 * np.arange(1, 11)
    assert quantities.field("book_bulge", bids, np.ones(10), asks, np.ones(10)) == pytest.approx(0, abs=1e-9)
    early = [1, 9, *[1e-9] * 8]
    assert quantities.field("book_bulge", bids, early, asks, early) > 0.8


def level_flows(books, level):
    """Cont, Kukanov and Stoikov (2014), equation 3, at one level of books in a row."""
    total = []
    for before, after in pairwise(books):
        (p_bid, q_bid, p_ask, q_ask), (bid, bid_size, ask, ask_size) = (
            tuple(side[level] for side in each) for each in (before, after)
        )
        flow = bid_size * (bid >= p_bid) - q_bid * (bid <= p_bid) - ask_size * (ask <= p_ask) + q_ask * (ask >= p_ask)
        total.append(flow)
    return np.array(total)


@pytest.fixture(scope="module")
def many_books():
    draw = np.random.default_rng(4)
    middles = 100 + 0.01 * np.cumsum(draw.choice([-1, 0, 1], 61))
    ticks = 0.01 * np.arange(1, 11)
    return [
        (middle - ticks, draw.integers(1, 9, 10).astype(float), middle + ticks, draw.integers(1, 9, 10).astype(float))
        for middle in middles
    ]


@pytest.fixture(scope="module")
def flow_inputs(quantities, many_books):
    flows = [
        quantities.series(f"flow_at_{level + 1}", *[[book[part][level] for book in many_books] for part in range(4)])
        for level in range(5)
    ]
    size = [quantities.field("mean_level_size", bids, asks) for _, bids, _, asks in many_books]
    return [np.array(each[1:]) for each in (*flows, size)]


def test_flow_of_levels_is_scaled_by_their_mean_size(quantities, many_books, flow_inputs):
    flows = np.array([level_flows(many_books, level) for level in range(5)])
    size = np.mean([(bids[:5] + asks[:5]).mean() / 2 for _, bids, _, asks in many_books[1:]])
    expected = flows.sum(1).mean() / size
    assert quantities.feature("multilevel_order_flow_1m", *flow_inputs) == pytest.approx(expected)


def test_integrated_flow_is_the_first_principal_component_of_numpy(quantities, many_books, flow_inputs):
    flows = np.array([level_flows(many_books, level) for level in range(5)])
    size = np.mean([(bids[:5] + asks[:5]).mean() / 2 for _, bids, _, asks in many_books[1:]])
    weights = np.linalg.eigh(np.cov(flows))[1][:, -1]
    weights *= np.sign(weights.sum()) / np.abs(weights).sum()
    expected = weights @ flows.sum(1) / size
    assert quantities.feature("integrated_order_flow_1m", *flow_inputs) == pytest.approx(expected, rel=1e-6)


def test_flow_of_a_book_that_was_never_known_is_not_known(quantities, flow_inputs):
    unknown = [np.full(60, np.nan) for _ in flow_inputs]
    for name in ("multilevel_order_flow_1m", "integrated_order_flow_1m"):
        assert np.isnan(quantities.feature(name, *unknown))
