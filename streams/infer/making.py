"""From a batch and its answers to the numbers of its forecasts: what infer runs live, and `rebuild` runs again."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.calibration import is_watched_only
from schemas.forecasts import Status
from schemas.rows import quality_names
from streams.infer.batch import Answers, Batch, Job, experts_of
from streams.infer.combine import Flags, Floats, combine
from streams.infer.models import Models
from streams.infer.records import Made
from streams.infer.widths import relative_widths


class Told(Protocol):
    """What calibration says of the N instruments of a batch."""

    @property
    def shifts(self) -> Floats:
        """Added to log quantiles (N, H, Q)."""

    @property
    def regime(self) -> npt.NDArray[np.int64]:
        """State of the market (N,), -1 where none is known."""

    def weigh(self, known: Flags) -> Floats:
        """Return the weights (N, H, 2, K) of experts, given which of them forecast (N, H, K)."""


class Tells(Protocol):
    """Where calibration is asked for: the states that score wrote, or what a record says of them."""

    def told(self, instruments: Sequence[str], experts: tuple[str, ...], /) -> Told:
        """Return what there is to say of these instruments and experts."""


def made_of(models: Models, batch: Batch, answers: Answers, calibrations: Tells, reason: str = "") -> Made:
    """Combine, calibrate and rank all rows of a batch at once; `reason` says why there are no answers."""
    experts, opinions, usable = experts_of(models, batch, answers)
    mixed = tuple(name for name in experts if not is_watched_only(name))
    told = calibrations.told(tuple(batch.instruments), mixed)
    # Without all the networks log-HAR stands alone.
    heard = {name: opinions[name] & ((name == "har") | usable[:, None]) for name in mixed}
    levels, weights = combine([experts[name].where(heard[name]) for name in mixed], told.weigh, told.shifts)
    of = {name: weights[..., mixed.index(name)] if name in mixed else np.zeros(weights.shape[:-1]) for name in experts}
    return Made(
        levels=levels,
        shifts=told.shifts,
        regime=told.regime,
        widths=relative_widths(levels),
        experts=experts,
        weights=of,
        status=[_status(row, good) for row, good in zip(batch.rows.tolist(), usable.tolist(), strict=True)],
        reason=reason or "the answer is not finite",
    )


def quality_of(models: Models, job: Job, index: int) -> list[str]:
    """Return the row's quality; `warming` while the model's own window or a variance is not filled.

    The row's own `warming` is of the longest window of the whole catalogue, whoever reads it.
    """
    names = [name for name in quality_names(job.quality[index]) if name != "warming"]
    columns = [models.shape.features.index(name) for name in models.har.windows]
    filled = job.tensors.present[index].all() and job.tensors.mask[index, -1, columns].all()
    return names if filled else ["warming", *names]


def _status(row: int, good: bool) -> Status:
    if row < 0:
        return "unavailable"
    return "model" if good else "fallback"
