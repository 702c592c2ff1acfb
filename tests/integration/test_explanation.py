"""Explanations of the committed tick networks find what truly moved the built-in market."""

import numpy as np
import pytest
import torch

from streams.explain.truth import explain_shocks, market_rows, rates, told_by
from triton_models.export import REPOSITORY, versions
from triton_models.predictor import Predictor

SECONDS = 3_600
LEAST = {"lstm": 0.9, "performer": 0.8}
"""Over four hours, 98 shocks, it was 0.95 and 0.88: an hour of thirty shocks is too short for a closer bound."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The explained shocks of an hour, by network."""
    torch.set_num_threads(1)
    networks = {kind: Predictor.load(versions(REPOSITORY / f"{kind}-ticks")[-1]) for kind in LEAST}
    path = tmp_path_factory.mktemp("market") / "rows.parquet"
    rows = market_rows(networks["lstm"].bundle.spec, SECONDS, path)  # both read the same features
    return {kind: explain_shocks(network, rows, told_by(SECONDS)) for kind, network in networks.items()}


@pytest.mark.parametrize("kind", LEAST)
def test_the_true_driver_of_a_shock_has_the_largest_shapley_value(found, kind, record_property):
    told = rates(found[kind])
    for method, rate in told.first.items():
        record_property(f"driver first by {method}", f"{rate.mean:.3f} of {rate.forecasts}")
    assert told.first["shapley"].forecasts >= 25
    assert told.first["shapley"].mean >= LEAST[kind], told.first


def test_nine_in_ten_drivers_are_found_over_both_networks(found):
    first = [rates(cases).first["shapley"].mean for cases in found.values()]
    assert np.mean(first) >= 0.9


def test_where_attention_looks_is_not_what_moved_the_forecast(found):
    told = rates(found["performer"])
    assert told.first["attention"].high < told.first["shapley"].mean
    assert told.agreement["integrated-gradients"].mean > 0.9 > told.agreement["attention"].mean


def test_shares_sum_to_what_moved_the_forecast(found):
    for case in (*found["lstm"], *found["performer"]):
        moved = case.explanation.value - case.explanation.reference
        assert sum(case.explanation.shares["shapley"].values()) == pytest.approx(moved, abs=1e-6)
        assert sum(case.explanation.shares["integrated-gradients"].values()) == pytest.approx(moved, abs=0.05)
