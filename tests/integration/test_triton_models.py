"""Every model of the repository in a real tritonserver against plain PyTorch, bit for bit."""

import numpy as np
import pytest
import torch
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from schemas.rules import HOUR_NS
from triton_models.export import REPOSITORY, versions
from triton_models.predictor import Batch, Predictor

MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))


@pytest.fixture(params=MODELS)
def predictor(request):
    torch.set_num_threads(1)
    return Predictor.load(versions(REPOSITORY / request.param)[0])


@pytest.fixture
def client(stack):
    with InferenceServerClient(stack.triton_grpc) as client:
        yield client


def batch_of(spec, rows):
    """Inputs of the right shapes: plausible variances, noise elsewhere, some of it masked."""
    generator = torch.Generator().manual_seed(rows)
    shape = (rows, spec.shape("T"), spec.shape("F"))
    features = torch.exp(torch.randn(shape, generator=generator) - 12)
    mask = (torch.rand(shape, generator=generator) < 0.8).float()
    mask[:, -1, spec.features.index(spec.har.windows[0])] = 1
    age = 100 * torch.rand(rows, spec.shape("T"), spec.shape("M"), generator=generator)
    origin = 1_700_000_000_000_000_000 + HOUR_NS * torch.arange(rows)[:, None]
    return Batch(features * mask, mask, age, origin)


def ask(client, model, batch):
    inputs = []
    for name, tensor in zip(Batch._fields, batch, strict=True):
        array = tensor.numpy()
        inputs.append(InferInput(name, array.shape, np_to_triton_dtype(array.dtype)).set_data_from_numpy(array))
    return client.infer(model, inputs, client_timeout=30)


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 33, 100, 255, 256])
def test_triton_answers_as_plain_pytorch_does(client, predictor, rows):
    spec = predictor.bundle.spec
    batch = batch_of(spec, rows)
    answer = ask(client, spec.name, batch)
    for name, expected in predictor.predict(batch).items():
        assert answer.as_numpy(name).tobytes() == expected.tobytes(), name
    assert np.isfinite(answer.as_numpy("quantiles")).all()


@pytest.mark.parametrize("rows", [1, 8, 16, 33, 256])
def test_triton_answers_as_one_forward_pass_of_the_network_does(client, predictor, rows):
    """Not in blocks: whatever kernels PyTorch takes for a batch of this size, logs differ by 1e-6 at most."""
    spec = predictor.bundle.spec
    batch = batch_of(spec, rows)
    answer = ask(client, spec.name, batch)
    with torch.inference_mode():
        correction, attention = predictor.network(*batch[:3])
    base = predictor.bundle.har_forecast(batch.features.numpy(), batch.mask.numpy(), batch.origin_time_ns.numpy())
    mean, quantiles = base.correct(*(part.numpy().astype(np.float64) for part in correction)).levels()
    for name, expected in (("mean", mean), ("quantiles", quantiles)):
        found = answer.as_numpy(name).astype(np.float64)
        assert np.abs(np.log(found) - np.log(expected)).max() <= 1e-6, name
    if attention is not None:
        assert np.abs(answer.as_numpy("attention") - attention.numpy()).max() <= 1e-6


def test_a_row_has_the_same_bits_in_a_batch_of_any_size(client, predictor):
    batch = batch_of(predictor.bundle.spec, 256)
    whole = predictor.predict(batch)
    for rows in (1, 7, 16, 31, 64, 256):
        answer = ask(client, predictor.bundle.spec.name, Batch(*(tensor[:rows] for tensor in batch)))
        for name, expected in whole.items():
            assert answer.as_numpy(name).tobytes() == expected[:rows].tobytes(), (name, rows)


def test_a_request_of_a_wrong_shape_fails_alone(client, predictor):
    spec = predictor.bundle.spec
    batch = batch_of(spec, 4)
    with pytest.raises(InferenceServerException, match="features"):
        ask(client, spec.name, batch._replace(features=batch.features[:, :-1]))
    assert np.isfinite(ask(client, spec.name, batch).as_numpy("mean")).all()
