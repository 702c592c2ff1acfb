"""The Performer: linear attention over one token per modality and row interval.

FAVOR+ (Choromanski et al. 2021): positive orthogonal random features of the softmax kernel.
Queries and keys are normalised to one length, so that exponents are bounded: no stabiliser that
would look at the future, no epsilon. The network is trained with its random features: its weights
are those of its own kernel, not an approximation of some softmax network. All in fp32.

B batch, A heads, T row intervals, M modalities, d width of a head, R random features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from schemas.rules import SECOND_NS
from triton_models.bundle import Spec
from triton_models.networks.correction import BOUND, Correction, Head, Network
from triton_models.networks.inputs import Inputs, Tokens

TEMPERATURE = 4.0
"""Squared length of queries and keys: logits lie in [-4, 4]."""
PROJECTION_SEED = 20_211


class State(NamedTuple):
    """What linear attention remembers of the past, as of a row interval."""

    values: Tensor
    """(B, A, R, d): decayed sum of features of keys times values."""
    keys: Tensor
    """(B, A, R): decayed sum of features of keys."""


def orthogonal_features(features: int, width: int, seed: int = PROJECTION_SEED) -> Tensor:
    """Return directions (features, width): orthogonal in blocks, of the lengths of normal vectors."""
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(-(-features // width)):
        q, _ = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
        blocks.append(q.T)
    lengths = torch.randn(features, width, generator=generator, dtype=torch.float64).norm(dim=-1)
    directions: Tensor = torch.cat(blocks)[:features] * lengths[:, None]
    return directions.float()


def phi(x: Tensor, directions: Tensor) -> Tensor:
    """Map vectors (..., d) to positive features (..., R), whose dot products estimate exp(q . k)."""
    exponent = x @ directions.T - x.square().sum(-1, keepdim=True) / 2
    return torch.exp(exponent) / math.sqrt(directions.shape[0])


def normalised(x: Tensor) -> Tensor:
    """Return vectors of the squared length TEMPERATURE."""
    return nn.functional.normalize(x, dim=-1) * math.sqrt(TEMPERATURE)


def decay_matrix(log_decay: Tensor, intervals: int) -> Tensor:
    """Return (A, T, T): what is left at t of a token of s <= t; 0 for the future."""
    steps = torch.arange(intervals, device=log_decay.device)
    back = steps[:, None] - steps[None, :]
    left = torch.exp(log_decay[:, None, None] * back.clamp(min=0))
    return torch.where(back >= 0, left, 0.0)


def attend(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Causal attention for all intervals at once; tokens of one interval see each other.

    q and k are features (B, A, T, M, R), k zero for an absent token; v is (B, A, T, M, d);
    log_decay (A,) is per interval. Returns (B, A, T, M, d), 0 where there is nothing to see.
    """
    sums = _interval_sums(k, v)  # (B, A, T, R, d + 1)
    seen = (decay_matrix(log_decay, k.shape[2]) @ sums.flatten(-2)).view_as(sums)
    return _read(q, seen)


