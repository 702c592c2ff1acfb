"""The client against a real tritonserver that is not there, dies, comes back, or loses a model's process."""

import asyncio
import time

import numpy as np
import psutil
import pytest

from deploy.stack import private_stack
from schemas.errors import InferenceError
from schemas.metrics import BREAKER_STATE, INFERENCE_REQUESTS
from streams.doctor.models import triton_findings
from streams.infer.models import read_models
from streams.infer.versions import served
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.triton_client import TritonClient

pytestmark = pytest.mark.timeout(300)
MODELS = read_models("ticks")
SERVED = [served(network) for network in MODELS.networks]


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    """A tritonserver to crash, serving the models of the tick profile."""
    names = [model.name for model in SERVED]
    with private_stack(tmp_path_factory.mktemp("triton"), ("triton",), models=names) as stack:
        yield stack


def client_of(stack, metrics=None):
    settings = Settings(triton_url=stack.triton_grpc, breaker_open_seconds=1.0)
    return TritonClient(settings, SERVED, metrics or Metrics())


async def ask(client, rows=16, deadline=5.0):
    arrays = {name: np.repeat(array, rows // 16, axis=0) for name, array in SERVED[0].canary.items()}
    return await asyncio.gather(*(client.infer(model, arrays, deadline, rows) for model in SERVED))


async def until_closed(client, seconds):
    started = time.monotonic()
    while not client.breaker.is_closed:
        assert time.monotonic() - started < seconds, "the breaker stays open"
        await asyncio.sleep(0.05)


def test_the_doctor_finds_nothing_wrong_with_a_triton_that_answers(triton):
    found = list(triton_findings(Settings(triton_url=triton.triton_grpc)))
    assert {each.severity for each in found} == {"ok"}, found
    assert len(found) == 1 + len(SERVED)


def test_both_networks_answer_in_the_declared_shapes(triton):
    async def main():
        metrics = Metrics()
        client = client_of(triton, metrics)
        assert await client.start(20)
        lstm, performer = await ask(client, rows=64)
        await client.stop()
        return metrics, lstm, performer

    metrics, lstm, performer = asyncio.run(main())
    shape = MODELS.shape
    assert lstm["quantiles"].shape == (64, 4, 7)
    assert performer["attention"].shape == (64, 4, shape.intervals, len(shape.modalities))
    assert np.isfinite(performer["mean"]).all()
    assert metrics.value(INFERENCE_REQUESTS, model="lstm-ticks", outcome="ok") == 2  # the canary and ours
    assert metrics.value(BREAKER_STATE) == 0


def test_a_wrong_request_and_a_missed_deadline_are_errors_that_say_so(triton):
    async def main():
        client = client_of(triton)
        await client.start(20)
        with pytest.raises(InferenceError, match="lstm-ticks: no answer within the deadline"):
            await ask(client, rows=256, deadline=0.001)
        wrong = {name: array[:, :-1] for name, array in SERVED[0].canary.items()}
        with pytest.raises(InferenceError, match=r"lstm-ticks: .*unexpected shape"):
            await client.infer(SERVED[0], wrong, 5.0, 16)
        await client.stop()

    asyncio.run(main())


def test_answers_of_another_shape_or_without_a_finite_row_are_errors(triton):
    async def main():
        client = client_of(triton)
        await client.start(20)
        other = SERVED[0]._replace(outputs={"mean": (9,)})
        with pytest.raises(InferenceError, match=r"expected mean of shape \(16, 9\), got \(16, 4\)"):
            await client.infer(other, SERVED[0].canary, 5.0, 16)
        masked = {**SERVED[0].canary, "mask": np.zeros_like(SERVED[0].canary["mask"])}
        with pytest.raises(InferenceError, match="no row of the answer is finite"):
            await client.infer(SERVED[0], masked, 5.0, 16)
        await client.stop()

    asyncio.run(main())


def test_a_killed_model_process_opens_the_breaker_and_is_healed(triton):
    async def main():
        client = client_of(triton)
        await client.start(20)
        for child in psutil.Process(triton.pid("triton")).children():
            child.kill()
        killed = time.monotonic()
        while client.breaker.is_closed:
            with pytest.raises(InferenceError):
                await ask(client, deadline=0.5)
            assert time.monotonic() - killed < 4
        with pytest.raises(InferenceError, match="the breaker is open"):
            await ask(client)
        await until_closed(client, 40)
        assert len(await ask(client)) == 2
        await client.stop()

    asyncio.run(main())


def test_a_triton_that_is_back_is_used_again_within_ten_seconds(triton):
    async def main():
        client = client_of(triton)
        await client.start(20)
        triton.kill("triton")
        for _ in range(client.breaker.failures):
            with pytest.raises(InferenceError, match="Triton is not there"):
                await ask(client)
        assert not client.breaker.is_closed
        await asyncio.sleep(5)  # long enough for an ordinary gRPC channel to stop trying for a while
        await asyncio.to_thread(triton.start, "triton")
        await until_closed(client, 10)
        assert len(await ask(client)) == 2
        await client.stop()

    asyncio.run(main())


def test_without_a_triton_the_client_starts_at_once_and_finds_it_later(triton):
    async def main():
        triton.stop("triton")
        client = client_of(triton)
        started = time.monotonic()
        assert not await client.start(20)
        assert time.monotonic() - started < 5
        await asyncio.to_thread(triton.start, "triton")
        await until_closed(client, 10)
        await client.unload("lstm-ticks")  # somebody's mistake: the canary loads it again
        await asyncio.sleep(2)
        await client.check()
        await until_closed(client, 30)
        assert (await client.index())["lstm-ticks", "1"] == "READY"
        await client.stop()

    asyncio.run(main())
