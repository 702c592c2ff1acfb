"""Quantities: event-time clock, tiles, features, tensors. Pure: no Kafka, clock or randomness."""

from featurestore.authoring import asset, feature, field, market, tile

__all__ = ["asset", "feature", "field", "market", "tile"]
