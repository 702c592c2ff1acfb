import pytest
import torch

from schemas.errors import StateError
from triton_models.networks import ABLATIONS, Performer, build
from triton_models.networks.ablations import Elu, Lsh, Softmax, Undecayed
from triton_models.networks.performer import Attention, attend_chunked

B, T, M = 3, 9, 2


@pytest.fixture
def seeded(pinned, fitted, make_spec):
    def make(attention):
        torch.manual_seed(0)
        return attention(make_spec("performer", pinned, fitted), 0)

    return make


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(1)
    present = (torch.rand(B, T, M, generator=generator) < 0.8).float()
    return torch.randn(B, T, M, 32, generator=generator), present


ATTENTIONS = [Attention, Elu, Undecayed, Softmax, Lsh]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_future_changes_nothing(seeded, tokens, attention):
    layer, (x, present) = seeded(attention), tokens
    before = layer(x, present)
    later = x.clone()
    later[:, 6:] = -5
    after = layer(later, present)
    assert (after[:, :6] - before[:, :6]).abs().max() < 1e-6
    assert (after[:, 6:] - before[:, 6:]).abs().max() > 1e-3


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_absent_token_changes_nothing(seeded, tokens, attention):
    layer, (x, present) = seeded(attention), tokens
    before = layer(x, present)
    hidden = torch.where(present[..., None] > 0, x, 100.0)
    seen = present[..., None].expand_as(before) > 0
    assert (layer(hidden, present) - before)[seen].abs().max() < 1e-5


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_weights_are_those_that_were_read_with(seeded, tokens, attention):
    layer, (x, present) = seeded(attention), tokens
    k, v = layer.keys_and_values(x, present)
    q = layer.features(layer.norm(x), layer.query)
    weights = layer.weights(q[:, :, -1, 1], k)
    assert weights.shape == (B, 4, T, M)
    assert (weights.sum((-2, -1)) - 1).abs().max() < 1e-5
    assert (weights.movedim(1, 0)[:, present == 0] == 0).all()
    if attention is not Lsh:  # there a token that attends does not see itself
        read = (weights[..., None] * v).sum((2, 3))
        assert (read - layer.attend(q, k, v)[:, :, -1, 1]).abs().max() < 1e-5


def test_softmax_attention_is_pytorchs(seeded, tokens):
    layer, (x, present) = seeded(Softmax), tokens
    k, v = layer.keys_and_values(x, present)
    q = layer.features(layer.norm(x), layer.query)
    interval = torch.arange(T).repeat_interleave(M)
    back = interval[:, None] - interval
    logits = layer.log_decay()[:, None, None] * back  # (A, T * M, T * M)
    visible = (back >= 0) & (present.flatten(1)[:, None, None] > 0)  # (B, 1, T * M, T * M)
    bias = torch.where(visible, logits, -torch.inf)
    expected = torch.nn.functional.scaled_dot_product_attention(
        q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), attn_mask=bias, scale=1.0
    )
    seen = visible.any(-1).expand(expected.shape[:-1])
    assert (layer.attend(q, k, v).flatten(2, 3) - expected)[seen].abs().max() < 1e-5


@pytest.mark.parametrize("attention", [Elu, Undecayed])
def test_linear_ablations_are_exact_attention_of_their_kernel(seeded, tokens, attention):
    layer, (x, present) = seeded(attention), tokens
    k, v = layer.keys_and_values(x, present)
    q = layer.features(layer.norm(x), layer.query)
    interval = torch.arange(T).repeat_interleave(M)
    back = interval[:, None] - interval
    left = torch.where(back >= 0, torch.exp(layer.log_decay()[:, None, None] * back.clamp(min=0)), 0.0)
    weights = q.flatten(2, 3).double() @ k.flatten(2, 3).double().mT * left
    expected = weights @ v.flatten(2, 3).double() / weights.sum(-1, keepdim=True).clamp(min=1e-300)
    assert (layer.attend(q, k, v).flatten(2, 3) - expected).abs().max() < 1e-5
    assert (attend_chunked(q, k, v, layer.log_decay(), 4) - layer.attend(q, k, v)).abs().max() < 1e-5


