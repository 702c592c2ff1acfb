"""In which order the task of a partition writes, with Kafka and Triton played by hand."""

import asyncio
from types import SimpleNamespace

import pytest

from schemas.metrics import FORECAST_AGE, FORECAST_SLOT_MISSED, FORECAST_SLOTS
from schemas.topics import ATTENTION, FEATURE_ROW, FORECAST, FORECAST_LATEST
from streams.infer.explanations import Explanations
from streams.infer.meters import Meters
from streams.infer.stage import InferStage, _Partition
from streams.infer.versions import Choice
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.stage import Message
from tests.unit.streams.infer.infer_cases import MODELS, T0, answer, forecaster, row_message
from triton_models.export import REPOSITORY


class Outlet:
    """Writes down what is sent, and acknowledges while `open` is set."""

    def __init__(self):
        self.metrics = Metrics()
        self.sent = []
        self.open = asyncio.Event()

    def emit(self, partition, record):
        self.sent.append(record.topic)

    async def acknowledged(self, partition):
        await self.open.wait()
        self.sent.append("acknowledged")


async def _scenario(infer, outlet, seen):
    infer._outlet, infer._models = outlet, MODELS
    infer._versions = SimpleNamespace(at=lambda _: Choice(MODELS))
    infer._meters = Meters(outlet.metrics, Settings(), MODELS.horizons, infer._clock)
    infer._explanations = Explanations(0, 1.0, REPOSITORY, outlet.emit, outlet.metrics)
    state = infer._partitions[0] = _Partition(forecaster())

    async def ask(choice, batch):
        return answer(batch), ""

    infer._ask = ask
    infer._meters.begin(0, state.forecaster)
    task = asyncio.create_task(infer._work(0, state))
    await infer.process(Message(FEATURE_ROW, 0, 7, None, {}, row_message(0), 0))
    await asyncio.sleep(0.01)
    seen.append((list(outlet.sent), infer.checkpoint(0).resume[FEATURE_ROW]))
    outlet.open.set()
    await asyncio.sleep(0.01)
    seen.append((list(outlet.sent), infer.checkpoint(0).resume[FEATURE_ROW]))
    task.cancel()


def test_attention_is_acknowledged_before_its_forecast_is_sent():
    outlet, seen = Outlet(), []
    asyncio.run(_scenario(InferStage(), outlet, seen))
    # Until then a checkpoint does not count the row as done.
    assert seen[0] == ([ATTENTION], 7)
    # And the latest forecast never says what the log of forecasts may still lose.
    assert seen[1] == ([ATTENTION, "acknowledged", FORECAST, "acknowledged", FORECAST_LATEST], 8)


def test_a_forecast_is_timed_from_the_border_of_its_row():
    outlet = Outlet()
    asyncio.run(_scenario(InferStage(clock=lambda: T0 / 1e9 + 3.5), outlet, []))
    registry = outlet.metrics.registry
    assert registry.get_sample_value("foreshock_end_to_end_seconds_count") == 1
    assert registry.get_sample_value("foreshock_end_to_end_seconds_sum") == pytest.approx(3.5)
    assert registry.get_sample_value("foreshock_forecast_delay_seconds_count") == 1
    assert outlet.metrics.value(FORECAST_AGE, partition="0") == pytest.approx(3.5)
    assert outlet.metrics.value(FORECAST_SLOTS) == 1
    assert outlet.metrics.value(FORECAST_SLOT_MISSED, reason="late") == 0
