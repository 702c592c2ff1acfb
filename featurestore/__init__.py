"""Quantities: event-time clock, tiles, features, tensors. Pure: no Kafka, clock or randomness."""
