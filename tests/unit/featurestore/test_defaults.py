import pytest

from featurestore.catalogue import Catalogue
from featurestore.defaults import DEFAULT_FEATURES, MARKET_RECORDS, default_features
from schemas import BARS, FeatureError


def test_the_default_features_are_there_and_need_only_their_own_tiles():
    catalogue = Catalogue.discover()
    found = default_features(catalogue)
    assert sorted(found.versions) == sorted(DEFAULT_FEATURES)
    assert found.versions.items() <= catalogue.versions.items()
    assert len(found.tiles) < len(catalogue.tiles)


def test_those_of_trades_and_quotes_need_nothing_else():
    found = default_features(Catalogue.discover(), MARKET_RECORDS)
    assert {spec.record for spec in found.tiles} == set(MARKET_RECORDS)
    assert {
        "realised_variance_5m",
        "net_flow_1m",
        "queue_imbalance_10s",
        "market_volatility_5m",
    } <= found.versions.keys()
    assert "funding_rate_1m" not in found.versions


def test_bars_have_other_features():
    with pytest.raises(FeatureError, match="feature '"):
        default_features(Catalogue.discover(BARS))
