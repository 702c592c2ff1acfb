"""What a network is trained to make small."""

import torch
from torch import Tensor

from schemas.tensors import QUANTILES
from triton_models.material import Examples
from triton_models.networks import Correction

_EXCESS_LIMIT = 6.0
"""Log ratio of the realised to the expected variance from which on QLIKE grows linearly; at 3, means were 11 % low."""
_QLIKE_WEIGHT = 1.0


def log_quantiles(median: Tensor, steps: Tensor) -> Tensor:
    """Return log quantiles (B, H, Q) from medians (B, H) and positive steps (B, H, Q - 1)."""
    middle = QUANTILES.index(0.5)
    below = steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
    above = steps[..., middle:].cumsum(-1)
    median = median[..., None]
    return torch.cat([median - below, median, median + above], dim=-1)


def losses(examples: Examples, correction: Correction) -> Tensor:
    """Return pinball loss in log variance plus QLIKE (B, H), 0 where the target is not known.

    QLIKE grows linearly from a limit on: 1 % of origins carry a third of it.
    """
    mean, median, steps = examples.base
    known = torch.isfinite(examples.target)
    target = torch.where(known, examples.target, mean)
    error = target[..., None] - log_quantiles(median + correction.median, steps * correction.widths)
    levels = torch.tensor(QUANTILES)
    pinball = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    excess = target - mean - correction.mean
    inside = excess.clamp(max=_EXCESS_LIMIT)
    qlike = torch.exp(inside) * (1 + excess - inside) - excess - 1
    return torch.where(known, pinball + _QLIKE_WEIGHT * qlike, 0.0)
