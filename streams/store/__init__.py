"""The offline store's writer: topics to Delta tables."""

from streams.store.process import run_store

__all__ = ["run_store"]
