"""What is fixed before anything is compared: proxy, floors, origins, refits, windows of correction.

A definition changed after a look at results is a way to win by choosing; so they are constants, and
each report repeats them.
"""

from schemas.rules import BARS, DAY_NS, HOUR_NS, MINUTE_NS
from schemas.tensors import HORIZON_NS, HORIZONS

INTERVAL_NS = BARS.row_interval_ns
"""Rows are so far apart."""
BARS_AHEAD = {horizon: HORIZON_NS[horizon] // INTERVAL_NS for horizon in HORIZONS["bars"]}
PROXY = {
    "5m": "Garman-Klass of the next bar",
    "1h": "sum of the squared 5-minute returns of the next hour",
    "1d": "sum of the squared 5-minute returns of the next day",
}
"""Squared returns are too noisy an account of a single bar: a ratio of .85 became one of .95."""
TARGET_FEATURE = {horizon: f"bar_realised_variance_{horizon}" for horizon in HORIZONS["bars"]}
"""The feature that, one horizon later, is the proxy."""
FLOOR_RATIO = 0.002
"""Variances count as at least this part of the mean of the seven days before the origin."""
KNOWN_RATIO = 0.95
"""A target is known only where so many of its bars are: a gap is no calm."""
ORIGIN_STEP_NS = {"5m": 5 * MINUTE_NS, "1h": 15 * MINUTE_NS, "1d": HOUR_NS}
"""Origins that are fitted on and scored: those of a day ahead overlap so much that more say nothing.
An instrument has none before its first week is known."""
HAC_LAGS = {"5m": 36, "1h": 36, "1d": 48}
"""Lags, in origins, of the long-run variance of differences in loss: three hours, nine hours, two days."""
EMBARGO_NS = DAY_NS
"""Between the last target that is learned from and the first forecast: time to fit and to check."""
HALF_LIFE_NS = 90 * DAY_NS
"""Age at which an example counts half in a fit."""
CORRECTION_NS = 60 * DAY_NS
"""Residuals of so long before the fit correct the mean and give the quantiles, half coin, half pool."""
WARM_UP_NS = 60 * DAY_NS
"""Before the evaluation, weights and calibration learn online for so long; it is not scored."""
LEAST_TRAINING_NS = 30 * DAY_NS
"""A week to fill the windows, and weeks to learn hours of the week from."""
QLIKE_HORIZONS = ("1m", "5m")
"""Where the strong log-HAR is fitted by QLIKE: with so many rows it pays, with few it follows their peaks."""
CLIP_RATIO = 10.0
"""In fitting, a target counts as at most so many times its forecast; in scoring, as what it is."""
FEATURES = (
    "bar_decayed_variance_1d",
    "bar_decayed_variance_1h",
    "bar_decayed_variance_4d",
    "bar_decayed_variance_6h",
    "bar_decayed_variance_7d",
    "bar_garman_klass_variance_10m",
    "bar_garman_klass_variance_12h",
    "bar_garman_klass_variance_15m",
    "bar_garman_klass_variance_1d",
    "bar_garman_klass_variance_1h",
    "bar_garman_klass_variance_2d",
    "bar_garman_klass_variance_2h",
    "bar_garman_klass_variance_30m",
    "bar_garman_klass_variance_4d",
    "bar_garman_klass_variance_4h",
    "bar_garman_klass_variance_5m",
    "bar_garman_klass_variance_7d",
    "bar_garman_klass_variance_8h",
    "bar_negative_semivariance_1d",
    "bar_negative_semivariance_1h",
    "bar_range_variance_1d",
    "bar_range_variance_1h",
    "bar_realised_quarticity_1d",
    "bar_realised_variance_1d",
    "bar_realised_variance_1h",
    "bar_realised_variance_5m",
    "bar_realised_variance_6h",
    "bar_realised_variance_7d",
    "bar_signed_return_1d",
    "bar_signed_return_1h",
    "bar_signed_return_5m",
    "bar_traded_volume_1d",
    "bar_traded_volume_1h",
    "bar_traded_volume_5m",
    "bar_traded_volume_7d",
    "bar_volume_surprise_1d",
    "hour_cosine",
    "hour_sine",
    "market_bar_volatility_1d",
    "market_bar_volatility_1h",
    "market_bar_volatility_5d",
    "weekday_cosine",
    "weekday_sine",
)
"""What rows are backfilled with: a new feature changes no evaluation."""
NETWORK_FEATURES = tuple(
    name
    for name in FEATURES
    if not name.startswith(("bar_decayed_", "bar_garman_klass_"))
    and name not in {"bar_traded_volume_7d", "market_bar_volatility_1d", "market_bar_volatility_5d"}
)
"""What networks read of them: means over many windows are the base's affair."""
