import msgspec
import numpy as np
import pytest
import torch

from triton_models.bundle import Size
from triton_models.learning import deterministic, learn
from triton_models.material import Material, Options
from triton_models.networks import build
from triton_models.networks.gates import GatedInputs, fold, gate
from triton_models.train import train

QUICK = Options(intervals=4, size=Size(width=16, heads=2), epochs=4, examples=4096, batch=128, validation_examples=512)
FORECASTER = "volume"
"""The one feature of these rows that knows more than log-HAR."""


@pytest.fixture(scope="module")
def noisy(table, pinned):
    """The same rows, with the hour replaced by noise: nothing to learn from it."""
    noise = np.random.default_rng(3).normal(size=len(table)).astype(np.float32)
    values = table.values.copy()
    values[:, pinned.features.index("hour")] = noise
    names = np.take(table.instruments, table.instrument).tolist()
    return type(table)(names, table.row_time_ns, values, table.ages, pinned, row_interval_ns=table.row_interval_ns)


def test_open_gates_change_nothing(spec, make_batch):
    torch.manual_seed(0)
    network = build(spec)
    batch = make_batch(np.arange(400, 432))
    network.head.out.weight.data.normal_()
    before, _ = network(*batch[:3])
    after, _ = gate(network, spec)(*batch[:3])
    assert torch.equal(before.mean, after.mean)


def test_a_folded_network_answers_as_the_gated_one_and_is_the_plain_one(spec, make_batch):
    torch.manual_seed(0)
    plain = build(spec).state_dict().keys()
    network = gate(build(spec), spec)
    network.head.out.weight.data.normal_()
    network.inputs.gates.data = torch.tensor([1.0, 0.3, 0.0, 0.7, 0.0])
    batch = make_batch(np.arange(400, 432))
    gated, _ = network(*batch[:3])
    assert fold(network, spec) == ("bar_realised_variance_1d", "hour")
    folded, _ = network(*batch[:3])
    assert network.state_dict().keys() == plain
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(gated, folded, strict=True))


def test_a_network_does_not_read_what_is_pruned(spec, make_batch):
    network = gate(build(spec), spec)
    network.head.out.weight.data.normal_()
    network.inputs.gates.data[4] = 0.0
    fold(network, spec)
    batch = make_batch(np.arange(400, 432))
    before, _ = network(*batch[:3])
    batch.features[..., 4] = 1e3
    after, _ = network(*batch[:3])
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_gate_shrinks_to_exactly_zero_and_not_below(spec):
    inputs = GatedInputs(spec)
    inputs.gates.grad = torch.zeros(5)
    for _ in range(3):
        inputs.step(0.4, penalty=0.01)
    assert inputs.gates.tolist() == [0.0] * 5
    assert inputs.closed(spec.features) == tuple(sorted(spec.features))


def test_a_gate_stays_open_where_it_lowers_the_loss_by_more_than_the_penalty(spec):
    inputs = GatedInputs(spec)
    inputs.gates.grad = torch.tensor([-0.02, -0.011, -0.009, 0.0, 0.02])  # slopes of the loss
    for _ in range(300):
        inputs.step(0.1, penalty=0.01)
    assert inputs.gates.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_closed_gate_can_open_again(spec, make_batch):
    network = gate(build(spec), spec)
    network.head.out.weight.data.normal_()
    network.inputs.gates.data.zero_()
    correction, _ = network(*make_batch(np.arange(400, 432))[:3])
    correction.mean.sum().backward()
    assert (network.inputs.gates.grad != 0).all()


def test_noise_is_pruned_and_what_forecasts_is_not(noisy, tmp_path):
    options = msgspec.structs.replace(QUICK, gate_penalty=1e-3)
    bundle = train(noisy, profile="bars", kind="lstm", repository=tmp_path, options=options)
    pruned = bundle.spec.manifest["pruned"]
    assert "hour" in pruned
    assert FORECASTER not in pruned
    weights = bundle.weights["embed.weight"]
    features = bundle.spec.features
    for index, name in enumerate(features):
        columns = weights[:, [index, len(features) + index]]
        assert (columns == 0).all() == (name in pruned), name


def test_without_a_penalty_there_are_no_gates(table, tmp_path):
    options = msgspec.structs.replace(QUICK, epochs=1, examples=256)
    bundle = train(table, profile="bars", kind="lstm", repository=tmp_path, options=options)
    assert bundle.spec.manifest["pruned"] == []


def test_the_averaged_network_has_the_gates_of_the_one_that_learns(noisy, pinned, fitted, make_spec):
    options = msgspec.structs.replace(QUICK, gate_penalty=1e-2, epochs=2)
    spec = msgspec.structs.replace(make_spec("lstm", pinned, fitted), intervals=4, size=QUICK.size)
    with deterministic(0):
        network, _ = learn(gate(build(spec), spec), Material(noisy, "bars", options))
    assert (network.inputs.gates == 0).any()