def attend_pairwise(scores: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """As `attend`, from the undecayed weights of all pairs of tokens (B, A, T * M, T * M).

    Work and memory grow with T squared; for 64 tokens it takes a third of the time on a CPU.
    """
    left = decay_matrix(log_decay, v.shape[2])  # (A, T, T)
    left = left.repeat_interleave(v.shape[3], -1).repeat_interleave(v.shape[3], -2)
    return _mean(scores * left @ _with_ones(v).flatten(2, 3)).view_as(v)


def attend_chunked(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, chunk: int) -> Tensor:
    """As `attend`, in chunks of intervals that hand a state on: memory does not grow with T."""
    batch, heads, _, _, features = k.shape
    state = State(k.new_zeros(batch, heads, features, v.shape[-1]), k.new_zeros(batch, heads, features))
    outputs = []
    for start in range(0, k.shape[2], chunk):
        part = slice(start, start + chunk)
        sums = _interval_sums(k[:, :, part], v[:, :, part])
        steps = torch.arange(1, sums.shape[2] + 1, device=k.device)
        carried = torch.exp(log_decay[:, None] * steps)[None, :, :, None, None]  # (1, A, C, 1, 1)
        held = torch.cat([state.values, state.keys[..., None]], dim=-1)[:, :, None]
        within = (decay_matrix(log_decay, sums.shape[2]) @ sums.flatten(-2)).view_as(sums)
        seen = within + carried * held
        outputs.append(_read(q[:, :, part], seen))
        state = State(seen[:, :, -1, :, :-1], seen[:, :, -1, :, -1])
    return torch.cat(outputs, dim=2)


def attend_next(state: State, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> tuple[Tensor, State]:
    """As `attend`, for the one next interval: q, k (B, A, M, R), v (B, A, M, d)."""
    left = torch.exp(log_decay)[None, :, None]  # (1, A, 1)
    sums = _interval_sums(k, v)  # (B, A, R, d + 1)
    state = State(state.values * left[..., None] + sums[..., :-1], state.keys * left + sums[..., -1])
    return _read(q, torch.cat([state.values, state.keys[..., None]], dim=-1)), state


def last_weights(q: Tensor, k: Tensor, log_decay: Tensor) -> Tensor:
    """Return the exact weights (B, A, T, M) of one query (B, A, R) at the last interval over all tokens."""
    back = torch.arange(k.shape[2] - 1, -1, -1, device=k.device)
    left = torch.exp(log_decay[:, None] * back)[None, :, :, None]  # (1, A, T, 1)
    scores = (k * q[:, :, None, None, :]).sum(-1) * left
    total = scores.sum((-2, -1), keepdim=True)
    return scores / torch.where(total > 0, total, 1.0)


def _interval_sums(k: Tensor, v: Tensor) -> Tensor:
    """Return the sum over tokens (..., M) of features of keys times [value, 1]: (..., R, d + 1)."""
    return k.transpose(-1, -2) @ _with_ones(v)


def _with_ones(v: Tensor) -> Tensor:
    """Return [value, 1] (..., d + 1): sums of it hold the sum of weights too."""
    return torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)


def _read(q: Tensor, seen: Tensor) -> Tensor:
    """Return the weighted mean of values that queries (..., M, R) find in sums (..., R, d + 1)."""
    return _mean(q @ seen)


def _mean(out: Tensor) -> Tensor:
    """Return weighted means (..., d) of sums (..., d + 1), 0 where nothing weighs."""
    total = out[..., -1:]
    return out[..., :-1] / torch.where(total > 0, total, 1.0)


class Attention(nn.Module):
    """Several heads, each with its own random features and its own wall-clock decay."""

    directions: Tensor
    pairwise = False
    """Whether to attend pair by pair: the faster form for training, other last bits than what is served."""

    def __init__(self, spec: Spec, layer: int) -> None:
        super().__init__()
        width, self.heads = spec.size.width, spec.size.heads
        head = width // self.heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.register_buffer(
            "directions", orthogonal_features(spec.size.random_features, head, PROJECTION_SEED + layer)
        )
        self.interval_seconds = spec.row_interval_ns / SECOND_NS
        half_lives = torch.logspace(0, 1, self.heads, base=max(spec.intervals, 2)) * self.interval_seconds
        self.log_half_life = nn.Parameter(torch.log(half_lives))
        """(A,): the heads look at different time scales, from one row interval to the whole window."""

    def log_decay(self) -> Tensor:
        """Return the log of what is left after one row interval, per head (A,)."""
        return -math.log(2) * self.interval_seconds * torch.exp(-self.log_half_life)

    def features(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """Return random features (B, A, ..., R) of the projection of x (B, ..., width)."""
        return phi(normalised(self.split(layer(x))), self.directions)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what queries (B, A, T, M, R) read of values (B, A, T, M, d)."""
        if self.pairwise:
            return attend_pairwise(q.flatten(2, 3) @ k.flatten(2, 3).transpose(-1, -2), v, self.log_decay())
        return attend(q, k, v, self.log_decay())

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the weights (B, A, T, M) of one query (B, A, R) at the last interval."""
        return last_weights(q, k, self.log_decay())

    def split(self, x: Tensor) -> Tensor:
        """Turn (B, ..., width) into (B, A, ..., d)."""
        return x.view(*x.shape[:-1], self.heads, -1).movedim(-2, 1).contiguous()

    def keys_and_values(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of keys (B, A, T, M, R), zero where absent, and values (B, A, T, M, d)."""
        x = self.norm(tokens)
        return self.features(x, self.key) * present[:, None, :, :, None], self.split(self.value(x))

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Let all tokens (B, T, M, width) attend; `present` is (B, T, M)."""
        k, v = self.keys_and_values(tokens, present)
        read = self.attend(self.features(self.norm(tokens), self.query), k, v)
        out: Tensor = self.out(read.movedim(1, -2).flatten(-2))
        return out

    def summarise(self, summary: Tensor, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Let one summary (B, width) attend; returns its reading and the weights (B, A, T, M)."""
        k, v = self.keys_and_values(tokens, present)
        weights = self.weights(self.features(self.norm(summary), self.query), k)
        read = (weights[..., None] * v).sum((2, 3))  # (B, A, d)
        return self.out(read.flatten(1)), weights


class Performer(Network):
    """All tokens attend in the first layers; in the last one a single summary reads them all."""

    def __init__(self, spec: Spec, attention: type[Attention] = Attention, bound: float = BOUND) -> None:
        super().__init__()
        width, layers = spec.size.width, spec.size.layers
        self.inputs = Inputs(spec)
        self.tokens = Tokens(spec)
        self.attention = nn.ModuleList(attention(spec, layer) for layer in range(layers))
        self.feed = nn.ModuleList(_feed_forward(width) for _ in range(layers))
        self.head = Head(spec, bound)

    def hurry(self, *, enabled: bool) -> None:
        """Attend pair by pair, or as it is served."""
        for attention in self.attention:
            attention.pairwise = enabled  # type: ignore[assignment]

    def reading(self) -> Tensor:
        """Return the weights of the inputs (2F + M, M * width)."""
        return self.tokens.weight

    def forward(self, features: Tensor, mask: Tensor, age: Tensor) -> tuple[Correction, Tensor]:
        """Return the correction and the last layer's weights (B, A, T, M) of the last interval."""
        scaled = self.inputs(features, mask, age)
        x = self.tokens(scaled)  # (B, T, M, width)
        for attention, feed in zip(list(self.attention)[:-1], list(self.feed)[:-1], strict=True):
            x = x + attention(x, scaled.present)
            x = x + feed(x)
        here = scaled.present[:, -1, :, None]  # (B, M, 1)
        summary = (x[:, -1] * here).sum(1) / here.sum(1).clamp(min=1)  # (B, width)
        last: Attention = self.attention[-1]  # type: ignore[assignment]
        read, weights = last.summarise(summary, x, scaled.present)
        summary = summary + read
        summary = summary + self.feed[-1](summary)
        return self.head(summary), weights


def _feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
