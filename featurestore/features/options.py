"""Implied volatility of an asset's options at four points: at the money in 7 and 30 days, 25-delta wings in 30 days.

At the money, a point is the value at its maturity of a line, total variance over maturity, fitted by
weighted least squares to all summaries of the window. It is known where expiries lie on both sides
of it, or their mean within a tenth of it: a line says nothing beyond what was told. Wings are weighted
means of strikes on both sides, told against each other and against such a mean at the money. Weights
fall with the distance in log maturity and in d1, the moneyness that a delta stands for (0 at the
money, -0.67 for a 25-delta call). Between two expiries that is the usual interpolation in total
variance, and one event more or less moves it little: venues tell option by option, never the whole
smile at once.
"""

import numpy as np

from featurestore import feature, tile
from schemas import Option

DAY_NS = 86_400e9
YEAR_DAYS = 365.0
CALL_25, PUT_25 = -0.6744897501960817, 0.6744897501960817
"""d1 at which Black's delta of a call is 1/4, and that of a put -1/4."""
D1_WIDTH = 0.3
MATURITY_WIDTH, FURTHEST = 0.4, 1.0
"""Deviation and limit of the weights in log maturity."""
FLAT = 1e-4
"""Variance of maturity over the target's, below which there is no slope to fit."""
NEAR = 0.1
"""Distance of the mean maturity over the target, up to which expiries on one side of it are enough."""


def summands(option, point, days):
    """Weight k of each option, k u, k u^2, k w, k u w, k v, d1 less the point.

    u is the maturity and w the variance, relative to the target's, v the volatility.
    `option`: strike, price of the underlying, volatility, expiry, time.
    """
    strike, underlying_price, volatility, expiry_ns, time_ns = option
    maturity = np.maximum((expiry_ns - time_ns) / DAY_NS, 0)
    deviation = volatility * np.sqrt(maturity / YEAR_DAYS)
    d1 = np.log(underlying_price / strike) / deviation + deviation / 2
    far = np.log(maturity / days)
    weight = np.exp(-np.square(far / MATURITY_WIDTH) / 2) * np.maximum(1 - np.abs(d1 - point) / D1_WIDTH, 0)
    counted = np.isfinite(weight) & (weight > 0) & (np.abs(far) < FURTHEST)
    weight, excess = np.where(counted, weight, 0.0), np.where(counted, maturity / days - 1, 0.0)
    variance = np.where(counted, np.square(volatility) * maturity / days, 0.0)
    summed = np.where(counted, volatility, 0.0) * weight
    return (
        *(weight, weight * excess, weight * excess * excess, weight * variance, weight * excess * variance),
        *(summed, np.where(counted, d1 - point, 0.0)),
    )


