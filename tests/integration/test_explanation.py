"""Explanations of the committed tick networks find what truly moved the built-in market."""

import pytest
import torch

from streams.explain.truth import explain_shocks, market_rows, rates, told_by
from triton_models.export import REPOSITORY, versions
from triton_models.predictor import Predictor

SECONDS = 3_600


@pytest.fixture(scope="module")
def performer():
    torch.set_num_threads(1)
    return Predictor.load(versions(REPOSITORY / "performer-ticks")[-1])


@pytest.fixture(scope="module")
def found(performer, tmp_path_factory):
    rows = market_rows(performer.bundle.spec, SECONDS, tmp_path_factory.mktemp("market") / "rows.parquet")
    return explain_shocks(performer, rows, told_by(SECONDS))


def test_the_true_driver_of_a_shock_has_the_largest_shapley_value(found, record_property):
    told = rates(found)
    for method, rate in told.first.items():
        record_property(f"driver first by {method}", f"{rate.mean:.3f} of {rate.forecasts}")
    assert told.first["shapley"].forecasts >= 20
    assert told.first["shapley"].mean >= 0.9, told.first
    assert told.first["attention"].mean < told.first["shapley"].mean  # where it looks is not what moved it


def test_a_shock_raises_the_forecast_by_its_driver(found):
    shares = [case.explanation.shares["shapley"][case.shock.driver] for case in found]
    assert sum(share > 0 for share in shares) >= 0.9 * len(shares)


def test_shares_sum_to_what_moved_the_forecast(found):
    for case in found:
        moved = case.explanation.value - case.explanation.reference
        assert sum(case.explanation.shares["shapley"].values()) == pytest.approx(moved, abs=1e-6)
        assert sum(case.explanation.shares["integrated-gradients"].values()) == pytest.approx(moved, abs=0.05)
