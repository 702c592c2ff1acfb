"""A poison message goes to the dead letters and never blocks its partition; a transient error never goes there.

Each stage alone, with Kafka played by hand.
"""

import asyncio
from types import SimpleNamespace

import pytest

from featurestore.store import Store, TableWriter
from featurestore.store.tables import ROWS
from schemas.errors import DecodeError, StateError
from schemas.topics import DEAD_LETTER, EXCHANGE_EVENT, FEATURE_ROW, FORECAST
from streams.featurize.stage import FeaturizeStage
from streams.infer.stage import InferStage, _Partition
from streams.kafka import DeliveryError
from streams.metrics_server import Metrics
from streams.score.stage import ScoreStage
from streams.settings import Settings
from streams.stage import Message
from streams.store.buffer import TopicBuffer
from streams.store.process import StoreProcess
from tests.unit.featurestore.store.material import RULES
from tests.unit.streams.infer.infer_cases import forecaster, row_message

PAIRS = [("twice", b"1"), ("twice", b"2"), ("nothing", None)]


class Outlet:
    """Takes outputs; one that is not a dead letter is refused while `fails` is set, as by a broker that is away."""

    def __init__(self):
        self.settings = Settings()
        self.metrics = Metrics()
        self.letters = []
        self.others = []
        self.fails = False

    def emit(self, _, output):
        if output.topic == DEAD_LETTER:
            self.letters.append(output)
        elif self.fails:
            raise DeliveryError("the broker is away")
        else:
            self.others.append(output)

    async def acknowledged(self, _):
        if self.fails:
            raise DeliveryError("the broker is away")

    def hold(self, *_):
        pass


def message(topic, offset, value):
    return Message(topic, 0, offset, b"key", {"twice": b"2", "nothing": b""}, value, 0, PAIRS)


class Engine:
    """Applies messages: `broken` ones cannot be decoded, at others the first call fails for a while."""

    backlog = repeated_events = pending_events = 0
    row_border_ns = None

    def __init__(self):
        self.applied = []
        self.fails = False

    def apply(self, _topic, offset, _headers, value):
        if value == b"broken":
            raise DecodeError("expected a batch")
        if self.fails:
            raise OSError(28, "No space left on device")
        self.applied.append(offset)


def featurize(outlet):
    stage = FeaturizeStage(None)
    stage._outlet, stage._engines[0] = outlet, Engine()
    stage._close_soon = lambda _: None
    return stage, stage._engines[0]


async def _featurize(outlet):
    stage, engine = featurize(outlet)
    await stage.process(message(EXCHANGE_EVENT, 0, b"broken"))
    await stage.process(message(EXCHANGE_EVENT, 1, b"good"))
    assert engine.applied == [1]
    engine.fails = True
    with pytest.raises(OSError, match="No space"):
        await stage.process(message(EXCHANGE_EVENT, 2, b"good"))


async def _infer(outlet):
    stage = InferStage()
    stage._outlet = outlet
    state = stage._partitions[0] = _Partition(forecaster())
    stage._meters = SimpleNamespace(arrived=lambda *_: None)
    stage._sets["f" * 12] = None
    await stage.process(message(FEATURE_ROW, 0, b"broken"))
    await stage.process(message(FEATURE_ROW, 1, row_message(0)))
    assert state.forecaster.pending == 1

    async def away(_):
        raise StateError("no Kafka broker answers")

    stage._compare = away
    with pytest.raises(StateError, match="no Kafka broker"):
        await stage.process(message(FEATURE_ROW, 2, row_message(1)))


async def _score(outlet):
    stage = ScoreStage()
    await stage.started(outlet)
    await stage.assigned(0, None)
    await stage.process(message(FORECAST, 0, b"broken"))
    await stage.process(message(FORECAST, 1, b"{}"))  # not one either
    outlet.letters.pop()
    stage._scorers[0] = SimpleNamespace(take_row=_away)
    with pytest.raises(DeliveryError):
        await stage.process(message(FEATURE_ROW, 0, b"row"))


def _away(*_):
    raise DeliveryError("the broker is away")


@pytest.mark.parametrize("scenario", [_featurize, _infer, _score], ids=["featurize", "infer", "score"])
def test_poison_is_a_dead_letter_and_a_transient_error_is_none(scenario):
    outlet = Outlet()
    asyncio.run(scenario(outlet))
    (letter,) = outlet.letters
    assert (letter.key, letter.value) == (b"key", b"broken")
    assert list(letter.headers)[:3] == PAIRS


def test_poison_of_the_store_is_a_dead_letter_and_a_transient_error_is_none(tmp_path):
    outlet = Outlet()
    process = StoreProcess.__new__(StoreProcess)
    process._metrics, process._outbox = outlet.metrics, SimpleNamespace(emit=lambda output: outlet.emit(0, output))
    buffer = TopicBuffer(FEATURE_ROW, TableWriter(Store(str(tmp_path)), ROWS), RULES)
    buffer.assign(0, 0)
    process._put(buffer, message(FEATURE_ROW, 0, b"broken"))
    process._put(buffer, message(FEATURE_ROW, 1, row_message(0)))
    assert (buffer.rows, buffer.positions()) == (1, {0: 2})
    full = SimpleNamespace(put=lambda _: _no_space())
    with pytest.raises(OSError, match="No space"):
        process._put(full, message(FEATURE_ROW, 2, row_message(1)))
    (letter,) = outlet.letters
    assert list(letter.headers)[:3] == PAIRS


def _no_space():
    raise OSError(28, "No space left on device")


def test_a_dead_letter_is_with_kafka_before_the_stage_goes_on():
    outlet = Outlet()
    outlet.fails = True

    async def scenario():
        stage, engine = featurize(outlet)
        with pytest.raises(DeliveryError):
            await stage.process(message(EXCHANGE_EVENT, 0, b"broken"))
        assert engine.applied == []

    asyncio.run(scenario())
