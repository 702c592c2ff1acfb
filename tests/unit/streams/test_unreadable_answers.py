"""An answer that Triton's own client library cannot read is no answer, and never the end of the process."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.errors import InferenceError
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.triton_client import Served, TritonClient

MODEL = Served("lstm-ticks", "1", {"mean": (4,)}, {"features": np.zeros((16, 2), np.float32)})


class Result:
    """An answer whose bytes are fewer than its shape says."""

    def as_numpy(self, _):
        return np.empty(0, np.float32).reshape(16, 4)


async def infer(*_, **__):
    return Result()


def test_bytes_that_are_not_those_of_their_shape_are_no_answer():
    client = TritonClient(Settings(), [MODEL], Metrics())
    client._client = SimpleNamespace(infer=infer)
    client.breaker.close()
    with pytest.raises(InferenceError, match="lstm-ticks: the answer cannot be read: cannot reshape"):
        asyncio.run(client.infer(MODEL, MODEL.canary, 1.0, 16))
