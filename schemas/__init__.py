"""Nouns: every record, topic, tensor and metric, once; bytes to record and back."""

from schemas.errors import (
    DecodeError,
    FeatureError,
    ForeshockError,
    InferenceError,
    SettingsError,
    StackError,
    StateError,
)
from schemas.events import (
    EVENTS,
    Bar,
    Depth,
    Derivative,
    Event,
    Flow,
    LeftOut,
    Liquidation,
    Option,
    Quote,
    Score,
    Trade,
)
from schemas.instruments import base_asset, partition_of, venue_of
from schemas.rules import BARS, PROFILES, TICKS, Rules

__all__ = [
    "BARS",
    "EVENTS",
    "PROFILES",
    "TICKS",
    "Bar",
    "DecodeError",
    "Depth",
    "Derivative",
    "Event",
    "FeatureError",
    "Flow",
    "ForeshockError",
    "InferenceError",
    "LeftOut",
    "Liquidation",
    "Option",
    "Quote",
    "Rules",
    "Score",
    "SettingsError",
    "StackError",
    "StateError",
    "Trade",
    "base_asset",
    "partition_of",
    "venue_of",
]
