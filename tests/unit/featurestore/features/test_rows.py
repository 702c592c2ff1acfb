"""Features over several venues, options and books in rows of the real engine; what silence and gaps do to them."""

import math

import numpy as np
import pandas as pd
import pytest
from canonical import T0, event
from world import MS

SECOND = 1000
ALPHA, BETA, GAMMA = "alpha:BTC-USDT", "beta:BTC-USD", "gamma:BTC-USDC-PERP"


def quote(at_ms, middle, instrument=ALPHA, gap=0.01):
    venue = instrument.partition(":")[0]
    return event(
        "quote", at_ms, instrument=instrument, venue=venue, bid_price=middle - gap, ask_price=middle + gap, ask_size=1.0
    )


def paths(seconds, names, seed=1):
    """Return random mids, a column for each instrument and a row for each second."""
    draw = np.random.default_rng(seed)
    common = np.cumsum(draw.normal(0, 1e-4, seconds))
    each = {name: 100 * np.exp(common + draw.normal(0, 1e-4, seconds)) for name in names}
    return pd.DataFrame(each)


def quoted(frame, at=0.5):
    return [quote(SECOND * (second + at), row[name], name) for second, row in frame.iterrows() for name in frame]


def test_dispersion_is_the_deviation_over_venues_quoted_in_dollars(run):
    frame = paths(70, [ALPHA, BETA, GAMMA])
    euros, dated = frame[ALPHA] * 0.9, frame[ALPHA] * 1.05
    told = frame.assign(**{"delta:BTC-EUR": euros, "delta:BTC-USD-250627": dated})
    rows = run(["price_dispersion_1m"], [quoted(told)], 71 * SECOND)
    variance = np.log(frame).var(axis=1, ddof=0)
    expected = math.sqrt(variance.iloc[10:70].mean())
    for name in told:
        assert rows[70 * SECOND][name]["price_dispersion_1m"] == pytest.approx(expected, rel=1e-6)


def test_one_venue_disagrees_with_nobody(run):
    rows = run(["price_dispersion_1m"], [quoted(paths(70, [ALPHA]))], 71 * SECOND)
    assert np.isnan(rows[70 * SECOND][ALPHA]["price_dispersion_1m"])


def test_a_venue_that_falls_silent_leaves_the_dispersion_within_seconds(run):
    #   0 .. 59 s: ALPHA 100, BETA 101   60 .. s: ALPHA alone, BETA still listed
    frame = pd.DataFrame({ALPHA: np.full(200, 100.0)})
    dead = pd.DataFrame({BETA: np.full(60, 101.0)})
    rows = run(
        ["price_dispersion_1m"], [sorted([*quoted(dead), *quoted(frame)], key=lambda each: each[0])], 200 * SECOND
    )
    assert rows[60 * SECOND][ALPHA]["price_dispersion_1m"] == pytest.approx(math.log(1.01) / 2)
    assert rows[95 * SECOND][ALPHA]["price_dispersion_1m"] == pytest.approx(math.log(1.01) / 2)
    assert np.isnan(rows[105 * SECOND][ALPHA]["price_dispersion_1m"])


def test_who_follows_the_others_has_a_slope(run):
    draw = np.random.default_rng(3)
    steps = draw.normal(0, 1e-3, 320)
    leader = 100 * np.exp(np.cumsum(steps))
    follower = 100 * np.exp(np.cumsum(np.concatenate([[0], 0.6 * steps[:-1]])))
    frame = pd.DataFrame({ALPHA: follower, BETA: leader})
    rows = run(["lead_lag_beta_5m"], [quoted(frame)], 321 * SECOND)
    changes = np.log(frame).diff().iloc[20:320]
    before, after = changes[BETA].iloc[:-1].to_numpy(), changes[ALPHA].iloc[1:].to_numpy()
    assert rows[320 * SECOND][ALPHA]["lead_lag_beta_5m"] == pytest.approx(
        np.cov(before, after)[0, 1] / np.var(before, ddof=1)
    )
    assert rows[320 * SECOND][ALPHA]["lead_lag_beta_5m"] == pytest.approx(0.6, abs=1e-6)
    assert abs(rows[320 * SECOND][BETA]["lead_lag_beta_5m"]) < 0.2
    assert np.isnan(rows[250 * SECOND][ALPHA]["lead_lag_beta_5m"])


def test_funding_over_venues(run):
    told = [
        event("derivative", SECOND * second, instrument=name, venue=name.partition(":")[0], funding_rate=rate)
        for second in range(70)
        for name, rate in (
            ("binance:BTC-USDT-PERP", 1e-4),
            ("kraken-futures:BTC-USD-PERP", 3e-4 / 8),  # of an hour; the others' is of eight
            ("alpha:BTC-USDT-PERP", 5e-3),  # of how many hours nobody knows
            ("binance:SOL-USDT-PERP", 1e-4),
            ("bybit:SOL-USDT-PERP", 5e-4),
        )
    ]
    rows = run(["funding_dispersion_1m"], [told], 71 * SECOND)
    assert rows[70 * SECOND]["binance:BTC-USDT-PERP"]["funding_dispersion_1m"] == pytest.approx(1e-4)
    assert np.isnan(rows[70 * SECOND]["binance:SOL-USDT-PERP"]["funding_dispersion_1m"])


