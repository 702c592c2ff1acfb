"""What networks are asked: jobs of row messages, gathered in requests, and experts' levels from the answers."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.tensors import MINIMUM_BATCH
from streams.infer.combine import Flags, Floats, Levels
from streams.infer.models import Models
from streams.infer.records import Origin
from streams.infer.window import Tensors
from triton_models.online.experts import NEARLY

Answers = Mapping[str, Mapping[str, npt.NDArray[np.float32]]]
"""Expert to its outputs by name, each with a row for every row of the request."""


class Job(NamedTuple):
    """What one row message, or a part of a large one, asks for."""

    origin: Origin
    offset: int
    tensors: Tensors
    quality: tuple[int, ...]

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments to forecast."""
        return self.origin.instruments


class Batch(NamedTuple):
    """One request to each network.

    `arrays`: inputs, padded to at least 16 rows with copies of the first; `rows` (N,): the place in
    the request of each instrument of all jobs, -1 where log-HAR knows nothing and so no network is
    asked; `baselines`: by name the forecasts of all N that need no network, log-HAR's first.
    """

    jobs: list[Job]
    arrays: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]
    rows: npt.NDArray[np.int64]
    baselines: dict[str, Levels]

    @property
    def base(self) -> Levels:
        """Log-HAR's forecast of all N."""
        return self.baselines["har"]

    @property
    def asked(self) -> int:
        """How many rows are asked for, padding excluded."""
        return int((self.rows >= 0).sum())

    @property
    def padded(self) -> int:
        """How many rows the request carries."""
        return len(self.arrays["features"])

    @property
    def intervals(self) -> int:
        """How many row messages it catches up."""
        return len({job.offset for job in self.jobs})

    @property
    def instruments(self) -> Iterator[str]:
        """The instruments of all jobs, N names."""
        return (name for job in self.jobs for name in job.instruments)


class Experts(NamedTuple):
    """All experts of a batch."""

    levels: dict[str, Levels]
    """By name: log-HAR first, other baselines, networks; NaN where nothing is known."""
    opinions: dict[str, Flags]
    """By name (N, H): where an expert says something of its own; a network may have given a horizon back to log-HAR."""
    usable: Flags
    """(N,): where log-HAR knows, and all networks that are needed have answered."""


def batch_of(models: Models, jobs: list[Job]) -> Batch:
    """Return the request that jobs make."""
    features, mask, age = (np.concatenate([job.tensors[part] for job in jobs]) for part in range(3))
    times = np.array([job.origin.time_ns for job in jobs for _ in job.instruments], np.int64)
    baselines = {name: Levels(*levels) for name, levels in models.baselines(features, mask, times).items()}
    asked = np.flatnonzero(baselines["har"].usable())
    rows = np.full(len(times), -1, np.int64)
    rows[asked] = np.arange(len(asked))
    padding = max(0, MINIMUM_BATCH - len(asked)) if len(asked) else 0
    sent = np.concatenate([asked, np.repeat(asked[:1], padding)])
    arrays = {
        "features": features[sent],
        "mask": mask[sent],
        "age": age[sent],
        "origin_time_ns": times[sent, None],
    }
    return Batch(jobs, arrays, rows, baselines)


def experts_of(models: Models, batch: Batch, answers: Answers) -> Experts:
    """Return the experts' levels of a batch; a network's are left out where one of its outputs is not finite."""
    levels = dict(batch.baselines)
    asked = batch.rows >= 0
    opinions = {name: one.known() for name, one in levels.items()}
    good = {}
    for name, outputs in answers.items():
        told = Levels(_spread(outputs["mean"], batch.rows), np.sort(_spread(outputs["quantiles"], batch.rows)))
        good[name] = asked & told.usable() & _finite(outputs, batch.rows)
        levels[name] = told.where(good[name][:, None])
        opinions[name] = np.abs(levels[name].mean / batch.base.mean - 1) > NEARLY
    needed = [network.expert for network in models.active]
    usable = asked & bool(needed)
    for name in needed:
        usable = usable & good.get(name, False)
    return Experts(levels, opinions, usable)


def _spread(output: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> Floats:
    """Return an output in the order of all instruments, NaN where none was asked for."""
    spread = np.full((len(rows), *output.shape[1:]), np.nan)
    spread[rows >= 0] = output[rows[rows >= 0]]
    return spread


def _finite(outputs: Mapping[str, npt.NDArray[np.float32]], rows: npt.NDArray[np.int64]) -> Flags:
    finite = np.ones(len(rows), bool)
    for output in outputs.values():
        whole = np.asarray(np.isfinite(output).reshape(len(output), -1).all(-1))
        finite[rows >= 0] &= whole[rows[rows >= 0]]
    return finite
