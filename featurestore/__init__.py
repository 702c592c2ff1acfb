"""Quantities: event-time clock, tiles, features, tensors. Pure: no Kafka, clock or randomness."""

from featurestore.authoring import feature, field, market, tile

__all__ = ["feature", "field", "market", "tile"]
