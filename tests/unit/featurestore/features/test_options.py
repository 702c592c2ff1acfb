"""Points of an implied volatility surface against numpy's interpolation and a surface that is known."""

import math

import numpy as np
import pytest

DAY_NS = 86_400 * 10**9
NOW_NS = 1_700_000_000 * 10**9
QUARTER = 0.6744897501960817
"""d1 of 25-delta options, the other way round for calls."""
WEEK = ("week_weight", "week_earlier", "week_later", "week_square", "week_variance", "week_cross")
MONTH = ("month_weight", "month_earlier", "month_later", "month_square", "month_variance", "month_cross")


def option(days, volatility, d1=0.0, price=100.0):
    """Return an option with this d1, by Black's formula turned round."""
    deviation = volatility * math.sqrt(days / 365)
    return {
        "strike": price * math.exp(deviation * deviation / 2 - d1 * deviation),
        "underlying_price": price,
        "mark_volatility": volatility,
        "expiry_ns": float(NOW_NS + days * DAY_NS),
        "tile_time_ns": float(NOW_NS),
    }


@pytest.fixture
def sums(quantities):
    """Return tiles of these options, each an array of one."""

    def of(options, names):
        columns = {name: [each[name] for each in options] for name in options[0]} if options else {}
        empty = {name: np.empty(0) for name in option(1, 1)}
        return [np.array([quantities.tile(name, **(columns or empty))]) for name in names]

    return of


@pytest.mark.parametrize(
    ("name", "tiles", "days", "around"), [("week", WEEK, 7, (5, 12)), ("month", MONTH, 30, (22, 50))]
)
def test_between_two_expiries_it_is_interpolation_in_total_variance(quantities, sums, name, tiles, days, around):
    volatilities = (0.62, 0.51)
    options = [option(each, volatility) for each, volatility in zip(around, volatilities, strict=True)]
    variance = np.interp(days, around, [v * v * each for v, each in zip(volatilities, around, strict=True)])
    for repeats in (1, 3):  # who speaks more often does not pull the line away
        told = options + options[:1] * (repeats - 1)
        found = quantities.feature(f"atm_{name}_volatility_1h", *sums(told, tiles))
        assert found == pytest.approx(math.sqrt(variance / days), rel=1e-9)


def test_one_expiry_at_the_point_counts_as_flat_and_none_as_not_known(quantities, sums):
    assert quantities.feature("atm_month_volatility_1h", *sums([option(28, 0.6)], MONTH)) == pytest.approx(0.6)
    assert np.isnan(quantities.feature("atm_month_volatility_1h", *sums([option(25, 0.6)], MONTH)))
    assert np.isnan(quantities.feature("atm_month_volatility_1h", *sums([], MONTH)))
    assert np.isnan(quantities.feature("atm_month_volatility_1h", *sums([option(300, 0.6)], MONTH)))
    assert np.isnan(quantities.feature("atm_month_volatility_1h", *sums([option(30, 0.6, d1=1.2)], MONTH)))


@pytest.mark.parametrize("days", [(40, 42), (12, 20)])
def test_no_line_is_drawn_beyond_the_expiries_that_were_told(quantities, sums, days):
    told = [option(days[0], 0.60), option(days[1], 0.62)]
    assert np.isnan(quantities.feature("atm_month_volatility_1h", *sums(told, MONTH)))
    found = quantities.feature("atm_month_volatility_1h", *sums([*told, option(31, 0.61), option(29, 0.61)], MONTH))
    assert found == pytest.approx(0.61, abs=0.01)


def test_one_expiry_has_no_term_slope(quantities, sums):
    for days in (7, 14, 30):
        told = [option(days, 0.6)]
        assert np.isnan(quantities.feature("term_slope_1h", *sums(told, MONTH), *sums(told, WEEK)))


WINGS = tuple(f"{side}_{part}" for side in ("call", "put") for part in ("weight_above", "weight_below", "volatility"))


def test_wings_need_strikes_on_both_sides_of_their_points(quantities, sums):
    near = [option(30, 0.6, d1) for d1 in (-QUARTER + 0.1, QUARTER - 0.1, 0.0)]
    assert np.isnan(quantities.feature("risk_reversal_1h", *sums(near, WINGS)))
    middle = sums(near, ("month_weight", "month_volatility"))
    assert np.isnan(quantities.feature("butterfly_1h", *sums(near, WINGS), *middle))
    around = [*near, option(30, 0.6, -QUARTER - 0.1), option(30, 0.7, QUARTER + 0.1)]
    assert quantities.feature("risk_reversal_1h", *sums(around, WINGS)) == pytest.approx(0.6 - 0.65)


def test_what_was_not_told_or_has_expired_does_not_count(quantities, sums):
    good = option(30, 0.6)
    bad = [{**option(30, 0.9), "mark_volatility": np.nan}, {**option(30, 0.9), "underlying_price": np.nan}]
    bad.append({**option(30, 0.9), "expiry_ns": NOW_NS - 1.0})
    assert quantities.feature("atm_month_volatility_1h", *sums([good, *bad], MONTH)) == pytest.approx(0.6)


def surface(days, d1):
    """Volatility of a made-up market: a term structure, a skew and a smile."""
    return 0.5 + 0.1 * math.exp(-days / 20) + 0.03 * d1 + 0.02 * d1 * d1


def test_points_of_a_known_surface_are_found_to_half_a_point(quantities, sums):
    chain = [
        option(days, surface(days, d1), d1)
        for days in (1, 2, 6, 13, 20, 34, 62, 125, 250)
        for d1 in np.arange(-2.5, 2.5, 0.17)
    ]
    month, week = (sums(chain, names) for names in (MONTH, WEEK))
    wings_told = sums(chain, WINGS)
    at_month, at_week = surface(30, 0), surface(7, 0)
    assert quantities.feature("atm_month_volatility_1h", *month) == pytest.approx(at_month, abs=0.005)
    assert quantities.feature("atm_week_volatility_1h", *week) == pytest.approx(at_week, abs=0.005)
    assert quantities.feature("term_slope_1h", *month, *week) == pytest.approx(at_month - at_week, abs=0.005)
    skew = surface(30, -QUARTER) - surface(30, QUARTER)
    assert quantities.feature("risk_reversal_1h", *wings_told) == pytest.approx(skew, abs=0.005)
    wings = (surface(30, -QUARTER) + surface(30, QUARTER)) / 2 - at_month
    middle = sums(chain, ("month_weight", "month_volatility"))
    assert quantities.feature("butterfly_1h", *wings_told, *middle) == pytest.approx(wings, abs=0.005)


def test_the_premium_is_implied_less_realised(quantities, sums):
    month = [np.append(np.zeros(1439), each) for each in sums([option(30, 0.6)], MONTH)]
    squares = np.full(1440, 0.4**2 / 365 / 1440)
    assert quantities.feature("volatility_premium_1d", *month, squares) == pytest.approx(0.6 - 0.4)