def test_elu_features_are_positive_and_undecayed_tokens_stay(seeded, tokens):
    layer = seeded(Elu)
    assert (layer.features(tokens[0], layer.query) > 0).all()
    assert (seeded(Undecayed).log_decay() == 0).all()
    assert (seeded(Attention).log_decay() < 0).all()


def test_tokens_meet_where_a_round_of_hashing_puts_them_into_one_bucket(seeded, tokens):
    layer, (x, present) = seeded(Lsh), tokens
    k, _ = layer.keys_and_values(x, torch.ones_like(present))
    k = k.flatten(2, 3)
    softmax, hashed = seeded(Softmax).scores(k, k), layer.scores(k, k)
    buckets = layer.buckets(k)
    assert buckets.shape[0] == Lsh.ROUNDS
    assert set(buckets.unique().tolist()) <= set(range(Lsh.BUCKETS))
    meet = torch.zeros_like(hashed, dtype=torch.bool)
    for one in buckets:
        meet |= one[..., :, None] == one[..., None, :]
    others = ~torch.eye(T * M, dtype=torch.bool)
    assert torch.equal(hashed[:, :, others], (softmax * meet)[:, :, others])
    assert 0.2 < meet[:, :, others].float().mean() < 0.8
    near, far = softmax[meet & others].mean(), softmax[~meet].mean()
    assert near > 1.5 * far  # the nearer, the likelier they meet


def test_a_token_alone_in_its_buckets_reads_itself_and_else_hardly(seeded):
    layer = seeded(Lsh)
    k = torch.nn.functional.normalize(torch.randn(1, 4, 1, 8), dim=-1) * 2
    both = torch.cat([k, k], dim=2)  # (1, A, 2, d): two tokens of one key
    scores = layer.scores(both, both)
    assert (scores[..., 0, 1] > 1e5 * scores[..., 0, 0]).all()
    assert (layer.scores(k, k) > 0).all()


def test_ablations_have_the_performers_size(pinned, fitted, make_spec):
    def parameters(kind):
        return sum(one.numel() for one in build(make_spec(kind, pinned, fitted)).parameters())

    whole = parameters("performer")
    for kind in ABLATIONS:
        # Queries of LSH are its keys: two layers have one matrix less.
        assert parameters(kind) == whole - (2 * 32 * 32 if kind == "performer-lsh" else 0), kind


@pytest.mark.parametrize("kind", ABLATIONS)
def test_ablations_start_at_their_base_and_can_learn(pinned, fitted, make_spec, make_batch, kind):
    torch.manual_seed(0)
    network = build(make_spec(kind, pinned, fitted))
    batch = make_batch(torch.arange(400, 420).numpy())
    correction, weights = network(*batch[:3])
    assert all((part == start).all() for part, start in zip(correction, (0, 0, 1), strict=True))
    assert (weights.sum((-2, -1)) - 1).abs().max() < 1e-5
    correction.mean.sum().backward()
    assert network.head.out.weight.grad.abs().max() > 0


def test_without_a_base_a_level_may_move_as_far_as_it_must(pinned, fitted, make_spec, make_batch):
    def reach(kind):
        network = build(make_spec(kind, pinned, fitted))
        network.head.out.bias.data.fill_(8.0)
        return float(network(*make_batch(torch.arange(400, 402).numpy())[:3])[0].mean.detach().max())

    assert reach("performer") < 2.01
    assert reach("performer-no-residual") > 6


def test_an_unknown_network_is_an_error(pinned, fitted, make_spec):
    with pytest.raises(StateError, match=r"expected a network among performer, lstm, .*got 'mamba'"):
        build(make_spec("mamba", pinned, fitted))
    assert isinstance(build(make_spec("performer", pinned, fitted)), Performer)
