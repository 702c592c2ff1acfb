"""Puts what is simulated in the place of clients, clocks and the end of a process, by name, while a history runs.

The list is the whole border between the stages and the world: everything that a stage does is its own
code, and everything that it touches is one of these names.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import patch

from streams import kafka, runner, triton_client, watchdog
from streams.featurize import stage as featurize_stage
from streams.infer import versions
from streams.infer.models import Models
from streams.ingest import process as ingest_process
from streams.simulation import clients, triton
from streams.simulation.clock import here

_TIMED = (kafka, runner, watchdog, triton_client, versions, ingest_process)
_ENDING = (runner, watchdog, featurize_stage, ingest_process)

Ended = Callable[[int, str, BaseException | None], None]
"""Told the exit code, the reason and the error of a process that ends itself."""


@contextmanager
def standing_in(
    around: clients.Surroundings, served: triton.Served, models: Models, ended: Ended, draw: Random
) -> Iterator[None]:
    """Have the stages run on what is simulated within the block."""
    loop = around.loop

    def exit_now(code: int, reason: str, error: BaseException | None = None) -> NoReturn:
        process = here()
        if process.alive:
            ended(code, reason, error)
        process.step()
        raise AssertionError("an ended process goes on")

    def sleep(seconds: float) -> None:
        here().step()
        loop.pass_time(seconds)

    time = SimpleNamespace(
        monotonic=loop.time, time=loop.time, time_ns=lambda: int(loop.now * 1e9), sleep=sleep, perf_counter=loop.time
    )
    names = SimpleNamespace(uuid4=lambda: uuid.UUID(int=draw.getrandbits(128)))
    with ExitStack() as stack:

        def put(where: Any, name: str, what: Any) -> None:
            stack.enter_context(patch.object(where, name, what))

        for module in _TIMED:
            put(module, "time", time)
        for module in _ENDING:
            put(module, "exit_now", exit_now)
        for name in ("Producer", "Consumer", "AdminClient"):
            stand_in = getattr(clients, name)
            put(stand_in, "around", around) if hasattr(stand_in, "around") else setattr(stand_in, "around", around)
            put(kafka, name, stand_in)
        triton.InferenceServerClient.around = served
        put(triton_client, "InferenceServerClient", triton.InferenceServerClient)
        put(versions, "read_models", lambda *_, **__: models)
        put(ingest_process, "uuid", names)
        yield
