"""Integrated gradients, the LIME surrogate and attention on networks."""

import numpy as np
import pytest

from schemas.errors import InferenceError
from tests.unit.triton_models.explanation.conftest import ORIGIN
from triton_models.explanation.coalitions import absent, all_coalitions
from triton_models.explanation.explain import explain
from triton_models.explanation.game import Game, base_alone, whole
from triton_models.explanation.gradients import integrated_gradients
from triton_models.explanation.shares import shapley
from triton_models.explanation.surrogate import surrogate


def test_integrated_gradients_are_complete(game, predictor):
    for horizon in range(3):
        moved = game.table[-1, horizon] - game.table[0, horizon]
        found = integrated_gradients(predictor, game, ORIGIN, horizon, steps=512)
        assert found.total.sum() == pytest.approx(moved, abs=2e-3)
        coarse = integrated_gradients(predictor, game, ORIGIN, horizon, steps=2)
        assert abs(coarse.total.sum() - moved) > abs(found.total.sum() - moved)


def test_the_base_is_shared_out_exactly_and_to_what_it_reads(game, predictor):
    found = integrated_gradients(predictor, game, ORIGIN, 1)
    base = Game(game.spec, base_alone(predictor.bundle, ORIGIN), game.seen, game.reference).table
    assert found.base.sum() == pytest.approx(base[-1, 1] - base[0, 1], abs=1e-9)
    assert found.base[1:] == pytest.approx(0.0, abs=1e-12)  # bars alone


def test_the_surrogate_of_a_linear_game_is_the_game_and_says_so():
    terms = np.array([0.5, -2.0, 0.0, 1.0])
    found = surrogate((all_coalitions(4) * terms).sum(-1)[:, None], "a@1")
    assert found.weights[:, 0] == pytest.approx(terms, abs=0.03)  # the ridge's pull
    assert found.fidelity[0] == pytest.approx(1.0, abs=1e-3)


def test_the_surrogate_of_a_game_of_pairs_says_that_it_does_not_fit():
    parity = (all_coalitions(4).sum(-1) % 2)[:, None].astype(float)
    assert surrogate(parity, "a@1").fidelity[0] < 0.6


def test_a_surrogate_is_seeded_by_the_id():
    table = np.random.default_rng(1).normal(size=(64, 1))
    assert surrogate(table, "a@1").weights.tobytes() == surrogate(table, "a@1").weights.tobytes()
    assert surrogate(table, "a@1").weights.tobytes() != surrogate(table, "a@2").weights.tobytes()


def test_an_explanation_holds_every_method(predictor, tensors):
    seen, spec = tensors(1500), predictor.bundle.spec
    reference = absent(spec, seen)
    found = explain(predictor, seen, reference, horizon="1h", origin_time_ns=ORIGIN, forecast_id="a@1")
    with_attention = {"attention"} if spec.kind == "performer" else set()
    assert found.shares.keys() == {"shapley", "leave-one-out", "integrated-gradients", "lime"} | with_attention
    game = Game(spec, whole(predictor, ORIGIN), seen, reference)
    assert list(found.shares["shapley"].values()) == pytest.approx(shapley(game.table)[:, 1])
    assert sum(found.shares["shapley"].values()) == pytest.approx(found.value - found.reference, abs=1e-6)
    assert found.agreement["leave-one-out"] == 1.0
    if with_attention:
        assert sum(found.shares["attention"].values()) == pytest.approx(1.0, abs=1e-6)


def test_what_has_no_forecast_is_told(predictor, tensors):
    seen = tensors(1500)
    nothing = seen._replace(mask=np.zeros_like(seen.mask))
    with pytest.raises(InferenceError, match="the base is not known"):
        explain(predictor, seen, nothing, horizon="1h", origin_time_ns=ORIGIN, forecast_id="a@1")
