"""Which models a profile has."""

import asyncio
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from featurestore.catalogue import Catalogue
from schemas.errors import StateError
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZON_NS, HORIZONS
from streams.infer import stage
from streams.infer.models import PERSISTENCE, persistence, read_models, require_features
from streams.metrics_server import Metrics
from streams.settings import Settings
from tests.unit.streams.infer.infer_cases import MODELS
from triton_models.export import REPOSITORY
from triton_models.har import window_ns


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_the_repository_serves_both_networks_of_a_profile(profile):
    models = read_models(profile)
    assert [network.name for network in models.networks] == [f"lstm-{profile}", f"performer-{profile}"]
    assert models.horizons == HORIZONS[profile]
    assert [len(network.half_lives) > 0 for network in models.networks] == [False, True]
    canary = models.networks[0].canary
    mean, quantiles = models.base(canary["features"], canary["mask"], canary["origin_time_ns"][:, 0])
    assert np.isfinite(mean).all()
    assert (np.diff(quantiles) > 0).all()


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_without_bundles_or_at_another_row_interval_persistence_is_left(profile, tmp_path):
    assert read_models(profile, tmp_path).har_hash == PERSISTENCE
    assert read_models(profile, row_interval_ns=7 * SECOND_NS).networks == ()


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_persistence_says_that_the_known_rate_of_variance_goes_on(profile):
    models = persistence(profile, SECOND_NS)
    rate_per_ns = 1e-17
    variances = np.array([[[rate_per_ns * window_ns(name) for name in models.har.windows]]], np.float32)
    for known in range(1, len(models.har.windows) + 1):
        mask = np.zeros_like(variances)
        mask[..., :known] = 1
        _, quantiles = models.base(variances, mask, np.zeros(1, np.int64))
        expected = [rate_per_ns * HORIZON_NS[horizon] for horizon in models.horizons]
        np.testing.assert_allclose(quantiles[0, :, 3], expected, rtol=1e-5)


def test_one_network_alone_is_an_error_that_says_what_to_do(tmp_path):
    shutil.copytree(REPOSITORY / "lstm-ticks", tmp_path / "lstm-ticks")
    with pytest.raises(StateError, match=r"performer-ticks: no bundle; `foreshock train` writes both networks"):
        read_models("ticks", tmp_path)


def test_a_damaged_bundle_is_an_error_that_says_what_to_do(tmp_path):
    for kind in ("lstm", "performer"):
        shutil.copytree(REPOSITORY / f"{kind}-ticks", tmp_path / f"{kind}-ticks")
    (tmp_path / "lstm-ticks" / "1" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(StateError, match="restore the bundle or train it anew"):
        read_models("ticks", tmp_path)


CATALOGUE = Catalogue.discover()


def learned_from(names, feature_set_id):
    return MODELS._replace(shape=MODELS.shape._replace(features=names), feature_set_id=feature_set_id)


def test_networks_that_learned_from_another_version_of_a_feature_are_refused():
    names = tuple(CATALOGUE.versions)[:3]
    present = CATALOGUE.subset(names).feature_set_id
    require_features(learned_from(names, present), CATALOGUE)
    expected = (
        f"lstm-ticks, performer-ticks learned from feature set 0123456789ab, the code makes {present}: "
        "train anew with `foreshock train`, or go back to the features or the bundles that fit"
    )
    with pytest.raises(StateError) as error:
        require_features(learned_from(names, "0123456789ab"), CATALOGUE)
    assert str(error.value) == expected


def test_networks_that_need_a_feature_which_is_gone_are_refused():
    with pytest.raises(StateError, match=r"feature 'gone_5m': there is .*; train anew with `foreshock train`"):
        require_features(learned_from(("gone_5m",), "0123456789ab"), CATALOGUE)


def test_without_networks_features_may_be_anything():
    require_features(persistence("ticks", SECOND_NS), Catalogue((), (), ()))


def test_infer_refuses_to_start_with_networks_that_do_not_fit(monkeypatch):
    names = tuple(CATALOGUE.versions)[:3]
    monkeypatch.setattr(stage, "read_models", lambda *_, **__: learned_from(names, "0123456789ab"))
    with pytest.raises(StateError, match="learned from feature set 0123456789ab"):
        asyncio.run(stage.InferStage().started(SimpleNamespace(settings=Settings(), metrics=Metrics())))
