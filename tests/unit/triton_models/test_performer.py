import pytest
import torch

from triton_models.networks.performer import (
    State,
    attend,
    attend_chunked,
    attend_next,
    attend_pairwise,
    decay_matrix,
    last_weights,
    normalised,
    orthogonal_features,
    phi,
)

B, A, T, M, D, R = 3, 4, 13, 3, 8, 16


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(B, A, T, M, D, generator=generator) for _ in range(3))
    directions = orthogonal_features(R, D)
    present = (torch.rand(B, 1, T, M, 1, generator=generator) < 0.8).float()
    log_decay = -torch.tensor([1.0, 0.3, 0.05, 0.001])
    return phi(normalised(q), directions), phi(normalised(k), directions) * present, v, log_decay


def exact(q, k, v, log_decay):
    """All weights of all tokens over all tokens, as the definition has it."""
    q, k, v = (x.double() for x in (q, k, v))
    weights = torch.einsum("batmr,basnr->batmsn", q, k) * decay_matrix(log_decay.double(), T)[None, :, :, None, :, None]
    weights = weights / weights.sum((-2, -1), keepdim=True).clamp(min=1e-300)
    return torch.einsum("batmsn,basnd->batmd", weights, v), weights


def test_linear_attention_is_exact_kernel_attention(tokens):
    expected, _ = exact(*tokens)
    assert (attend(*tokens) - expected).abs().max() < 1e-5


def test_pairwise_is_parallel(tokens):
    q, k, v, log_decay = tokens
    scores = q.flatten(2, 3) @ k.flatten(2, 3).transpose(-1, -2)
    assert (attend_pairwise(scores, v, log_decay) - attend(*tokens)).abs().max() < 1e-5


@pytest.mark.parametrize("chunk", [1, 4, 13, 64])
def test_chunked_is_parallel(tokens, chunk):
    assert (attend_chunked(*tokens, chunk) - attend(*tokens)).abs().max() < 1e-5


def test_recurrent_is_parallel(tokens):
    q, k, v, log_decay = tokens
    state, outputs = State(torch.zeros(B, A, R, D), torch.zeros(B, A, R)), []
    for t in range(T):
        out, state = attend_next(state, q[:, :, t], k[:, :, t], v[:, :, t], log_decay)
        outputs.append(out)
    assert (torch.stack(outputs, dim=2) - attend(*tokens)).abs().max() < 1e-5


def test_the_future_changes_nothing(tokens):
    q, k, v, log_decay = tokens
    before = attend(q, k, v, log_decay)
    k, v = k.clone(), v.clone()
    k[:, :, 9:] *= 7
    v[:, :, 9:] = -100
    assert torch.equal(attend(q, k, v, log_decay)[:, :, :9], before[:, :, :9])


def test_the_weights_told_are_the_weights_used(tokens):
    q, k, v, log_decay = tokens
    weights = last_weights(q[:, :, -1, 1], k, log_decay)
    _, expected = exact(*tokens)
    assert (weights - expected[:, :, -1, 1]).abs().max() < 1e-6
    assert (weights.sum((-2, -1)) - 1).abs().max() < 1e-6
    assert ((weights == 0) == (k.sum(-1) == 0)).all()
    read = (weights[..., None] * v).sum((2, 3))
    assert (read - attend(*tokens)[:, :, -1, 1]).abs().max() < 1e-5


def test_nothing_to_see_gives_zero(tokens):
    q, k, v, log_decay = tokens
    assert torch.equal(attend(q, torch.zeros_like(k), v, log_decay), torch.zeros_like(v))


def test_random_features_are_orthogonal_and_estimate_the_softmax_kernel():
    directions = orthogonal_features(8, 8)
    products = directions @ directions.T
    assert (products - torch.diag(products.diag())).abs().max() < 1e-5
    q, k = torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(1)) / 4
    estimates = [
        (phi(q, orthogonal_features(64, 16, seed)) * phi(k, orthogonal_features(64, 16, seed))).sum(-1)
        for seed in range(200)
    ]
    ratio = torch.stack(estimates).mean(0) / torch.exp((q * k).sum(-1))
    assert ratio.log().abs().median() < 0.06
