"""The one client of Triton: deadlines, checked answers, a breaker, canaries, healing.

Triton's health endpoints stay green when a Python model has died, so readiness here is an answered
canary inference. A model whose process is dead answers every request, after exactly one second,
with "Stub process ... is not healthy"; loading it again does nothing, unloading and loading heals it.
Unloading takes all versions of a model. So where others live, the dead one is left out of those to
serve and then let in again, which Triton does without a gap for the others.
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from schemas.errors import InferenceError
from schemas.metrics import (
    BREAKER_STATE,
    CANARIES,
    CANARY_ANSWERED,
    INFERENCE_BATCH_SIZE,
    INFERENCE_DURATION,
    INFERENCE_INFLIGHT,
    INFERENCE_REQUESTS,
)
from streams.breaker import Breaker
from streams.connection import triton_tls
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.triton_answers import Answer, Arrays, Served, plain, read_answer

__all__ = ["CANARY_SECONDS", "Answer", "Arrays", "Served", "TritonClient"]

LOGGER = logging.getLogger("foreshock.triton")
PATIENCE_SECONDS = 2.0
"""A model that has given no answer for so long opens the breaker, however few its failures are."""
CANARY_SECONDS = 3.0
"""Deadline of a canary: above the one second after which Triton says that a model's process is dead."""
LOAD_SECONDS = 30.0
"""Deadline of loading a model: 4 s where nothing else runs, most of it the import of torch."""
IDLE_SECONDS = 10.0
"""A model that nobody asked for so long gets a canary: its death shows before a forecast needs it."""
_SERVED = frozenset({"READY", "LOADING"})
_RETRY_SECONDS = 0.2
_MESSAGE_BYTES = 256 << 20
_CHANNEL = [
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    # gRPC's own backoff grows to two minutes: Triton would be back long before we knew.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class TritonClient:
    """Asks Triton for forecasts; for one event loop. `start` before use, `stop` after.

    Of several clients, each for another version of the models, one leads: what the metrics call by the
    models' names, and the breaker that they show, are its own; those of others are called `lstm-ticks@2`.
    """

    def __init__(self, settings: Settings, models: Sequence[Served], metrics: Metrics) -> None:
        self.models = tuple(models)
        self.breaker = Breaker(settings.breaker_failures, PATIENCE_SECONDS)
        self._url = settings.triton_url
        self._tls = triton_tls(settings)
        self._interval = settings.breaker_open_seconds
        self._metrics = metrics
        self._inputs: dict[str, dict[str, InferInput]] = {}
        self._answered = 0.0
        self._leads = True
        self._answers: dict[str, bool] = {}
        """By model: whether it answered when it was last asked."""
        self._client: Any = None
        self._troubled = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self, wait_seconds: float = 0.0) -> bool:
        """Connect; wait up to `wait_seconds` for a Triton that is there to answer. Return if it did."""
        self.connect()
        give_up = time.monotonic() + wait_seconds
        answered = await self.check()
        while not answered and await self._is_up() and time.monotonic() < give_up:
            await asyncio.sleep(_RETRY_SECONDS)
            answered = await self.check()
        self._watch = asyncio.create_task(self._watch_forever(), name="triton-canary")
        return answered

    def connect(self) -> None:
        """Connect alone: who only asks heals nothing and sends no canaries of its own accord."""
        self._client = InferenceServerClient(self._url, channel_args=_CHANNEL, **self._tls)

    async def stop(self) -> None:
        """Stop the canaries and close the connection."""
        await self._end_watch()
        self._forget_canaries()
        if self._client is not None:
            await self._client.close()

    async def retire(self) -> None:
        """Have Triton unload the versions of these models, where it serves others of them, and stop."""
        await self._end_watch()  # a canary would have them loaded again
        for model in self.models:
            try:
                states, others = await self._states(model)
                if states.get(model.version) in _SERVED and others:
                    await self._serve(model.name, others)
            except InferenceError as error:
                LOGGER.warning("%s %s stays loaded: %s", model.name, model.version, error)
        await self.stop()

    async def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    def lead(self, *, leads: bool) -> None:
        """Say whether this client's models make the forecasts."""
        if leads != self._leads:
            self._forget_canaries()
            self._leads = leads
            self._show()
            for model in self.models:
                if model.name in self._answers:
                    self._tell_answers(model, answers=self._answers[model.name])

    def _forget_canaries(self) -> None:
        """Tell nothing of canaries under the names that these models have now: it would stand there for ever."""
        for model in self.models:
            self._metrics.forget(CANARY_ANSWERED, self._label(model))

    def _tell_answers(self, model: Served, *, answers: bool) -> None:
        self._answers[model.name] = answers
        self._metrics[CANARY_ANSWERED].labels(self._label(model)).set(answers)

    async def infer(self, model: Served, arrays: Arrays, deadline_seconds: float, rows: int) -> Answer:
        """Return the outputs of a model by name, each of `model.outputs`' shape behind the batch axis.

        `rows`: how many rows are asked for, padding excluded. Rows may be NaN, but not all of them.

        Raises:
            InferenceError: no answer by the deadline, an error, another shape, nothing finite, or an
                open breaker.
        """
        if not self.breaker.is_closed:
            self._count(model, "breaker-open")
            raise InferenceError(f"{model.name}: the breaker is open")
        self._metrics[INFERENCE_BATCH_SIZE].labels(self._label(model)).observe(rows)
        self._metrics[INFERENCE_INFLIGHT].inc()
        started = time.monotonic()
        try:
            answer = await self._ask(model, arrays, deadline_seconds)
        except InferenceError as error:
            self._failed(model, error)
            raise
        finally:
            self._metrics[INFERENCE_INFLIGHT].dec()
            self._metrics[INFERENCE_DURATION].labels(self._label(model)).observe(time.monotonic() - started)
        self.breaker.succeed(model.name)
        self._answered = time.monotonic()
        if not self._answers.get(model.name, True):
            self._tell_answers(model, answers=True)  # a model that is asked gets no canary
        return answer

    async def ask_aside(self, model: Served, arrays: Arrays, deadline_seconds: float) -> Answer:
        """Return what `infer` would, to a request that no forecast waits for: its failure opens no breaker.

        Raises:
            InferenceError: as `infer`.
        """
        if not self.breaker.is_closed:
            raise InferenceError(f"{model.name}: the breaker is open")
        return await self._ask(model, arrays, deadline_seconds)

    def _failed(self, model: Served, error: InferenceError) -> None:
        was_closed = self.breaker.is_closed
        self.breaker.fail(model.name, time.monotonic())
        self._show()
        if was_closed and not self.breaker.is_closed:
            LOGGER.warning("%s; the breaker is open, %s", error, self._follows())
            self._troubled.set()

    def _follows(self) -> str:
        """Return what an open breaker means."""
        if self._leads:
            return "forecasts are fallbacks"
        return f"version {'+'.join(sorted({model.version for model in self.models}))} is not asked"

    async def load(self, name: str) -> None:
        """Have Triton load a model, all versions that lie there; raises InferenceError."""
        await self._control(self._client.load_model(name, client_timeout=LOAD_SECONDS), f"{name}: cannot be loaded")

    async def _serve(self, name: str, versions: Sequence[str]) -> None:
        """Have Triton serve these versions of a model and no other; raises InferenceError."""
        asked = self._client.get_model_config(name, as_json=True, client_timeout=CANARY_SECONDS)
        found: dict[str, Any] = (await self._control(asked, f"{name}: no configuration"))["config"]
        policy = {"specific": {"versions": [int(version) for version in versions]}}
        config = json.dumps({**found, "version_policy": policy})
        loading = self._client.load_model(name, config=config, client_timeout=LOAD_SECONDS)
        await self._control(loading, f"{name}: cannot be loaded")

    async def unload(self, name: str) -> None:
        """Have Triton unload a model; raises InferenceError."""
        await self._control(self._client.unload_model(name, client_timeout=LOAD_SECONDS), f"{name}: cannot be unloaded")

    async def index(self) -> dict[tuple[str, str], str]:
        """Return (model, version) to its state; raises InferenceError when Triton is not there."""
        found = await self._control(self._client.get_model_repository_index(client_timeout=CANARY_SECONDS), "no index")
        return {(model.name, model.version): model.state for model in found.models}

    async def check(self) -> bool:
        """Send every model its canary, heal those that fail, and set the breaker. Return if all answered."""
        was_closed = self.breaker.is_closed
        self.breaker.probe()
        self._show()
        answered = bool(self.models) and all(await asyncio.gather(*(self._canary(model) for model in self.models)))
        if answered:
            self.breaker.close()
            self._answered = time.monotonic()
            LOGGER.info("every model answers its canary: the breaker is closed")
        else:
            self.breaker.open()
            if was_closed:
                LOGGER.warning("a canary was not answered; the breaker is open, %s", self._follows())
        self._show()
        return answered

    async def canary(self, model: Served) -> Answer:
        """Return a model's answer to its canary, whatever the breaker says; raises InferenceError."""
        return await self._ask(model, model.canary, CANARY_SECONDS)

    async def _canary(self, model: Served) -> bool:
        try:
            await self.canary(model)
        except InferenceError as error:
            LOGGER.debug("canary: %s", error)
            self._tell_canary(model, answered=False)
            await self._heal(model, str(error))
            return False
        self._tell_canary(model, answered=True)
        return True

    def _tell_canary(self, model: Served, *, answered: bool) -> None:
        self._metrics[CANARIES].labels(self._label(model), "ok" if answered else "failed").inc()
        self._tell_answers(model, answers=answered)

    async def _heal(self, model: Served, problem: str) -> None:
        """Load a model that Triton does not have, or whose process is dead."""
        try:
            states, others = await self._states(model)
            if "not healthy" in problem:
                LOGGER.warning("%s %s: its process is dead, loading it again", model.name, model.version)
                await (self._serve(model.name, others) if others else self.unload(model.name))
            elif states.get(model.version) in _SERVED:
                return
            # Triton does nothing for a plain load of a model whose files are as they were.
            await (self._serve(model.name, [*others, model.version]) if others else self.load(model.name))
        except InferenceError as error:
            LOGGER.debug("%s", error)

    async def _states(self, model: Served) -> tuple[dict[str, str], list[str]]:
        """Return the state of each version of a model, and which others than this one are served."""
        states = {version: state for (name, version), state in (await self.index()).items() if name == model.name}
        return states, [name for name, state in states.items() if name != model.version and state in _SERVED]

    async def _is_up(self) -> bool:
        try:
            await self.index()
        except InferenceError:
            return False
        return True

    async def _watch_forever(self) -> None:
        """Send canaries while the breaker is open, and to models that nobody asked for a while."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._troubled.wait(), self._interval)
            self._troubled.clear()
            if not self.breaker.is_closed or time.monotonic() - self._answered > IDLE_SECONDS:
                await self.check()

    async def _ask(self, model: Served, arrays: Arrays, deadline_seconds: float) -> Answer:
        # Between filling the reused inputs and the request made of them nothing else runs: the
        # client builds the request before it first waits.
        inputs = self._filled(model.name, arrays)
        try:
            result = await self._client.infer(
                model.name, inputs, model_version=model.version, client_timeout=deadline_seconds
            )
        except InferenceServerException as error:
            late = "DEADLINE_EXCEEDED" in str(error)
            self._count(model, "deadline" if late else "error")
            raise InferenceError(f"{model.name}: {plain(error)}") from None
        answer, problem = read_answer(model.outputs, result, len(next(iter(arrays.values()))))
        self._count(model, "unusable" if problem else "ok")
        if problem:
            raise InferenceError(f"{model.name}: {problem}")
        return answer

    def _filled(self, model: str, arrays: Arrays) -> list[InferInput]:
        inputs = self._inputs.setdefault(model, {})
        for name, array in arrays.items():
            if name not in inputs:
                inputs[name] = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            inputs[name].set_shape(list(array.shape))
            inputs[name].set_data_from_numpy(array)
        return [inputs[name] for name in arrays]

    async def _control(self, call: Any, what: str) -> Any:
        try:
            return await call
        except InferenceServerException as error:
            raise InferenceError(f"{what}: {plain(error)}") from None

    def _count(self, model: Served, outcome: str) -> None:
        self._metrics[INFERENCE_REQUESTS].labels(self._label(model), outcome).inc()

    def _label(self, model: Served) -> str:
        return model.name if self._leads else f"{model.name}@{model.version}"

    def _show(self) -> None:
        if self._leads:
            self._metrics[BREAKER_STATE].set(int(self.breaker.state))
