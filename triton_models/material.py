"""Rows prepared for training: split by time, log-HAR and scaling fitted, examples drawn.

Targets are purged by their horizon: what the training side learns from ends before the split.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from schemas.errors import StateError
from schemas.rules import PROFILES
from schemas.tensors import HORIZON_NS, HORIZONS
from triton_models.bundle import Size
from triton_models.dataset import Indices, RowTable, scaling_of
from triton_models.fitting import fit_ewma, fit_har
from triton_models.har import Floats, forecast, log_variance
from triton_models.terms import BASES, DECAYED, Reads


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What training may be told."""

    intervals: int = 32
    size: Size = Size()
    epochs: int = 8
    examples: int = 12_288
    """Examples in one epoch, drawn anew for each."""
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    dropout: float = 0.2
    """Probability that an example does not get to see a modality."""
    read: tuple[str, ...] = ()
    """The pinned features that a network may read; none: all of them. The base reads what it needs."""
    trusted: tuple[str, ...] = ()
    """Horizons at which a network may correct its base; none: at all of them."""
    gate_penalty: float = 0.0
    """L1 penalty on input gates, 0: no gates. A feature is read if it lowers the loss by more per opening."""
    averaging: float = 0.98
    """Decay of the moving average of weights, per step."""
    longest_choosing: str = "1h"
    """The longest horizon that may choose a checkpoint; of longer ones there are too few independent targets."""
    patience: int = 3
    """Epochs without a better validation loss before training ends."""
    validation_ratio: float = 0.15
    validation_examples: int = 4096
    har_rows: int = 400_000
    seed: int = 0

    @property
    def steps(self) -> int:
        """Return the steps of the optimiser in all epochs."""
        return self.epochs * max(1, self.examples // self.batch)


DEFAULTS = Options()
OPTIONS = {
    "ticks": Options(
        intervals=16,
        epochs=12,
        examples=24_576,
        patience=12,
        gate_penalty=5e-4,
        weight_decay=0.1,
        longest_choosing="1m",
    ),
    "bars": Options(
        epochs=6,
        examples=12_800,
        learning_rate=1e-3,
        weight_decay=0.3,
        gate_penalty=1e-3,
        trusted=("5m", "1h"),
        validation_ratio=0.0,
    ),
}
"""What networks of a profile are trained with.

Ticks: rows come each second, and those of one hour tell the same of slow things. Sixteen rows say what is new,
more than a minute ahead chooses no epoch, and gates close what 30 hours can only be learned by heart from.
Bars: to the last epoch, for a month of validation chose epochs by luck; and not a day ahead, where it cannot
tell luck from skill.
"""


class Examples(NamedTuple):
    """Examples on their way through a network."""

    features: Tensor
    mask: Tensor
    age: Tensor
    base: tuple[Tensor, Tensor, Tensor]
    """Log-HAR: log mean (B, H), log median (B, H), steps (B, H, Q - 1)."""
    target: Tensor
    """(B, H): log of the realised variance that followed, NaN where not known."""


class Material:
    """Rows prepared for training: split, base forecasts and targets."""

    def __init__(self, table: RowTable, profile: str, options: Options) -> None:
        """Split by time, fit log-HAR, the moving average and scaling on the first part.

        Raises:
            StateError: where rows are too few, or no realised variance is pinned that log-HAR could read.
        """
        self.table, self.profile, self.options = table, profile, options
        ahead = {horizon: table.ahead(horizon) for horizon in HORIZONS[profile]}
        times = np.sort(table.row_time_ns)
        self.split_ns = int(times[min(int(len(times) * (1 - options.validation_ratio)), len(times) - 1)])
        seen = {
            horizon: np.where(table.row_time_ns + HORIZON_NS[horizon] <= self.split_ns, target, np.nan)
            for horizon, target in ahead.items()
        }
        (first,) = np.nonzero(table.row_time_ns <= self.split_ns)
        some = first[:: -(-len(first) // options.har_rows)]
        times, learned = table.row_time_ns[some], {horizon: target[some] for horizon, target in seen.items()}
        reads, decayed = _pinned_of(profile, table)
        columns = table.columns((*reads.features, *decayed))
        chosen = {name: values[some] for name, values in columns.items()}
        self.har = fit_har(reads, chosen, times, learned)
        self.ewma = fit_ewma(decayed, PROFILES[profile].tile_interval_ns, chosen, times, learned)
        self.scaling = scaling_of(table, first)
        self.base = forecast(self.har, columns, table.row_time_ns)
        self.seen, self.ahead = _logs(seen), _logs(ahead)
        usable = np.isfinite(self.base.median).all(-1)
        (self.training,) = np.nonzero(usable & np.isfinite(self.seen).any(-1))
        later = usable & np.isfinite(self.ahead).any(-1) & (table.row_time_ns > self.split_ns)
        (validation,) = np.nonzero(later)
        self.validation = validation[:: max(1, len(validation) // options.validation_examples)]

    @property
    def horizons(self) -> tuple[str, ...]:
        """Return the horizons of the targets' columns."""
        return self.har.horizons

    def taught(self, rows: Indices) -> Examples:
        """Return the examples that end at `rows`, with the targets that end before the split."""
        return self._examples(rows, self.seen)

    def judged(self, rows: Indices) -> Examples:
        """Return the examples that end at `rows`, with all targets."""
        return self._examples(rows, self.ahead)

    def _examples(self, rows: Indices, targets: Floats) -> Examples:
        features, mask, age = self.table.windows(rows, self.options.intervals)
        base = tuple(_tensor(part[rows]) for part in self.base)
        tensors = (torch.from_numpy(features), torch.from_numpy(mask), torch.from_numpy(age))
        return Examples(*tensors, (base[0], base[1], base[2]), _tensor(targets[rows]))


def _pinned_of(profile: str, table: RowTable) -> tuple[Reads, tuple[str, ...]]:
    """Return what log-HAR and the moving average of a profile can read of the pinned features."""
    reads = BASES[profile].among(table.pinned.features)
    if not reads.variances:
        raise StateError(f"expected one of {', '.join(BASES[profile].variances)} among the pinned features, got none")
    return reads, tuple(name for name in DECAYED[profile] if name in table.pinned.features)


def _logs(targets: Mapping[str, Floats]) -> Floats:
    """Return log targets (N, H)."""
    return np.stack([log_variance(target, HORIZON_NS[name]) for name, target in targets.items()], axis=-1)


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
