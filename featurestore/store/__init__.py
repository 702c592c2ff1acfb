"""The offline store: Delta tables of rows, tiles, forecasts, scores and events, and reads as of what was known."""

from featurestore.store.location import Store
from featurestore.store.reads import events, point_in_time
from featurestore.store.training import Manifest, rebuild, training_set
from featurestore.store.writing import TableWriter

__all__ = ["Manifest", "Store", "TableWriter", "events", "point_in_time", "rebuild", "training_set"]
