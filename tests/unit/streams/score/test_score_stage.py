"""What the score stage tells of its work."""

import asyncio

import numpy as np

from schemas.forecasts import encode_json
from schemas.metrics import BUILD_INFO, COVERAGE, EXPERT_WEIGHT, FORECASTS_NOT_SCORED, REGIME_COVERAGE
from schemas.topics import FEATURE_ROW, FORECAST
from streams.metrics_server import Metrics
from streams.score.stage import ScoreStage
from streams.settings import Settings
from streams.stage import Message
from tests.unit.streams.score.test_scorer import ETH, forecast, row


class Outlet:
    def __init__(self):
        self.settings = Settings()
        self.metrics = Metrics()

    def emit(self, partition, output):
        pass


async def _scenario(outlet):
    stage = ScoreStage()
    await stage.started(outlet)
    await stage.assigned(1, None)
    forecasts = [forecast(0, status="unavailable"), forecast(1), forecast(2)]
    rows = [row(61, variance=np.nan), row(63, instruments=(ETH,))]
    values = [(FORECAST, encode_json(one)) for one in forecasts] + [(FEATURE_ROW, value) for value in rows]
    for offset, (topic, value) in enumerate(values):
        await stage.process(Message(topic, 1, offset, None, {}, value, 0))


def test_forecasts_that_cannot_be_scored_are_counted_by_reason():
    outlet = Outlet()
    asyncio.run(_scenario(outlet))
    reasons = ("unavailable", "masked", "no-row")
    assert [outlet.metrics.value(FORECASTS_NOT_SCORED, reason=reason) for reason in reasons] == [1, 1, 1]


def test_a_process_says_what_it_is():
    outlet = Outlet()
    asyncio.run(_scenario(outlet))
    ((sample,),) = [one.samples for one in outlet.metrics.registry.collect() if one.name == BUILD_INFO.name]
    assert (sample.labels["rules_id"], sample.value) == (outlet.settings.rules.rules_id, 1)


async def _learning(outlet):
    stage = ScoreStage()
    await stage.started(outlet)
    await stage.assigned(1, None)
    for offset in range(40):
        right = offset % 2
        value = encode_json(forecast(10 * offset, mean=1e-6 if right else 1e-3, regime=right))
        await stage.process(Message(FORECAST, 1, offset, None, {}, value, 0))
        await stage.process(Message(FEATURE_ROW, 1, offset, None, {}, row(10 * offset), 0))
    for offset in range(40, 46):
        await stage.process(Message(FEATURE_ROW, 1, offset, None, {}, row(10 * offset), 0))


def test_coverage_is_told_by_regime_and_weights_by_expert():
    outlet = Outlet()
    asyncio.run(_learning(outlet))
    assert outlet.metrics.value(COVERAGE, horizon="1m", level="0.9") == 0.5
    assert outlet.metrics.value(REGIME_COVERAGE, horizon="1m", regime="0") == 0.0
    assert outlet.metrics.value(REGIME_COVERAGE, horizon="1m", regime="1") == 1.0
    for of in ("mean", "quantiles"):
        weights = [outlet.metrics.value(EXPERT_WEIGHT, horizon="1m", expert=name, of=of) for name in ("har", "lstm")]
        assert sum(weights) == 1.0
