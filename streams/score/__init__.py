"""Forecasts against what then happened: pure logic in `scorer.py`, run by the stage in `stage.py`."""

from streams.score.stage import ScoreStage

__all__ = ["ScoreStage"]
