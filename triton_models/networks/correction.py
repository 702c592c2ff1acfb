"""What every network answers: a correction to log-HAR, none before it has learnt."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from triton_models.bundle import Spec
from triton_models.networks.inputs import Inputs

BOUND = 2.0
"""Most that a network may move a level of log-HAR, in log variance: a factor of seven."""
_WIDTH_BOUND = 4.0


class Correction(NamedTuple):
    """Moves of log mean and log median, and factors of the steps between quantiles."""

    mean: Tensor
    """(B, H)"""
    median: Tensor
    """(B, H)"""
    widths: Tensor
    """(B, H, Q - 1), positive: quantiles never cross."""


class Head(nn.Module):
    """The last layer, zero at first."""

    def __init__(self, spec: Spec, bound: float = BOUND) -> None:
        super().__init__()
        self.bound = bound
        self.shape = (spec.shape("H"), 1 + spec.shape("Q"))
        self.norm = nn.LayerNorm(spec.size.width)
        self.out = nn.Linear(spec.size.width, self.shape[0] * self.shape[1])
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Correction:
        """Turn a summary (B, width) into a correction; zero gives exactly (0, 0, 1)."""
        out = self.out(self.norm(x)).view(-1, *self.shape)  # (B, H, 1 + Q)
        levels = self.bound * torch.tanh(out[..., :2] / self.bound)
        steps = out[..., 2:].clamp(-_WIDTH_BOUND, _WIDTH_BOUND)
        one = nn.functional.softplus(torch.zeros_like(steps))
        return Correction(levels[..., 0], levels[..., 1], nn.functional.softplus(steps) / one)

    def move(self, means: Tensor) -> None:
        """Move the log means by (H,), as long as they are far from the bound."""
        with torch.no_grad():
            self.out.bias.view(self.shape)[:, 0] += means

    def forget(self, horizon: int) -> None:
        """Give one horizon back to log-HAR."""
        with torch.no_grad():
            for parameter in (self.out.weight, self.out.bias):
                parameter.view(*self.shape, -1)[horizon] = 0.0


class Network(nn.Module):
    """A network of the house."""

    inputs: Inputs
    head: Head

    def hurry(self, *, enabled: bool) -> None:
        """Take the form that is fastest for many windows, where it has another than the one that is served."""

    def reading(self) -> Tensor:
        """Return the weights (2F + M, ...) with which the first layer reads values, mask and ages."""
        raise NotImplementedError

    def forward(self, features: Tensor, mask: Tensor, age: Tensor) -> tuple[Correction, Tensor | None]:
        """Return the correction and the attention (B, A, T, M) of the last step, if there is one."""
        raise NotImplementedError
