"""The featurize process of a benchmark: default features in place of the whole catalogue."""

from featurestore.catalogue import Catalogue
from featurestore.defaults import default_features
from streams.faust_app import run_stage
from streams.featurize import FeaturizeStage
from streams.settings import Settings


def featurize() -> None:
    """Run as `foreshock featurize` does, with the default features."""
    settings = Settings.from_environment()
    run_stage(settings, FeaturizeStage(default_features(Catalogue.discover(settings.rules))))
