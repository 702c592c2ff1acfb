"""The LSTM: reads all features of each row interval in turn and answers from its last state."""

import torch
from torch import Tensor, nn

from triton_models.bundle import Spec
from triton_models.networks.correction import Correction, Head, Network
from triton_models.networks.inputs import Inputs


class Lstm(Network):
    """Hochreiter and Schmidhuber 1997, over row intervals."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        inputs = 2 * spec.shape("F") + spec.shape("M")
        self.inputs = Inputs(spec)
        self.embed = nn.Linear(inputs, spec.size.width)
        self.lstm = nn.LSTM(spec.size.width, spec.size.width, num_layers=spec.size.layers, batch_first=True)
        self.head = Head(spec)

    def reading(self) -> Tensor:
        """Return the weights of the inputs (2F + M, width)."""
        return self.embed.weight.T

    def forward(self, features: Tensor, mask: Tensor, age: Tensor) -> tuple[Correction, Tensor | None]:
        """Return the correction for tensors (B, T, F), (B, T, F), (B, T, M)."""
        scaled = self.inputs(features, mask, age)
        x = self.embed(torch.cat([scaled.values, scaled.mask, scaled.age], dim=-1))  # (B, T, width)
        states, _ = self.lstm(nn.functional.gelu(x))
        return self.head(states[:, -1] + x[:, -1]), None
