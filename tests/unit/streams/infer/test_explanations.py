"""What is explained while forecasts are made: which, with what inputs, and what becomes of the answer."""

import asyncio

import numpy as np
import pytest
import torch

from schemas.errors import InferenceError
from schemas.forecasts import Attention, ModelName, cloud_event_headers, decode_json, encode_json
from schemas.metrics import ATTENTION_FAITHFULNESS
from schemas.topics import ATTENTION
from streams.infer.batch import Batch, Job
from streams.infer.combine import Levels
from streams.infer.explanations import Explanations, is_sampled
from streams.infer.models import read_models
from streams.infer.records import Origin
from streams.infer.versions import Choice
from streams.metrics_server import Metrics
from streams.stage import FencedError, Record
from triton_models.explanation.coalitions import Tensors, absent
from triton_models.explanation.game import Game, whole
from triton_models.explanation.shares import leave_one_out
from triton_models.export import REPOSITORY, versions
from triton_models.predictor import Batch as Inputs
from triton_models.predictor import Predictor

ORIGIN = 1_767_226_016_000_000_000
NAMES = tuple(f"binance:A{place}-USDT" for place in range(5))


@pytest.fixture(scope="module")
def predictor():
    torch.set_num_threads(1)
    return Predictor.load(versions(REPOSITORY / "performer-ticks")[0])


@pytest.fixture(scope="module")
def batch(predictor):
    spec = predictor.bundle.spec
    random = np.random.default_rng(5)
    typical = np.array([one.median for one in spec.scaling], np.float32)
    shape = (16, spec.intervals, len(typical))
    arrays = {
        "features": typical * np.exp(0.3 * random.normal(size=shape)).astype(np.float32),
        "mask": np.ones(shape, np.float32),
        "age": np.ones((16, spec.intervals, len(spec.modalities)), np.float32),
        "origin_time_ns": np.full((16, 1), ORIGIN),
    }
    job = Job(Origin(ORIGIN, 2, "f", 0, 31, NAMES), 31, None, (0,) * len(NAMES))
    return Batch([job], arrays, np.array([2, -1, 0, 1, 3]), {"har": Levels(np.ones((5, 1)), np.ones((5, 1, 7)))})


class Client:
    """Answers as Triton would, from the bundle itself."""

    def __init__(self, predictor):
        self.predictor, self.asked, self.error, self.gate = predictor, [], None, None
        self.reached = asyncio.Event()

    async def ask_aside(self, model, arrays, deadline_seconds):
        self.asked.append((model.name, deadline_seconds, len(arrays["features"])))
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.predictor.predict(Inputs(*(torch.from_numpy(arrays[name]) for name in Inputs._fields)))


def attention_records(predictor, places=(0, 2, 3, 4)):
    spec = predictor.bundle.spec
    mass = {name: (place + 1) / 21 for place, name in enumerate(spec.modalities)}
    for place in places:
        told = Attention(
            id=f"{NAMES[place]}@{ORIGIN}",
            instrument_id=NAMES[place],
            origin_time_ns=ORIGIN,
            model=ModelName(name=spec.name, version=spec.version, hash="h"),
            modalities=mass,
            heads=[],
        )
        headers = cloud_event_headers("attention", told.id, ORIGIN, NAMES[place])
        yield Record(ATTENTION, NAMES[place].encode(), encode_json(told), headers, 2)


def run(predictor, batch, *, every=1, client=None, emit=None, begins=1):
    """Return the records that came, and the client, after so many calls of `begin` in a row."""
    sent, metrics = [], Metrics()
    client = client or Client(predictor)

    async def scenario():
        one = Explanations(every, 0.5, REPOSITORY, emit or (lambda _, record: sent.append(record)), metrics)
        choice = Choice(read_models("ticks"), client=client)
        for _ in range(begins):
            one.begin(2, choice, batch, list(attention_records(predictor)))
            await asyncio.sleep(0)
        if one._task is not None and client.gate is None:
            await one._task
        if client.gate is not None:
            await client.reached.wait()  # the bundle is read by another thread
        await one.stop()

    asyncio.run(scenario())
    return sent, client, metrics


def test_a_sampled_forecast_is_told_again_with_what_it_loses_without_each_modality(predictor, batch):
    (record,), client, metrics = run(predictor, batch)
    spec = predictor.bundle.spec
    assert client.asked == [(spec.name, 0.5, 16)]
    told = decode_json(record.value, Attention)
    assert (told.id, record.partition, record.topic) == (f"{NAMES[0]}@{ORIGIN}", 2, ATTENTION)
    seen = Tensors(*(batch.arrays[name][2] for name in Tensors._fields))  # NAMES[0] is row 2 of the request
    lost = leave_one_out(Game(spec, whole(predictor, ORIGIN), seen, absent(spec, seen)).table)
    for index, horizon in enumerate(spec.horizons):
        assert list(told.contributions[horizon].values()) == pytest.approx(lost[:, index], abs=1e-6)
    correlation, count = told.faithfulness
    assert -1 <= correlation <= 1
    assert count == 1
    assert metrics.value(ATTENTION_FAITHFULNESS) == correlation


def test_nothing_is_asked_for_what_is_not_sampled(predictor, batch):
    assert run(predictor, batch, every=0)[1].asked == []
    every = next(n for n in range(2, 1000) if not any(is_sampled(f"{name}@{ORIGIN}", n) for name in NAMES))
    assert run(predictor, batch, every=every)[1].asked == []


def test_while_one_explanation_is_under_way_no_other_begins(predictor, batch):
    client = Client(predictor)
    client.gate = asyncio.Event()
    sent, client, _ = run(predictor, batch, client=client, begins=3)
    assert len(client.asked) == 1
    assert sent == []


@pytest.mark.parametrize("error", [InferenceError("late"), FencedError("gone")])
def test_a_failure_is_the_explanations_alone(predictor, batch, error):
    client = Client(predictor)
    client.error = error
    assert run(predictor, batch, client=client)[0] == []


def test_a_revoked_partition_gets_nothing(predictor, batch):
    def refuse(_partition, _record):
        raise FencedError("revoked")

    run(predictor, batch, emit=refuse)
