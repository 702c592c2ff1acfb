"""The four stages that keep a state, as they take records one by one without a broker."""

from functools import cache
from typing import Protocol

import msgspec
import numpy as np

from featurestore.catalogue import Catalogue
from featurestore.engine import PartitionEngine
from schemas import Rules
from schemas.forecasts import Forecast, decode_json
from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.tensors import QUANTILES
from schemas.topics import FEATURE_ROW, FORECAST, MARKET_STATE
from streams.infer.forecaster import Forecaster
from streams.infer.models import Models, Network, Shape, persistence
from streams.ingest.normaliser import Normaliser
from streams.ingest.state import NormaliserState
from streams.score.scorer import Scorer
from triton_models.evaluation.regimes import Regimes
from triton_models.online.regimes import Watched

RULES = Rules(
    partitions=1,
    tile_interval_ns=5 * SECOND_NS,
    row_interval_ns=10 * SECOND_NS,
    raw_partitions={"raw.exchange.v1": 1},
)
FEATURES = (
    *("realised_variance_1m", "realised_variance_5m", "realised_variance_1h", "realised_variance_1d"),
    *("market_volatility_5m", "quote_intensity_1m"),
)
_BASE = persistence("ticks", RULES.row_interval_ns)
_SHAPES = {"mean": (len(_BASE.horizons),), "quantiles": (len(_BASE.horizons), len(QUANTILES))}
MODELS = Models(
    Shape(_BASE.shape.features, ("trade", "clock"), 4, RULES.row_interval_ns),
    _BASE.horizons,
    _BASE.har,
    "h" * 64,
    tuple(Network(name, f"{name}-ticks", "1", name * 12, _SHAPES, {}, ()) for name in ("lstm", "performer")),
)
WATCHED = Watched(
    short="realised_variance_5m",
    long="realised_variance_1h",
    step_ns=MINUTE_NS,
    regimes=Regimes(means=(1.0, 4.0), deviations=(1.0, 1.0), transitions=((0.9, 0.1), (0.2, 0.8))),
)


class Given(msgspec.Struct, frozen=True, array_like=True):
    """One record as a stage reads it."""

    topic: str
    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class Made(msgspec.Struct, frozen=True, array_like=True):
    """One record that a stage writes."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Player(Protocol):
    """One partition of a stage; `resume`: by topic where it has to read on, after `restore`."""

    resume: dict[str, int]

    def take(self, given: Given) -> list[Made]: ...

    def state(self) -> tuple[list[Made], bytes]:
        """Return what had to be written first, and the state."""

    def restore(self, blob: bytes) -> list[Made]:
        """Go on from a state."""


@cache
def _catalogue():
    return Catalogue.discover(RULES).subset(FEATURES)


def _made(records):
    return [Made(each.topic, each.key, each.value, list(each.headers)) for each in records]


class IngestPlayer:
    def __init__(self):
        self.normaliser = Normaliser("raw.exchange.v1", 0, RULES)
        self.resume = {}

    def take(self, given):
        self.normaliser.feed(given.offset, b"", given.value, given.headers)
        return _made(self.normaliser.ready())

    def state(self):
        return _made(self.normaliser.flush()), self.normaliser.state().encode()

    def restore(self, blob):
        self.normaliser.restore(NormaliserState.decode(blob))
        self.resume = {"raw.exchange.v1": self.normaliser.next_offset}
        return []


class Engine(msgspec.Struct):
    """What a restart of featurize finds: its checkpoint, and the topic of its parts."""

    blob: bytes
    parts: list[bytes]


class FeaturizePlayer:
    """Its parts of the market come back to it, from a topic that outlives it."""

    def __init__(self):
        self.catalogue = _catalogue()
        self.engine = PartitionEngine(0, RULES, self.catalogue)
        self.parts = []
        self.resume = {}

    def take(self, given):
        self.engine.apply(given.topic, given.offset, dict(given.headers), given.value)
        return self._advance()

    def _advance(self):
        made = []
        while outputs := self.engine.advance():
            made += outputs
            for output in outputs:
                if output.topic == MARKET_STATE:
                    self._give(len(self.parts), output.value)
                    self.parts.append(output.value)
        return _made(made)

    def _give(self, offset, value):
        self.engine.apply(MARKET_STATE, offset, {"rules_id": RULES.rules_id.encode()}, value)

    def state(self):
        return [], msgspec.msgpack.encode(Engine(self.engine.checkpoint().blob, self.parts))

    def restore(self, blob):
        told = msgspec.msgpack.decode(blob, type=Engine)
        self.engine = PartitionEngine.restore(told.blob, 0, RULES, self.catalogue)
        self.resume, self.parts = self.engine.resume, list(told.parts)
        for offset, part in list(enumerate(self.parts))[self.resume.get(MARKET_STATE, 0) :]:
            self._give(offset, part)
        return self._advance()


class InferPlayer:
    def __init__(self):
        self.forecaster = Forecaster(MODELS)
        self.resume = {}

    def take(self, given):
        self.forecaster.take_row(given.offset, given.value)
        made = []
        while batch := self.forecaster.next_batch():
            made += _made(self.forecaster.settle(batch, _answers(batch)))
        return made

    def state(self):
        return [], self.forecaster.state()

    def restore(self, blob):
        self.forecaster.restore(blob)
        self.resume = {FEATURE_ROW: self.forecaster.rewind}
        return []


def _answers(batch):
    """What two networks could say: log-HAR's levels, one above them, one below."""
    asked = np.flatnonzero(batch.rows >= 0)
    if not len(asked):
        return {}
    places = np.concatenate([asked, np.repeat(asked[:1], batch.padded - batch.asked)])
    mean, quantiles = batch.base.mean[places], batch.base.quantiles[places]
    return {
        name: {"mean": (mean * scale).astype(np.float32), "quantiles": (quantiles * scale).astype(np.float32)}
        for name, scale in (("lstm", 1.1), ("performer", 0.8))
    }


class ScorePlayer:
    def __init__(self):
        self.scorer = Scorer(MODELS.horizons, RULES.row_interval_ns, WATCHED)
        self.resume = {}

    def take(self, given):
        if given.topic == FEATURE_ROW:
            return _made(self.scorer.take_row(given.offset, given.value))
        assert given.topic == FORECAST
        return _made(self.scorer.take_forecast(given.offset, decode_json(given.value, Forecast), 0))

    def state(self):
        return [], self.scorer.state()

    def restore(self, blob):
        self.resume = dict(self.scorer.restore(blob))
        return []


PLAYERS = {"ingest": IngestPlayer, "featurize": FeaturizePlayer, "infer": InferPlayer, "score": ScorePlayer}
