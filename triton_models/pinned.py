"""The features that a model reads: pinned when it is trained, so that a new feature changes no model."""

from collections.abc import Sequence
from typing import NamedTuple

from featurestore.catalogue import Catalogue
from schemas.rules import PROFILES

DEFAULTS = {
    "ticks": (
        "realised_variance_1m",
        "realised_variance_5m",
        "realised_variance_15m",
        "realised_variance_1h",
        "realised_variance_6h",
        "realised_variance_1d",
        "negative_semivariance_5m",
        "decayed_variance_5m",
        "signed_return_5m",
        "relative_spread_1m",
        "range_variance_5m",
        "trade_size_dispersion_5m",
        "volume_surprise_1h",
        "market_volatility_5m",
        "market_volatility_15m",
        "fresh_exchange_inflow_1m",
        "fresh_exchange_inflow_10m",
        "fresh_issuance_1m",
        "fresh_issuance_10m",
        "bad_news_1m",
        "bad_news_10m",
        "good_news_1m",
        "good_news_10m",
        "market_bad_news_1m",
        "market_bad_news_10m",
        "market_good_news_1m",
        "market_good_news_10m",
    ),
    "bars": (
        "bar_realised_variance_5m",
        "bar_realised_variance_1h",
        "bar_realised_variance_6h",
        "bar_realised_variance_1d",
        "bar_realised_variance_7d",
        "bar_negative_semivariance_1h",
        "bar_negative_semivariance_1d",
        "bar_signed_return_1h",
        "bar_range_variance_1h",
        "bar_volume_surprise_1d",
        "market_bar_volatility_1h",
        "hour_sine",
        "hour_cosine",
        "weekday_sine",
        "weekday_cosine",
    ),
}
"""What `foreshock train` pins unless it is told otherwise."""


class Pinned(NamedTuple):
    """Features in the order that a model reads them, and their modalities."""

    features: tuple[str, ...]
    modalities: tuple[str, ...]
    modality_of: tuple[int, ...]
    """Per feature, the index of its modality."""
    feature_set_id: str
    """Names these features and their versions."""

    @classmethod
    def of(cls, features: Sequence[str], modality: Sequence[str], feature_set_id: str = "") -> "Pinned":
        """Pin features with their modalities by name.

        >>> Pinned.of(["relative_spread_1m", "hour_sine"], ["quote", "clock"]).modality_of
        (1, 0)
        """
        modalities = tuple(sorted(set(modality)))
        index = tuple(modalities.index(name) for name in modality)
        return cls(tuple(features), modalities, index, feature_set_id)


def pin(profile: str, features: Sequence[str] = ()) -> Pinned:
    """Pin features of a profile's catalogue, the default ones where none are named.

    Raises:
        FeatureError: where the catalogue has no such feature.
    """
    names = tuple(features) or DEFAULTS[profile]
    catalogue = Catalogue.discover(PROFILES[profile])
    modality = [catalogue.feature(name).modality for name in names]
    return Pinned.of(names, modality, catalogue.subset(names).feature_set_id)
