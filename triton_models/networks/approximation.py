"""How far the Performer's weights are from those of a softmax: measured, so that nobody need believe it.

A Performer is trained with its random features and is right by its own kernel; this says how much or how
little its weights may be read as a softmax's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from triton_models.bundle import Spec
from triton_models.networks.ablations import Softmax
from triton_models.networks.performer import Performer, normalised, orthogonal_features, phi

TOP = 8


class Approximation(NamedTuple):
    """Distance of two attentions over the same tokens, a mean over queries."""

    total_variation: float
    """Half the sum of absolute differences: the part of the weight that lies elsewhere, in [0, 1]."""
    shared_top: float
    """The part of the eight heaviest tokens that both have, in [0, 1]."""


def compare(weights: Tensor, softmax: Tensor) -> Approximation:
    """Compare weights (..., N) with those of a softmax.

    >>> compare(torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])).total_variation
    0.25
    """
    variation = (weights - softmax).abs().sum(-1) / 2
    top = min(TOP, weights.shape[-1])
    first, second = (x.topk(top, dim=-1).indices for x in (weights, softmax))
    shared = (first[..., :, None] == second[..., None, :]).any(-1).double().mean()
    return Approximation(float(variation.double().mean()), float(shared))


def of_random_vectors(
    features: int, width: int, *, tokens: int = 1024, queries: int = 256, draws: int = 8, seed: int = 0
) -> Approximation:
    """Measure attention over random keys of a head of `width` as the Performer normalises them, without decay.

    A mean over draws of keys, queries and random features.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for draw in range(draws):
        q, k = (normalised(torch.randn(rows, width, generator=generator)) for rows in (queries, tokens))
        directions = orthogonal_features(features, width, draw)
        scores, exact = phi(q, directions) @ phi(k, directions).T, torch.exp(q @ k.T)
        parts.append(compare(scores / scores.sum(-1, keepdim=True), exact / exact.sum(-1, keepdim=True)))
    return Approximation(*(sum(column) / draws for column in zip(*parts, strict=True)))


def of_network(network: Performer, spec: Spec, features: Tensor, mask: Tensor, age: Tensor) -> Approximation:
    """Measure what a network's last weights change by when all its layers take a softmax instead."""
    twin = Performer(spec, attention=Softmax)
    known = twin.state_dict().keys()
    twin.load_state_dict({name: value for name, value in network.state_dict().items() if name in known})
    with torch.inference_mode():
        weights, softmax = (one(features, mask, age)[1].flatten(-2) for one in (network, twin))
    return compare(weights, softmax)
