"""Shapley values and leave-one-out on games whose answer is known, and on networks."""

from itertools import permutations

import numpy as np
import pytest

from triton_models.explanation.coalitions import absent, all_but_one, all_coalitions, mixed
from triton_models.explanation.shares import leave_one_out, shapley


def by_orders(table):
    """Shapley's own definition: the mean gain over all orders in which players come."""
    players = len(table).bit_length() - 1
    total = np.zeros((players, table.shape[1]))
    orders = list(permutations(range(players)))
    for order in orders:
        present = 0
        for player in order:
            total[player] += table[present | 1 << player] - table[present]
            present |= 1 << player
    return total / len(orders)


def test_shapley_values_are_the_mean_gain_over_all_orders():
    table = np.random.default_rng(1).normal(size=(32, 3))
    assert shapley(table) == pytest.approx(by_orders(table), abs=1e-12)


def test_shapley_values_of_an_additive_game_are_its_terms_and_a_dummy_gets_nothing():
    terms = np.array([0.5, -2.0, 0.0, 1.0])
    table = (all_coalitions(4) * terms).sum(-1)[:, None]
    assert shapley(table)[:, 0] == pytest.approx(terms)
    assert leave_one_out(table)[:, 0] == pytest.approx(terms)


def test_shapley_values_of_a_network_sum_to_what_moved_its_forecast(game):
    shares = shapley(game.table)
    assert shares.sum(0) == pytest.approx(game.table[-1] - game.table[0], abs=1e-6)
    assert np.abs(shares).max() > 1e-2  # the network does read its modalities


def test_coalitions_of_a_network_are_forecasts_of_mixed_tensors(game):
    present = all_but_one(3)
    alone = np.concatenate([game.values(present[index : index + 1]) for index in range(4)])
    assert game.values(present).tobytes() == alone.tobytes()
    assert leave_one_out(game.table) == pytest.approx(alone[0] - alone[1:])


def test_an_absent_modality_is_masked_but_for_what_the_base_reads(predictor, tensors):
    spec, seen = predictor.bundle.spec, tensors(1500)
    nothing = mixed(spec, seen, absent(spec, seen), all_coalitions(3)[:1])
    assert nothing.mask[0, -1].tolist() == [1, 1, 1, 0, 0]
    assert (nothing.age == -1).all()
    assert nothing.features[0, :, 0] == pytest.approx(spec.scaling[0].median)
    trade = mixed(spec, seen, absent(spec, seen), all_coalitions(3)[4:5])
    assert trade.age[0, 0].tolist() == [-1, -1, seen.age[0, 2]]
    assert trade.features[0, :, 3].tobytes() == seen.features[:, 3].tobytes()


def test_the_forecast_is_the_value_of_all(game):
    everything = mixed(game.spec, game.seen, game.reference, np.ones((1, 3), bool))
    assert [part[0].tobytes() for part in everything] == [part.tobytes() for part in game.seen]
    assert game.values(np.ones((1, 3), bool))[0] == pytest.approx(game.table[-1])