def test_bitcoin_volatility_is_there_for_every_asset(run):
    frame = paths(400, [ALPHA, "alpha:SOL-USDT"], seed=4)
    rows = run(["bitcoin_volatility_5m"], [quoted(frame)], 401 * SECOND)
    squares = np.log(frame[ALPHA]).diff() ** 2
    # Market series are known up to the row before.
    expected = np.log(squares.rolling(60).sum()).iloc[99:399].mean()
    for name in frame:
        assert rows[400 * SECOND][name]["bitcoin_volatility_5m"] == pytest.approx(expected, rel=1e-9)


def some_option(at_ms, days, volatility):
    return event(
        "option",
        at_ms,
        instrument=f"gamma:BTC-USD-{days}-100-C",
        venue="gamma",
        strike=100.0 * math.exp(volatility * volatility * days / 365 / 2),
        expiry_ns=T0 + days * 86_400_000 * MS,
        kind="call",
        mark_volatility=volatility,
        underlying_price=100.0,
    )


def test_options_are_events_of_their_asset_and_list_nothing(run):
    options = [
        some_option(SECOND * second, days, v) for second in range(0, 900, 30) for days, v in ((20, 0.5), (40, 0.6))
    ]
    frame = paths(910, [ALPHA, "alpha:SOL-USDT"])
    rows = run(["atm_month_volatility_15m"], [quoted(frame), options], 910 * SECOND)
    assert set(rows[900 * SECOND]) == {ALPHA, "alpha:SOL-USDT"}
    expected = math.sqrt(np.interp(30, [20, 40], [0.5**2 * 20, 0.6**2 * 40]) / 30)
    assert rows[905 * SECOND][ALPHA]["atm_month_volatility_15m"] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(rows[905 * SECOND]["alpha:SOL-USDT"]["atm_month_volatility_15m"])


def test_two_options_of_one_venue_with_one_number_are_two_events(run):
    told = [some_option(SECOND, 20, 0.5)[1], some_option(SECOND, 40, 0.6)[1]]
    numbered = [(T0 + 1000 * MS, type(each)(**{**as_fields(each), "sequence": 7})) for each in told]
    twice = [*numbered, *numbered]
    frame = paths(910, [ALPHA])
    rows = run(["atm_month_volatility_15m"], [quoted(frame), twice], 910 * SECOND)
    expected = math.sqrt(np.interp(30, [20, 40], [0.5**2 * 20, 0.6**2 * 40]) / 30)
    assert rows[901 * SECOND][ALPHA]["atm_month_volatility_15m"] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(rows[900 * SECOND][ALPHA]["atm_month_volatility_15m"])


def as_fields(each):
    return {name: getattr(each, name) for name in each.__struct_fields__}


def book(at_ms, sizes, instrument=ALPHA):
    bids = [100 - 0.01 * (level + 1) for level in range(len(sizes))]
    asks = [100 + 0.01 * (level + 1) for level in range(len(sizes))]
    lists = {"bid_prices": bids, "bid_sizes": sizes, "ask_prices": asks, "ask_sizes": sizes}
    return event("depth", at_ms, instrument=instrument, **lists)


def test_depth_is_a_mean_over_time_and_stops_where_the_book_is_not_known(run):
    #   0 .. 29 s: 1 at each level   30 s: 3   90 s: not known   200 s: 2
    told = [book(0, [1.0] * 10), book(30 * SECOND, [3.0] * 10), book(90 * SECOND, []), book(200 * SECOND, [2.0] * 10)]
    rows = run(["bid_depth_5bp_1m", "depth_imbalance_1m", "book_convexity_1m"], [told], 240 * SECOND)
    at = {second: rows[second * SECOND][ALPHA] for second in (30, 60, 90, 120, 152, 230)}
    assert at[60]["bid_depth_5bp_1m"] == pytest.approx(5 * (30 * 1 + 30 * 3) / 60)
    assert at[90]["bid_depth_5bp_1m"] == pytest.approx(5 * 3)
    assert at[120]["bid_depth_5bp_1m"] == pytest.approx(5 * 3)
    assert np.isnan(at[152]["bid_depth_5bp_1m"])
    assert at[230]["bid_depth_5bp_1m"] == pytest.approx(5 * 2)
    assert at[60]["depth_imbalance_1m"] == 0
    assert at[60]["book_convexity_1m"] == pytest.approx(0, abs=1e-9)


def test_features_are_masked_while_their_window_is_not_filled_and_after_silence(run):
    names = ["time_weighted_spread_1m", "squared_order_flow_1m", "roll_spread_15m", "minutes_to_funding_1m"]
    frame = paths(100, [ALPHA])
    rows = run(
        names,
        [quoted(frame), [event("trade", 500 * n, price=100.0, instrument=ALPHA) for n in range(180)]],
        400 * SECOND,
    )
    early, filled, silent = (rows[second * SECOND][ALPHA] for second in (30, 90, 300))
    assert np.isnan(early["time_weighted_spread_1m"])
    assert filled["time_weighted_spread_1m"] == pytest.approx(2e-4, rel=1e-2)
    assert not np.isnan(filled["squared_order_flow_1m"])
    for name in names:
        assert np.isnan(silent[name])
    assert np.isnan(filled["roll_spread_15m"])
    assert np.isnan(filled["minutes_to_funding_1m"])