@tile(Option, combine="sum")
def week_weight(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights (at the money, 7 days), in weight."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 7)[0].sum()


@tile(Option, combine="sum")
def week_earlier(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times relative maturity of earlier expiries (at the money, 7 days), in weight."""
    return np.maximum(
        -summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 7)[1], 0
    ).sum()


@tile(Option, combine="sum")
def week_later(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times relative maturity of later expiries (at the money, 7 days), in weight."""
    return np.maximum(
        summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 7)[1], 0
    ).sum()


@tile(Option, combine="sum")
def week_square(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times squared relative maturity (at the money, 7 days), in weight."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 7)[2].sum()


@tile(Option, combine="sum")
def week_variance(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times variance (at the money, 7 days), in squared volatility."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 7)[3].sum()


@tile(Option, combine="sum")
def week_cross(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times variance times relative maturity (at the money, 7 days), in squared volatility."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 7)[4].sum()


@tile(Option, combine="sum")
def month_weight(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights (at the money, 30 days), in weight."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[0].sum()


@tile(Option, combine="sum")
def month_earlier(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times relative maturity of earlier expiries (at the money, 30 days), in weight."""
    return np.maximum(
        -summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[1], 0
    ).sum()


@tile(Option, combine="sum")
def month_later(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times relative maturity of later expiries (at the money, 30 days), in weight."""
    return np.maximum(
        summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[1], 0
    ).sum()


@tile(Option, combine="sum")
def month_square(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times squared relative maturity (at the money, 30 days), in weight."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[2].sum()


@tile(Option, combine="sum")
def month_variance(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times variance (at the money, 30 days), in squared volatility."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[3].sum()


@tile(Option, combine="sum")
def month_cross(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times variance times relative maturity (at the money, 30 days), in squared volatility."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[4].sum()


@tile(Option, combine="sum")
def month_volatility(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times volatility (at the money, 30 days), in ratio a year."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), 0.0, 30)[5].sum()


@tile(Option, combine="sum")
def call_weight_above(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights of strikes up to that of a 25-delta call's d1 (30 days), in weight."""
    parts = summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), CALL_25, 30)
    return (parts[0] * (parts[6] >= 0)).sum()


@tile(Option, combine="sum")
def call_weight_below(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights of strikes beyond that of a 25-delta call's d1 (30 days), in weight."""
    parts = summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), CALL_25, 30)
    return (parts[0] * (parts[6] < 0)).sum()


@tile(Option, combine="sum")
def call_volatility(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times volatility (25-delta calls, 30 days), in ratio a year."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), CALL_25, 30)[5].sum()


@tile(Option, combine="sum")
def put_weight_above(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights of strikes up to that of a 25-delta put's d1 (30 days), in weight."""
    parts = summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), PUT_25, 30)
    return (parts[0] * (parts[6] >= 0)).sum()


@tile(Option, combine="sum")
def put_weight_below(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights of strikes beyond that of a 25-delta put's d1 (30 days), in weight."""
    parts = summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), PUT_25, 30)
    return (parts[0] * (parts[6] < 0)).sum()


@tile(Option, combine="sum")
def put_volatility(strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns):
    """Sum of weights times volatility (25-delta puts, 30 days), in ratio a year."""
    return summands((strike, underlying_price, mark_volatility, expiry_ns, tile_time_ns), PUT_25, 30)[5].sum()


def volatility_at(*tiles):
    """Volatility at the point of the line through the window's options; NaN where they do not lie around it.

    `tiles`: weight, earlier, later, square, variance, cross.
    """
    weight, earlier, later, square, variance, cross = (each.sum(-1) for each in tiles)
    slope, total = later - earlier, np.where(weight > 0, weight, np.nan)
    mean, spread = slope / total, square / total - np.square(slope / total)
    flat = variance / (weight + slope)
    steep = (square * variance - slope * cross) / (total * total) / np.where(spread > FLAT, spread, np.nan)
    fitted = (earlier > 0) & (later > 0) & (spread > FLAT)
    found = np.where(fitted, steep, np.where(np.abs(mean) <= NEAR, flat, np.nan))
    return np.sqrt(np.where(found > 0, found, np.nan))


@feature(window=["15m", "1h"])
def atm_week_volatility(week_weight, week_earlier, week_later, week_square, week_variance, week_cross):
    """Implied volatility at the money in 7 days (Hoang and Baur 2020), in ratio a year."""
    return volatility_at(week_weight, week_earlier, week_later, week_square, week_variance, week_cross)


@feature(window=["15m", "1h"])
def atm_month_volatility(month_weight, month_earlier, month_later, month_square, month_variance, month_cross):
    """Implied volatility at the money in 30 days (Hoang and Baur 2020), in ratio a year."""
    return volatility_at(month_weight, month_earlier, month_later, month_square, month_variance, month_cross)


@feature(window="1d")
def volatility_premium(
    month_weight, month_earlier, month_later, month_square, month_variance, month_cross, squared_return
):
    """Implied volatility in 30 days less the day's realised (Bollerslev, Tauchen and Zhou 2009), in ratio a year."""
    realised = np.sqrt(YEAR_DAYS * squared_return.sum(-1))
    return volatility_at(month_weight, month_earlier, month_later, month_square, month_variance, month_cross) - realised


@feature(window="1h")
def term_slope(  # noqa: PLR0913, PLR0917 - two points of six sums each
    month_weight,
    month_earlier,
    month_later,
    month_square,
    month_variance,
    month_cross,
    week_weight,
    week_earlier,
    week_later,
    week_square,
    week_variance,
    week_cross,
):
    """Implied volatility at the money in 30 days less that in 7 (Johnson 2017), in ratio a year."""
    month = volatility_at(month_weight, month_earlier, month_later, month_square, month_variance, month_cross)
    return month - volatility_at(week_weight, week_earlier, week_later, week_square, week_variance, week_cross)


def mean_volatility(weight, volatility):
    """Mean volatility of the window's options near a point."""
    total = weight.sum(-1)
    return volatility.sum(-1) / np.where(total > 0, total, np.nan)


def wing_volatility(above, below, volatility):
    """Mean volatility of the window's options near a point; NaN where not on both sides of it."""
    both = (above.sum(-1) > 0) & (below.sum(-1) > 0)
    return np.where(both, mean_volatility(above + below, volatility), np.nan)


@feature(window="1h")
def risk_reversal(
    call_weight_above, call_weight_below, call_volatility, put_weight_above, put_weight_below, put_volatility
):
    """Implied volatility of 25-delta calls less that of puts, near 30 days (Malz 1997), in ratio a year."""
    calls = wing_volatility(call_weight_above, call_weight_below, call_volatility)
    return calls - wing_volatility(put_weight_above, put_weight_below, put_volatility)


@feature(window="1h")
def butterfly(
    call_weight_above,
    call_weight_below,
    call_volatility,
    put_weight_above,
    put_weight_below,
    put_volatility,
    month_weight,
    month_volatility,
):
    """Mean implied volatility of 25-delta wings less at the money, near 30 days (Malz 1997), in ratio a year."""
    calls = wing_volatility(call_weight_above, call_weight_below, call_volatility)
    puts = wing_volatility(put_weight_above, put_weight_below, put_volatility)
    return (calls + puts) / 2 - mean_volatility(month_weight, month_volatility)
