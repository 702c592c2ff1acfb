"""Which models a profile has."""

import shutil

import numpy as np
import pytest

from schemas.errors import StateError
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZON_NS, HORIZONS
from streams.infer.models import PERSISTENCE, persistence, read_models
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
