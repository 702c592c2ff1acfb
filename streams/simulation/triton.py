"""A Triton whose answers come, come late, fail or are wrong, and the small networks that it serves.

It stands where `tritonclient` would: the client above it, with its deadlines, checks, breaker and
canaries, is the real one. What networks would compute is none of its concern.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from featurestore.catalogue import Catalogue, feature_set_id_of
from schemas import Rules
from schemas.tensors import MINIMUM_BATCH, QUANTILES
from streams import triton_client
from streams.infer.models import NETWORKS, Models, Network, Shape, persistence

Mood = Literal["well", "slow", "failing", "dead", "nan", "some-nan", "wrong-shape", "missing"]
MOODS: tuple[Mood, ...] = ("slow", "failing", "dead", "nan", "some-nan", "wrong-shape", "missing")
PINNED = ("relative_spread_1m", "net_flow_1m")
MODALITIES = ("quote", "trade")
INTERVALS = 4
_HEADS = 2


class Served(NamedTuple):
    """What clients find around them: `mood` of the server now, `latency` of the next answer."""

    mood: Callable[[], Mood]
    latency: Callable[[], float]


class InferenceServerClient:
    """tritonclient's asyncio client, as far as ours uses it."""

    around: Served

    def __init__(self, url: str, channel_args: Sequence[tuple[str, Any]] = ()) -> None:
        pass

    async def infer(
        self, model_name: str, inputs: Sequence[Any], *, model_version: str, client_timeout: float
    ) -> "_Result":
        """Answer a request by the mood of the moment."""
        mood, latency = self.around.mood(), self.around.latency()
        if mood == "slow":
            await asyncio.sleep(client_timeout)
            raise _error("DEADLINE_EXCEEDED")
        await asyncio.sleep(min(latency, client_timeout))
        if mood == "failing":
            raise _error("StatusCode.UNAVAILABLE: failed to connect")
        if mood == "dead":
            raise _error("Stub process of the model is not healthy")
        return _Result(model_name, inputs[0].shape()[0], mood)

    async def get_model_repository_index(self, client_timeout: float) -> "_Index":
        """Say that all networks are there."""
        await asyncio.sleep(self.around.latency())
        return _Index([_Entry(f"{expert}-ticks", "1", "READY") for expert in NETWORKS])

    async def load_model(self, name: str, config: str | None = None, client_timeout: float = 0) -> None:
        """Load nothing."""
        await asyncio.sleep(self.around.latency())

    async def unload_model(self, name: str, client_timeout: float = 0) -> None:
        """Unload nothing."""
        await asyncio.sleep(self.around.latency())

    async def close(self) -> None:
        """There is no connection."""


class _Entry(NamedTuple):
    name: str
    version: str
    state: str


class _Index(NamedTuple):
    models: list[_Entry]


class _Result:
    """An answer to a request of so many rows."""

    def __init__(self, model: str, rows: int, mood: Mood) -> None:
        self._model = model
        self._rows = rows
        self._mood = mood

    def as_numpy(self, name: str) -> npt.NDArray[np.float32] | None:
        """Return an output."""
        if self._mood == "missing" and name == "quantiles":
            return None
        array = np.repeat(_ANSWERS[name][None], self._rows, axis=0)
        if self._mood == "wrong-shape":
            return array[:, :-1]
        if self._mood == "nan":
            array[:] = np.nan
        elif self._mood == "some-nan":
            array[::2] = np.nan
        return array


def _error(text: str) -> Exception:
    error: Exception = vars(triton_client)["InferenceServerException"](text)
    return error


_MEANS = np.array([1e-7, 5e-7, 6e-6, 1e-4], np.float32)
_ANSWERS = {
    "mean": _MEANS,
    "quantiles": _MEANS[:, None] * np.linspace(0.5, 2.0, len(QUANTILES), dtype=np.float32),
    "attention": np.full((_HEADS, INTERVALS, len(MODALITIES)), 1 / (INTERVALS * len(MODALITIES)), np.float32),
}


def small_models(catalogue: Catalogue, rules: Rules) -> Models:
    """Return two networks that read a few features, beside persistence."""
    base = persistence("ticks", rules.row_interval_ns)
    shape = Shape((*base.shape.features, *PINNED), MODALITIES, INTERVALS, rules.row_interval_ns)
    canary: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]] = {
        "features": np.ones((MINIMUM_BATCH, INTERVALS, len(shape.features)), np.float32),
        "mask": np.ones((MINIMUM_BATCH, INTERVALS, len(shape.features)), np.float32),
        "age": np.zeros((MINIMUM_BATCH, INTERVALS, len(MODALITIES)), np.float32),
        "origin_time_ns": np.zeros((MINIMUM_BATCH, 1), np.int64),
    }
    shapes = {name: answer.shape for name, answer in _ANSWERS.items()}
    plain = {name: shapes[name] for name in ("mean", "quantiles")}
    networks = (
        Network("lstm", "lstm-ticks", "1", "b" * 64, plain, canary, ()),
        Network("performer", "performer-ticks", "1", "a" * 64, shapes, canary, (5.0, 60.0)),
    )
    pinned = feature_set_id_of({name: catalogue.versions[name] for name in shape.features})
    return base._replace(shape=shape, networks=networks, feature_set_id=pinned)
