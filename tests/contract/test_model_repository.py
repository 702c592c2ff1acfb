"""What tritonserver reads is what the tensors' specification and the bundles say."""

import pytest

from triton_models.bundle import read
from triton_models.export import REPOSITORY, render_config, versions

MODELS = ("lstm-bars", "lstm-ticks", "performer-bars", "performer-ticks")


def test_the_repository_holds_both_networks_of_both_profiles():
    assert tuple(sorted(path.name for path in REPOSITORY.iterdir())) == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_the_committed_configuration_is_the_rendered_one(model):
    newest, *_ = versions(REPOSITORY / model)
    spec = read(newest).spec
    assert (REPOSITORY / model / "config.pbtxt").read_text() == render_config(spec)
    assert (spec.name, spec.version) == (model, newest.name)
    for version in versions(REPOSITORY / model):
        assert read(version).spec.version == version.name
        assert (version / "model.py").exists()
