"""Rows to forecasts: pure logic in `forecaster.py`, run by the stage in `stage.py`."""

from streams.infer.stage import InferStage

__all__ = ["InferStage"]
