"""Integrated gradients (Sundararajan, Taly and Yan 2017) of a forecast, summed by modality.

The network's correction is integrated along the straight line between the scaled inputs of the
reference and those seen: masks and presence are numbers there, so that absence can be left by
degrees. The base is no part of the graph: its own share is given by exact Shapley values.
"""

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from triton_models.explanation.coalitions import Tensors
from triton_models.explanation.game import Game, base_alone
from triton_models.explanation.shares import shapley
from triton_models.networks import Network
from triton_models.networks.inputs import Scaled
from triton_models.predictor import Predictor

Floats = npt.NDArray[np.float64]

STEPS = 64
"""Points of the line, by the midpoint rule."""


class Integrated(NamedTuple):
    """What integrated gradients say of one horizon, each (M,)."""

    correction: Floats
    """Of the network's correction to the log expected variance, by gradients."""
    base: Floats
    """Of the base, by exact Shapley values."""

    @property
    def total(self) -> Floats:
        """The share of each modality in the whole forecast (M,)."""
        return self.correction + self.base


def integrated_gradients(
    predictor: Predictor, game: Game, origin_time_ns: int, horizon: int, steps: int = STEPS
) -> Integrated:
    """Return the shares of modalities in the forecast of the horizon at this place.

    Their sum is what the forecast differs from its reference, up to the rule of integration.
    """
    base = Game(game.spec, base_alone(predictor.bundle, origin_time_ns), game.seen, game.reference)
    return Integrated(_correction(predictor, game, horizon, steps), shapley(base.table)[:, horizon])


class _Given(nn.Module):
    """Stands where a network scales its inputs, and hands in what is given instead."""

    def __init__(self, scaled: Scaled) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, *_: Tensor) -> Scaled:
        """Return what is given."""
        return self.scaled


def _correction(predictor: Predictor, game: Game, horizon: int, steps: int) -> Floats:
    network = copy.deepcopy(predictor.network).cpu().double()
    seen, reference = (_scaled(predictor.network, tensors) for tensors in (game.seen, game.reference))
    along = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    line = Scaled(*(torch.lerp(a, b, along[:, None, None]) for a, b in zip(reference, seen, strict=True)))
    for part in line:
        part.requires_grad_()
    network.inputs = _Given(line)  # type: ignore[assignment]
    correction, _ = network(*line[:3])
    members = nn.functional.one_hot(torch.tensor(game.spec.modality_of), len(game.spec.modalities)).double()  # (F, M)
    total = correction.mean[:, horizon].sum()
    slopes = torch.autograd.grad(total, line, allow_unused=True, materialize_grads=True)
    parts = Scaled(*((s.mean(0) * (b - a)[0]).sum(0) for s, a, b in zip(slopes, reference, seen, strict=True)))
    return np.asarray(((parts.values + parts.mask) @ members + parts.age + parts.present).numpy())


def _scaled(network: Network, tensors: Tensors) -> Scaled:
    """Return the scaled inputs (1, T, ...) of one forecast."""
    with torch.no_grad():
        scaled = network.inputs(*(torch.from_numpy(np.ascontiguousarray(part))[None] for part in tensors))
    return Scaled(*(part.cpu().double() for part in scaled))
