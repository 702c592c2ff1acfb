"""Events to feature rows, on Faust: `stage.py` is the glue around `featurestore.engine`."""

from streams.featurize.stage import FeaturizeStage

__all__ = ["FeaturizeStage"]
