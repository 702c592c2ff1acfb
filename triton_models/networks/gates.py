"""Input gates: one factor in [0, 1] per feature, pressed to zero by an L1 penalty while a network learns.

The penalty is taken as a proximal step (Daubechies, Defrise and De Mol 2004), so that a gate becomes
exactly zero, and can open again. After training the gates are folded into the first layer: what is
served is the plain network, with zeros where it does not read.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from triton_models.bundle import Spec
from triton_models.networks.correction import Network
from triton_models.networks.inputs import Inputs, Scaled

_MEMORY = 0.95
"""Decay of the averaged slope, per step: one batch tells little of what a feature is worth."""


class GatedInputs(Inputs):
    """Inputs of which a network may stop reading some."""

    slope: Tensor
    open: Tensor

    def __init__(self, spec: Spec, read: Collection[str] = ()) -> None:
        """Take the features that may be read, all where none is named: the gates of others stay closed."""
        super().__init__(spec)
        may_open = torch.tensor([float(not read or name in read) for name in spec.features])
        self.register_buffer("open", may_open, persistent=False)
        self.gates = nn.Parameter(may_open.clone())
        self.register_buffer("slope", torch.zeros(spec.shape("F")), persistent=False)

    def forward(self, features: Tensor, mask: Tensor, age: Tensor) -> Scaled:
        """Scale raw tensors; a feature behind a closed gate is as good as masked."""
        scaled = super().forward(features, mask, age)
        return scaled._replace(values=scaled.values * self.gates, mask=scaled.mask * self.gates)

    def step(self, rate: float, penalty: float) -> None:
        """Take one proximal step: a gate closes by `rate` unless it lowers the loss by more than `penalty`.

        The slope of the loss is the gates' gradient, averaged over steps. Both are per unit of a gate.
        """
        if self.gates.grad is None:
            return
        with torch.no_grad():
            self.slope.lerp_(self.gates.grad, 1 - _MEMORY)
            self.gates.sub_(rate * (1 + self.slope / penalty)).clamp_(0, 1).mul_(self.open)

    def closed(self, features: Sequence[str]) -> tuple[str, ...]:
        """Return the features (F,) that are not read, sorted."""
        return tuple(sorted(name for name, left in zip(features, self.gates.tolist(), strict=True) if left == 0))


def gate(network: Network, spec: Spec, read: Collection[str] = ()) -> Network:
    """Put gates before the inputs of a network, open for what it may read (none named: all), and return it."""
    network.inputs = GatedInputs(spec, read)
    return network


def fold(network: Network, spec: Spec) -> tuple[str, ...]:
    """Move the gates into the first layer; return the features that the network does not read, sorted."""
    inputs = network.inputs
    if not isinstance(inputs, GatedInputs):
        return ()
    with torch.no_grad():
        reading = network.reading()  # (2F + M, ...): values, mask, ages
        reading[: 2 * len(inputs.gates)] *= inputs.gates.repeat(2)[:, None]
    network.inputs = Inputs(spec)
    return inputs.closed(spec.features)
