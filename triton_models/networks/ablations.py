"""What the Performer is compared with: networks of its size that lack one thing or attend otherwise.

They are evaluated, not served. Queries and keys have the Performer's one length TEMPERATURE, so that
a softmax needs no stabiliser and an absent token is the one whose key is zero. The first three look at
every pair of tokens: they show what another attention learns, not how fast it could run.
"""

import torch
from torch import Tensor, nn

from triton_models.bundle import Spec
from triton_models.networks.performer import Attention, attend_pairwise, normalised

_HASH_SEED = 20_200
_SELF = 1e-6
"""What is left of a token's weight on itself where it is its own key, and so nearest to itself."""


class Elu(Attention):
    """The linear transformer (Katharopoulos et al. 2020): features elu(x) + 1 instead of random ones."""

    def features(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """Return features (B, A, ..., d) of the projection of x (B, ..., width)."""
        return nn.functional.elu(self.split(layer(x))) + 1


class Undecayed(Attention):
    """FAVOR+ attention to which a token an hour old is as near as the last one."""

    def log_decay(self) -> Tensor:
        """Return 0 for each head (A,)."""
        return torch.zeros_like(self.log_half_life)


class Softmax(Attention):
    """Exact softmax attention (Vaswani et al. 2017), decayed as the Performer's: what FAVOR+ estimates."""

    def features(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """Return vectors (B, A, ..., d) of the projection of x (B, ..., width)."""
        return normalised(self.split(layer(x)))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the undecayed weights (B, A, L, N) of queries (B, A, L, d) over keys (B, A, N, d)."""
        return torch.exp(q @ k.transpose(-1, -2)) * (k != 0).any(-1)[..., None, :]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what queries (B, A, T, M, d) read of values (B, A, T, M, d)."""
        return attend_pairwise(self.scores(q.flatten(2, 3), k.flatten(2, 3)), v, self.log_decay())

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the weights (B, A, T, M) of one query (B, A, d) at the last interval."""
        back = torch.arange(k.shape[2] - 1, -1, -1, device=k.device)
        left = torch.exp(self.log_decay()[:, None] * back).repeat_interleave(k.shape[3], -1)  # (A, T * M)
        weights = (self.scores(q[:, :, None], k.flatten(2, 3)) * left[:, None]).view(k.shape[:-1])
        total = weights.sum((-2, -1), keepdim=True)
        return weights / torch.where(total > 0, total, 1.0)


class Lsh(Softmax):
    """Locality-sensitive hashing (Reformer, Kitaev et al. 2020): only tokens of one bucket see each other.

    Queries are keys. Rounds of hashing are joined: softmax over all that share a bucket in any round,
    which is what the paper's weighted sum over rounds comes to.
    """

    BUCKETS, ROUNDS = 8, 4
    rotations: Tensor

    def __init__(self, spec: Spec, layer: int) -> None:
        super().__init__(spec, layer)
        self.key = self.query
        generator = torch.Generator().manual_seed(_HASH_SEED + layer)
        shape = (self.ROUNDS, spec.size.width // spec.size.heads, self.BUCKETS // 2)
        self.register_buffer("rotations", torch.randn(shape, generator=generator))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the undecayed weights (B, A, L, N), zero where no round of hashing lets two tokens meet."""
        meet = (self.buckets(q)[..., :, None] == self.buckets(k)[..., None, :]).any(0)  # (B, A, L, N)
        scores = super().scores(q, k) * meet
        if q.shape == k.shape:
            scores = torch.where(torch.eye(k.shape[-2], dtype=torch.bool, device=k.device), scores * _SELF, scores)
        return scores

    def buckets(self, x: Tensor) -> Tensor:
        """Return the bucket in each round (rounds, B, A, N) of vectors (B, A, N, d)."""
        turned = x @ self.rotations[:, None, None]  # (rounds, B, A, N, buckets / 2)
        return torch.cat([turned, -turned], dim=-1).argmax(-1)
