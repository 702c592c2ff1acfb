"""Raw tensors to what a network can learn from."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from schemas.rules import DAY_NS, SECOND_NS
from triton_models.bundle import SCALED_LIMIT, Spec

_NEVER_SECONDS = DAY_NS / SECOND_NS


class Scaled(NamedTuple):
    """Inputs of a network."""

    values: Tensor
    """(B, T, F), 0 where masked."""
    mask: Tensor
    """(B, T, F)"""
    age: Tensor
    """(B, T, M), in [0, 1]: log of the age, 1 for a day and for never."""
    present: Tensor
    """(B, T, M), 1 where any feature of the modality is known."""


class Inputs(nn.Module):
    """Scales features and ages by what the bundle says."""

    median: Tensor
    scale: Tensor
    log: Tensor
    floor: Tensor
    members: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        for name in ("median", "scale", "floor"):
            values = torch.tensor([getattr(one, name) for one in spec.scaling], dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("log", torch.tensor([one.log for one in spec.scaling]), persistent=False)
        members = nn.functional.one_hot(torch.tensor(spec.modality_of), len(spec.modalities))  # (F, M)
        self.register_buffer("members", members.bool(), persistent=False)

    def forward(self, features: Tensor, mask: Tensor, age: Tensor) -> Scaled:
        """Scale raw tensors; ages in seconds, negative or not a number: never."""
        known = mask > 0
        x = torch.where(known, features, self.median)
        x = torch.where(self.log, torch.log(x.clamp(min=0) + self.floor), x)
        middle = torch.where(self.log, torch.log(self.median.clamp(min=0) + self.floor), self.median)
        x = ((x - middle) / self.scale).clamp(-SCALED_LIMIT, SCALED_LIMIT)
        seconds = torch.where(age >= 0, age, _NEVER_SECONDS).clamp(max=_NEVER_SECONDS)
        scaled_age = torch.log1p(seconds) / torch.log1p(torch.tensor(_NEVER_SECONDS, device=age.device))
        present = (known[..., None] & self.members).any(-2)  # (B, T, M)
        return Scaled(torch.where(known, x, 0.0), known.float(), scaled_age, present.float())


class Tokens(nn.Module):
    """One token per modality and row interval, each from its own modality's inputs alone."""

    own: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        modalities, width = spec.shape("M"), spec.size.width
        of = torch.tensor([*spec.modality_of, *spec.modality_of, *range(modalities)])
        own = nn.functional.one_hot(of, modalities).float()  # (2F + M, M)
        self.register_buffer("own", own.repeat_interleave(width, dim=-1), persistent=False)
        fan_in = own.sum(0).repeat_interleave(width)
        self.weight = nn.Parameter(torch.randn(self.own.shape) / fan_in.sqrt())
        self.bias = nn.Parameter(0.1 * torch.randn(modalities * width))
        self.shape = (modalities, width)

    def forward(self, scaled: Scaled) -> Tensor:
        """Return tokens (B, T, M, width)."""
        x = torch.cat([scaled.values, scaled.mask, scaled.age], dim=-1)  # (B, T, 2F + M)
        tokens = nn.functional.linear(x, (self.weight * self.own).T, self.bias)
        return tokens.view(*x.shape[:2], *self.shape)
