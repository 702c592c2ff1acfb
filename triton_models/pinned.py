"""The features that a model reads: pinned when it is trained, so that a new feature changes no model."""

from collections.abc import Sequence
from typing import NamedTuple

from featurestore.catalogue import Catalogue
from schemas.rules import PROFILES
from triton_models.evaluation.definitions import NETWORK_FEATURES
from triton_models.terms import BASES, DECAYED

DEFAULTS = {
    "ticks": (
        "realised_variance_1m",
        "realised_variance_5m",
        "realised_variance_15m",
        "decayed_variance_5m",
        "relative_spread_1m",
        "range_variance_5m",
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
    "bars": NETWORK_FEATURES,
}
"""What networks read unless `foreshock train` is told otherwise; what the base reads is pinned beside it."""


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


def features_of(profile: str) -> tuple[str, ...]:
    """Return what is pinned unless told otherwise: what networks read, then what else the base and the average do."""
    return tuple(dict.fromkeys((*DEFAULTS[profile], *BASES[profile].features, *DECAYED[profile])))


def pin(profile: str, features: Sequence[str] = ()) -> Pinned:
    """Pin features of a profile's catalogue, the default ones where none are named.

    Raises:
        FeatureError: where the catalogue has no such feature.
    """
    names = tuple(features) or features_of(profile)
    catalogue = Catalogue.discover(PROFILES[profile])
    modality = [catalogue.feature(name).modality for name in names]
    return Pinned.of(names, modality, catalogue.subset(names).feature_set_id)
