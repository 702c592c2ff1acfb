"""Some forecasts explained while they are made: leave-one-modality-out through Triton, beside their way.

Which ones follows from their ids alone. A sampled forecast's attention record is written as all
others are, before its forecast; when its explanation is there it is written again with it. Nothing
waits for that: while one explanation is under way no other begins, and a failure is no failure of Triton's.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import ForeshockError
from schemas.forecasts import Attention, decode_json, encode_json
from schemas.metrics import ATTENTION_FAITHFULNESS
from schemas.tensors import MINIMUM_BATCH
from streams.infer.batch import Batch
from streams.infer.models import Network
from streams.infer.versions import Choice, served
from streams.metrics_server import Metrics
from streams.stage import FencedError, Record
from streams.triton_client import Arrays
from triton_models.bundle import Spec, read
from triton_models.explanation.coalitions import Tensors, absent, all_but_one, mixed
from triton_models.explanation.faithfulness import rank_correlation

LOGGER = logging.getLogger("foreshock.infer")
MEASURED = 1_000
"""Faithfulness is that of so many last explanations of this process."""

Emit = Callable[[int, Record], None]


class _Sampled(NamedTuple):
    """A forecast to be explained: its attention record, its row of the request, and the request's inputs."""

    record: Record
    row: int
    arrays: Arrays


class Explanations:
    """Explains one of `every` forecasts (0: none), each within a deadline of its own."""

    def __init__(self, every: int, deadline_seconds: float, repository: Path, emit: Emit, metrics: Metrics) -> None:
        self._every, self._deadline = every, deadline_seconds
        self._repository = repository
        self._emit, self._metrics = emit, metrics
        self._specs: dict[str, Spec] = {}
        self._correlations: deque[float] = deque(maxlen=MEASURED)
        self._task: asyncio.Task[None] | None = None

    def begin(self, partition: int, choice: Choice, batch: Batch, attention: Sequence[Record]) -> None:
        """Explain the first sampled forecast of a batch, unless another is under way; returns at once."""
        if self._task is not None and not self._task.done():
            return
        sampled = next(self._sampled(batch, attention), None)
        if sampled is not None and choice.client is not None:
            work = self._explain(partition, choice, sampled)
            self._task = asyncio.create_task(work, name=f"explain-{partition}")

    async def stop(self) -> None:
        """Leave what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _sampled(self, batch: Batch, attention: Sequence[Record]) -> Iterator[_Sampled]:
        ids = (f"{name}@{job.origin.time_ns}" for job in batch.jobs for name in job.instruments)
        rows = dict(zip(ids, batch.rows.tolist(), strict=True))
        for record in attention:
            forecast_id = dict(record.headers)["ce_id"].decode()
            if is_sampled(forecast_id, self._every):
                yield _Sampled(record, rows[forecast_id], batch.arrays)

    async def _explain(self, partition: int, choice: Choice, sampled: _Sampled) -> None:
        network = next(network for network in choice.models.active if network.half_lives)
        try:
            spec = await self._spec(network)
            arrays = without_each(spec, sampled.arrays, sampled.row)
            answer = await choice.client.ask_aside(served(network), arrays, self._deadline)  # type: ignore[union-attr]
            explained = self._explained(spec, answer["mean"], decode_json(sampled.record.value or b"", Attention))
            self._emit(partition, sampled.record._replace(value=encode_json(explained)))
        except FencedError:
            return
        except ForeshockError as error:
            LOGGER.debug("not explained: %s", error)

    async def _spec(self, network: Network) -> Spec:
        if network.hash not in self._specs:
            folder = self._repository / network.name / network.version
            self._specs[network.hash] = (await asyncio.to_thread(read, folder)).spec
        return self._specs[network.hash]

    def _explained(self, spec: Spec, mean: npt.NDArray[np.float32], attention: Attention) -> Attention:
        """Return the record with contributions, and with what is known of faithfulness by now."""
        levels = np.log(mean[: 1 + len(spec.modalities)].astype(np.float64))  # (1 + M, H)
        lost = levels[0] - levels[1:]  # (M, H)
        mass = np.array([attention.modalities[name] for name in spec.modalities])
        correlation = rank_correlation(mass, lost[:, 0])
        if np.isfinite(correlation):
            self._correlations.append(correlation)
            self._metrics[ATTENTION_FAITHFULNESS].set(self._faithfulness)
        contributions = {
            horizon: dict(zip(spec.modalities, lost[:, index].tolist(), strict=True))
            for index, horizon in enumerate(spec.horizons)
        }
        measured = (self._faithfulness, len(self._correlations)) if self._correlations else None
        return msgspec.structs.replace(attention, contributions=contributions, faithfulness=measured)

    @property
    def _faithfulness(self) -> float:
        return float(np.mean(self._correlations))


def is_sampled(forecast_id: str, every: int) -> bool:
    """Return whether a forecast is one of `every` that are explained, by its id alone; 0: none is.

    >>> sum(is_sampled(f"binance:BTC-USDT@{second}", 10) for second in range(1000))
    98
    """
    if not every:
        return False
    return int.from_bytes(hashlib.sha256(forecast_id.encode()).digest()[:8]) % every == 0


def without_each(spec: Spec, arrays: Arrays, row: int) -> Arrays:
    """Return inputs of 1 + M rows, padded: one row of a request, then it without each modality in turn."""
    seen = Tensors(*(np.asarray(arrays[name][row]) for name in Tensors._fields))
    left = mixed(spec, seen, absent(spec, seen), all_but_one(len(spec.modalities)))
    places = np.concatenate([np.arange(len(left.age)), np.zeros(max(0, MINIMUM_BATCH - len(left.age)), np.int64)])
    origin = np.full((len(places), 1), arrays["origin_time_ns"][row, 0], np.int64)
    return {name: part[places] for name, part in left._asdict().items()} | {"origin_time_ns": origin}
