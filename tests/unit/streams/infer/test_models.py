"""Which models a profile has."""

import asyncio
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featurestore.catalogue import Catalogue
from schemas.errors import StateError
from schemas.forecasts import Announcement
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZON_NS, HORIZONS
from streams.infer import stage
from streams.infer.models import PERSISTENCE, misfit, persistence, read_models
from streams.settings import Settings
from tests.unit.streams.infer.infer_cases import MODELS
from triton_models.export import REPOSITORY
from triton_models.har import window_ns
from triton_models.predictor import Batch, Predictor


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


def test_bars_have_a_moving_average_beside_log_har():
    models = read_models("bars")
    canary = models.networks[0].canary
    found = models.baselines(canary["features"], canary["mask"], canary["origin_time_ns"][:, 0])
    assert list(found) == ["har", "ewma"]
    mean, quantiles = found["ewma"]
    assert mean.shape == (*quantiles.shape[:2],) == (len(canary["features"]), 3)
    assert np.isfinite(mean).all()
    assert (np.diff(quantiles) > 0).all()
    nothing = models.baselines(canary["features"], np.zeros_like(canary["mask"]), canary["origin_time_ns"][:, 0])
    assert all(np.isnan(mean).all() for mean, _ in nothing.values())


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


def test_networks_do_not_fit_rows_with_another_version_of_a_feature():
    names = tuple(CATALOGUE.versions)[:3]
    networks = learned_from(names, CATALOGUE.subset(names).feature_set_id)
    assert misfit(networks, CATALOGUE.versions) == ""
    assert misfit(networks, CATALOGUE.versions | {"another_5m": "1-abc"}) == ""
    reason = misfit(networks, CATALOGUE.versions | {names[1]: "2-abc"})
    assert reason.startswith(f"the networks learned from features {networks.feature_set_id}, the rows hold ")


def test_networks_do_not_fit_rows_without_a_feature():
    reason = misfit(learned_from(("gone_5m",), "0123456789ab"), CATALOGUE.versions)
    assert reason == "the rows have no gone_5m, which the networks read: train anew"


def test_without_networks_features_may_be_anything():
    assert misfit(persistence("ticks", SECOND_NS), {}) == ""


@pytest.mark.parametrize(("learned", "asks"), [("0123456789ab", False), ("", True)])
def test_rows_that_the_networks_cannot_read_get_fallbacks_with_the_reason(monkeypatch, learned, asks):
    names = tuple(CATALOGUE.versions)[:3]
    rows = Announcement(border_ns=0, feature_set_id="abcabcabcabc", features=CATALOGUE.versions)
    monkeypatch.setattr(stage, "announcements", lambda _: [rows])
    infer = stage.InferStage()
    infer._outlet = SimpleNamespace(settings=Settings())
    infer._models = learned_from(names, learned or CATALOGUE.subset(names).feature_set_id)
    message = SimpleNamespace(headers={"row_id": b"0@1/rules/abcabcabcabc"})
    asyncio.run(infer._compare(message))
    assert (infer._misfit(infer._models, "abcabcabcabc") == "") is asks


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_a_healthy_network_answers_its_canary(profile):
    torch.set_num_threads(1)
    for network in read_models(profile).networks:
        predictor = Predictor.load(REPOSITORY / network.name / network.version)
        answer = predictor.predict(Batch(*(torch.from_numpy(network.canary[name]) for name in Batch._fields)))
        assert all(np.isfinite(output).all() for output in answer.values()), network.name
