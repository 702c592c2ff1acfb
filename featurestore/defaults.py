"""The features that a deployment has where nobody chose others: one of each kind that forecasts rest on."""

from collections.abc import Iterable

from featurestore.catalogue import Catalogue

DEFAULT_FEATURES = (
    "realised_variance_1m",
    "realised_variance_5m",
    "realised_variance_1h",
    "realised_variance_1d",
    "positive_semivariance_5m",
    "negative_semivariance_5m",
    "realised_quarticity_5m",
    "decayed_variance_5m",
    "seasonal_factor_7d",
    "relative_spread_1m",
    "queue_imbalance_10s",
    "quote_imbalance_flow_1m",
    "bid_depth_25bp_1m",
    "ask_depth_25bp_1m",
    "trade_intensity_1m",
    "net_flow_1m",
    "trade_imbalance_1m",
    "volume_surprise_1h",
    "funding_rate_1m",
    "funding_zscore_7d",
    "open_interest_change_1h",
    "long_liquidations_5m",
    "short_liquidations_5m",
    "price_dispersion_1m",
    "market_volatility_5m",
    "atm_week_volatility_15m",
    "atm_month_volatility_15m",
    "volatility_premium_1d",
)
"""Names for tiles of a second; the choice follows what is known to forecast volatility."""

MARKET_RECORDS = ("trade", "quote")
"""Record types of which there are thousands a second."""


def default_features(catalogue: Catalogue, records: Iterable[str] = ()) -> Catalogue:
    """Return the default features of a catalogue; `records`: those of them that these record types are enough for.

    Raises `FeatureError` where the catalogue has not all of them: it is not one of ticks.
    """
    found, enough = catalogue.subset(DEFAULT_FEATURES), set(records)
    record_of = {spec.name: spec.record for spec in found.tiles}
    behind = {name: {record_of[each] for each in found.lineage(name) if each in record_of} for name in found.versions}
    return found.subset(name for name, needed in behind.items() if needed <= enough) if enough else found
