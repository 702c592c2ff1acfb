"""Raw topics to canonical events: decode, normalise, decide lateness, quarantine."""

from streams.ingest.process import run_ingest

__all__ = ["run_ingest"]
