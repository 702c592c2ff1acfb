import pytest
import torch

from triton_models.networks import Performer
from triton_models.networks.approximation import compare, of_network, of_random_vectors


@pytest.fixture
def performer(pinned, fitted, make_spec):
    torch.manual_seed(0)
    spec = make_spec("performer", pinned, fitted)
    return Performer(spec), spec


def test_the_same_weights_are_no_distance_apart():
    weights = torch.rand(5, 20).softmax(-1)
    assert compare(weights, weights) == (0.0, 1.0)


def test_weights_on_other_tokens_are_all_the_way_apart():
    first, second = torch.eye(32)[:1], torch.eye(32)[31:]
    assert compare(first, second).total_variation == 1.0


def test_more_random_features_come_nearer_to_a_softmax():
    sizes = (8, 64, 32_768)
    few, some, many = (of_random_vectors(size, 8, tokens=256, queries=64, draws=2) for size in sizes)
    assert few.total_variation > some.total_variation > many.total_variation
    assert few.shared_top < some.shared_top < many.shared_top
    assert many.total_variation < 0.2


def test_what_the_readme_says_of_the_size_that_is_served():
    # 16 random features of heads of 8: far from a softmax, and said so.
    measured = of_random_vectors(16, 8)
    assert 0.30 < measured.total_variation < 0.60
    assert measured.shared_top < 0.3


def test_a_network_is_compared_with_its_softmax_twin(performer, make_batch):
    network, spec = performer
    batch = make_batch(torch.arange(400, 432).numpy())
    measured = of_network(network, spec, *batch[:3])
    assert 0 < measured.total_variation < 1
