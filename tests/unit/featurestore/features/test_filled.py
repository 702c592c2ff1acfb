"""What a feature says while little of its window is known: nothing."""

import numpy as np
import pytest

from featurestore.catalogue import Catalogue
from featurestore.checks import Checks
from featurestore.specs import BORDER_S
from schemas import PROFILES
from triton_models.bundle import read
from triton_models.export import REPOSITORY, versions

LAST_TOLD = {
    "settled_funding": "the rate of the last funding time, however short the log before it",
    "minutes_since_post": "the age of the last post, which is known once there was one",
    "funding_rate": "the rate that was told last",
    "minutes_to_funding": "the time that was told last",
}
"""Quantities that mean what was told last, which a window that is not filled does not change."""

CATALOGUES = {name: Catalogue.discover(rules) for name, rules in PROFILES.items()}
CHECKS = {name: Checks(CATALOGUES[name], rules) for name, rules in PROFILES.items()}
PINNED = {
    (bundle.spec.profile, CATALOGUES[bundle.spec.profile].feature(name).quantity)
    for model in sorted(REPOSITORY.iterdir())
    for bundle in [read(versions(model)[0])]
    for name in bundle.spec.features
}
"""Quantities whose code the deployed models were trained with."""

SHORT = 10
CASES = [
    (profile, spec)
    for profile, catalogue in CATALOGUES.items()
    for spec in catalogue.features
    if spec.inputs != (BORDER_S,) and spec.quantity not in LAST_TOLD and (profile, spec.quantity) not in PINNED
]


@pytest.mark.parametrize(("profile", "spec"), CASES, ids=[f"{profile}-{spec.name}" for profile, spec in CASES])
def test_a_tenth_of_a_window_is_not_the_window(profile, spec):
    windows = CHECKS[profile].windows(spec, "busy")
    tiles = windows[0].shape[-1]
    known = tiles // 10
    if tiles >= SHORT:
        for name, window in zip(spec.inputs, windows, strict=True):
            if name != BORDER_S:
                window[..., : tiles - known] = np.nan
        assert np.isnan(spec.function(*windows)).all()


def test_market_means_wait_for_half_of_their_window():
    spec = CATALOGUES["ticks"].feature("bitcoin_volatility_5m")
    for known, expected in ((30, np.nan), (149, np.nan), (150, -17.0), (300, -17.0)):
        window = np.full((1, 300), np.nan)
        window[:, 300 - known :] = -17.0
        assert spec.function(window) == pytest.approx(expected, nan_ok=True)


def test_what_means_the_last_that_was_told_is_there():
    quantities = {spec.quantity for catalogue in CATALOGUES.values() for spec in catalogue.features}
    assert quantities >= LAST_TOLD.keys()


@pytest.mark.parametrize("name", ["multilevel_order_flow_1m", "integrated_order_flow_1m"])
def test_flow_of_levels_is_the_same_whether_a_part_of_the_minute_is_known_or_all(quantities, name):
    flows, size = [np.full(60, 2.0 + 0.1 * np.sin(level)) for level in range(5)], np.full(60, 4.0)
    flows = [each + 0.01 * np.sin(np.arange(60)) for each in flows]
    whole = quantities.feature(name, *flows, size)
    for place, expected in ((20, whole), (50, np.nan)):
        part = [np.where(np.arange(60) < place, np.nan, each) for each in (*flows, size)]
        assert quantities.feature(name, *part) == pytest.approx(expected, rel=0.02, nan_ok=True)


def test_volatility_of_volatility_waits_for_its_hour_and_for_minutes_that_move(quantities):
    draw = np.random.default_rng(1)
    squares = draw.exponential(size=60)
    expected = np.log(squares).std()
    assert quantities.feature("volatility_of_volatility_1h", squares) == pytest.approx(expected)
    assert np.isnan(quantities.feature("volatility_of_volatility_1h", np.append(np.full(59, np.nan), 1e-8)))
    assert np.isnan(quantities.feature("volatility_of_volatility_1h", np.where(np.arange(60) < 31, 0, squares)))
