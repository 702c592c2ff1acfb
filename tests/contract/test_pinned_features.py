"""What deployed models learned from is still made by the same code."""

import pytest

from featurestore.catalogue import Catalogue
from schemas import PROFILES
from triton_models.bundle import read
from triton_models.export import REPOSITORY, versions

BUNDLES = [version for model in sorted(REPOSITORY.iterdir()) for version in versions(model)]


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_the_catalogue_makes_every_pinned_feature_as_the_model_learned_it(folder):
    spec = read(folder).spec
    subset = Catalogue.discover(PROFILES[spec.profile]).subset(spec.features)
    assert subset.feature_set_id == spec.feature_set_id, "changed code of a pinned feature: add another one beside it"
