"""Rows prepared for training: split by time, log-HAR and scaling fitted, examples drawn.

Targets are purged by their horizon: what the training side learns from ends before the split.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from schemas.tensors import HORIZON_NS
from triton_models.bundle import Size
from triton_models.dataset import Indices, RowTable, scaling_of
from triton_models.har import Floats, fit, forecast, log_variance, windows_of


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
    har_rows: int = 200_000
    seed: int = 0

    @property
    def steps(self) -> int:
        """Return the steps of the optimiser in all epochs."""
        return self.epochs * max(1, self.examples // self.batch)


DEFAULTS = Options()


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

    def __init__(self, table: RowTable, horizons: Sequence[str], options: Options) -> None:
        """Split by time, fit log-HAR and scaling on the first part."""
        self.table, self.options = table, options
        ahead = {horizon: table.ahead(horizon) for horizon in horizons}
        times = np.sort(table.row_time_ns)
        self.split_ns = int(times[int(len(times) * (1 - options.validation_ratio))])
        seen = {
            horizon: np.where(table.row_time_ns + HORIZON_NS[horizon] <= self.split_ns, target, np.nan)
            for horizon, target in ahead.items()
        }
        past = np.stack([table.column(name) for name in windows_of(table.pinned.features)], axis=-1)
        (first,) = np.nonzero(table.row_time_ns <= self.split_ns)
        some = first[:: -(-len(first) // options.har_rows)]
        self.har = fit(
            windows_of(table.pinned.features),
            past[some],
            table.row_time_ns[some],
            {horizon: target[some] for horizon, target in seen.items()},
        )
        self.scaling = scaling_of(table, first)
        self.base = forecast(self.har, past, table.row_time_ns)
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


def _logs(targets: Mapping[str, Floats]) -> Floats:
    """Return log targets (N, H)."""
    return np.stack([log_variance(target, HORIZON_NS[name]) for name, target in targets.items()], axis=-1)


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
