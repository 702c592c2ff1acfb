import copy

import numpy as np
import pytest
import torch

from schemas.tensors import HORIZONS
from triton_models.bundle import Size
from triton_models.dataset import NEVER
from triton_models.learning import deterministic, hidden, learn, outputs, recentre
from triton_models.material import Material, Options
from triton_models.networks import build

QUICK = Options(intervals=8, size=Size(width=16, heads=2), epochs=2, examples=512, batch=128, validation_examples=256)


@pytest.fixture
def material(table):
    return Material(table, "bars", QUICK)


@pytest.fixture
def network(pinned, fitted, make_spec):
    torch.manual_seed(0)
    return build(make_spec("lstm", pinned, fitted))


def test_a_day_ahead_does_not_choose_the_epoch(material, network):
    def history():
        with deterministic(0):
            return learn(copy.deepcopy(network), material)[1]

    before, day = history(), HORIZONS["bars"].index("1d")
    material.ahead[:, day] += 2.0
    assert history() == before
    material.ahead[:, day - 1] += 2.0
    assert history() != before


def test_recentred_means_average_what_the_base_does(material, network):
    network.head.move(torch.tensor([-0.3, 0.2, 0.0]))
    recentre(network, material)
    rows = material.training
    parts = list(outputs(network, material, rows, material.taught))
    for index in range(3):
        excess = torch.cat([examples.target[:, index] - examples.base[0][:, index] for examples, _ in parts])
        moved = excess - torch.cat([correction.mean[:, index] for _, correction in parts])
        known = torch.isfinite(excess)
        means = [float(torch.exp(part[known]).mean()) for part in (moved, excess)]
        assert means[0] == pytest.approx(means[1], rel=1e-3)


def test_a_hidden_modality_is_hidden_in_the_whole_window(material, network):
    examples = material.taught(material.training[:64])
    torch.manual_seed(0)
    result = hidden(examples, network.inputs.members, 0.5)
    gone = (result.age == NEVER).all(1)  # (B, M)
    assert 0.3 < gone.double().mean() < 0.7
    bar, clock = gone[:, 0], gone[:, 1]
    assert (result.mask[bar][..., :4] == 0).all()
    assert (result.mask[clock][..., 4] == 0).all()
    assert torch.equal(result.mask[~bar & ~clock], examples.mask[~bar & ~clock])
    assert torch.equal(hidden(examples, network.inputs.members, 0.0).mask, examples.mask)


def test_without_validation_rows_the_last_epoch_is_kept(material, network):
    material.validation = np.empty(0, np.int64)
    with deterministic(0):
        learnt, history = learn(network, material)
    assert history == [0.0, 0.0, 0.0]
    assert float(learnt.head.out.weight.detach().abs().max()) > 0
