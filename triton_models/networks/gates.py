"""Input gates: one non-negative factor per feature, pressed to zero by an L1 penalty while a network learns.

The penalty is taken as a proximal step (Daubechies, Defrise and De Mol 2004), so that a gate becomes
exactly zero, and can open again. After training the gates are folded into the first layer: what is
served is the plain network, with zeros where it does not read.
"""

import torch
from torch import Tensor, nn

from triton_models.bundle import Spec
from triton_models.networks.correction import Network
from triton_models.networks.inputs import Inputs, Scaled


class GatedInputs(Inputs):
    """Inputs of which a network may stop reading some."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.gates = nn.Parameter(torch.ones(spec.shape("F")))

    def forward(self, features: Tensor, mask: Tensor, age: Tensor) -> Scaled:
        """Scale raw tensors; a feature behind a closed gate is as good as masked."""
        scaled = super().forward(features, mask, age)
        return scaled._replace(values=scaled.values * self.gates, mask=scaled.mask * self.gates)

    def shrink(self, amount: float) -> None:
        """Take the proximal step of `amount` times the sum of the gates: nearer to zero, and not below."""
        with torch.no_grad():
            self.gates.sub_(amount).clamp_(min=0)


def gate(network: Network, spec: Spec) -> Network:
    """Put open gates before the inputs of a network, and return it."""
    network.inputs = GatedInputs(spec)
    return network


def fold(network: Network, spec: Spec) -> tuple[str, ...]:
    """Move the gates into the first layer; return the features that the network does not read, sorted."""
    inputs = network.inputs
    if not isinstance(inputs, GatedInputs):
        return ()
    gates = inputs.gates.detach()
    with torch.no_grad():
        reading = network.reading()  # (2F + M, ...): values, mask, ages
        reading[: 2 * len(gates)] *= gates.repeat(2)[:, None]
    network.inputs = Inputs(spec)
    return tuple(sorted(name for name, left in zip(spec.features, gates.tolist(), strict=True) if left == 0))
