"""Quantities: event-time clock, tiles, features, tensors. Pure: no Kafka, clock or randomness."""

from featurestore.authoring import feature, market, tile

__all__ = ["feature", "market", "tile"]
