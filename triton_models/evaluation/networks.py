"""Networks as experts: walking forward, pooled over instruments, each correcting base forecasts.

A network sees windows of the bars features and moves the base's mean, median and quantile steps, all in
log variance. All horizons are heads of one network, learnt at once; a forecast is the mean of several
seeds, in log variance. In the first fold a network learns from nothing, in later ones it goes on from
the weights it has (`Walk.refresh`) or stays as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from schemas.errors import StateError
from schemas.rules import PROFILES
from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.bundle import Scaling, Size, Spec
from triton_models.dataset import Indices, RowTable, scaling_of
from triton_models.evaluation.bases import PROFILE, Bases, base_of, log_base, log_level
from triton_models.evaluation.definitions import NETWORK_FEATURES
from triton_models.evaluation.folds import Fold, Folds
from triton_models.evaluation.panel import Flags, Forecasts, Panel
from triton_models.har import Floats, Har, LogForecast
from triton_models.learning import deterministic, learn, settle
from triton_models.material import OPTIONS, Examples, Options
from triton_models.networks import NO_BASE, Network, build
from triton_models.networks.gates import GatedInputs, gate
from triton_models.pinned import Pinned, pin
from triton_models.terms import Reads

__all__ = ["DEFAULT_WALK", "Bases", "Learned", "NetworkExpert", "Walk", "base_of", "table_of"]

Told = Callable[[str], None]
"""Called with what is being done: a seed of a network takes minutes."""
_BLOCK = 1024
"""Rows that are forecast at once: more fall out of the cache."""
_NONE = Har(reads=Reads(variances=()), horizons=(), log_factor=(), coefficients=(), smearing=(), residuals=())
"""The base is given as forecasts, so that the spec holds no log-HAR."""


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """How a network walks forward."""

    first: Options = OPTIONS[PROFILE]
    """The first fold's training: that of live networks."""
    refresh: Options | None = Options(
        epochs=1, examples=6_400, learning_rate=3e-4, weight_decay=0.3, validation_ratio=0.0
    )
    """Later folds' training, from the weights at hand; none: the first fold's network serves all.

    On the bars named below both gave the same QLIKE to 0.0007; later months hold coins that the first does not.
    """
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    trusted: tuple[str, ...] = OPTIONS[PROFILE].trusted
    """Horizons at which a network may correct its base. A day ahead, validation cannot tell luck from skill:
    bars from 2023-11 to 2024-02, LSTM, four seeds: QLIKE 1 to 5 % above the base's."""


DEFAULT_WALK = Walk()


class Learned(NamedTuple):
    """What one seed's training came to in one fold."""

    seed: int
    from_ns: int
    history: list[float]
    """Validation losses, the base's first."""
    pruned: tuple[str, ...]
    """Features whose gates are closed."""
    left_to_base: tuple[str, ...]
    """Horizons at which it was no better than the base on its validation rows."""


class NetworkExpert:
    """A network, or an ablation of one, that corrects the forecasts of a base."""

    def __init__(
        self,
        kind: str,
        base: Bases,
        *,
        features: Sequence[str] = (),
        walk: Walk = DEFAULT_WALK,
        told: Told = lambda _text: None,
    ) -> None:
        """Take base forecasts by horizon, of all rows that are learnt from or forecast.

        `kind` is one of `networks.build`; features are those of an evaluation's networks, and gates choose among them.
        """
        self.name, self.walk = kind, walk
        self._told = told
        self._base = base
        self._pinned = pin(PROFILE, features or NETWORK_FEATURES)
        self._done: tuple[object, dict[str, Forecasts]] = (None, {})
        self.learned: list[Learned] = []
        """An account of each training, for reports."""

    def forecasts(self, panel: Panel, folds: Folds, horizon: str) -> Forecasts:
        """Forecast the rows of all folds; NaN where the base says nothing.

        All horizons are learnt at once, so that the next horizon of the same panel and folds costs nothing.

        Raises:
            StateError: where a fold has no rows to learn from.
        """
        key = (panel.data_hash(), tuple(folds))
        if self._done[0] != key:
            self.learned = []
            self._done = (key, self._walked(panel, folds))
        return self._done[1][horizon]

    def _walked(self, panel: Panel, folds: Folds) -> dict[str, Forecasts]:
        first = next(iter(folds))
        table = table_of(panel, self._pinned)
        base = log_base(panel, self._base) if self.name != NO_BASE else log_level(panel, self._base, first)
        material = _Material(table, base, _log_targets(panel, tuple(self._base)), tuple(self._base))
        total = np.zeros((len(panel), len(self._base), 1 + len(QUANTILES)))
        for seed in self.walk.seeds:
            for fold, log_levels in self._seed(material, panel, folds, seed):
                total[fold] += log_levels
        total[~np.logical_or.reduce([fold.forecast(panel) for fold in folds])] = np.nan
        levels = np.exp(total / len(self.walk.seeds))
        return {name: Forecasts(levels[:, i, 0], levels[:, i, 1:]) for i, name in enumerate(self._base)}

    def _seed(self, material: "_Material", panel: Panel, folds: Folds, seed: int) -> Iterator[tuple[Indices, Floats]]:
        """Yield the rows of each fold and one network's log levels of them (N, H, 1 + Q)."""
        network: Network | None = None
        left: tuple[str, ...] = ()
        for place, fold in enumerate(folds, start=1):
            self._told(f"{self.name}: seed {seed}, month {place} of {len(folds)}")
            options = self.walk.first if network is None else self.walk.refresh
            if options is not None:
                options = msgspec.structs.replace(options, seed=seed)
                lessons = _FoldLessons(material, panel, fold, options)
                with deterministic(seed):
                    if network is None:
                        network = self._untrained(material.table, lessons)
                    network, history = learn(network, lessons)
                    network.hurry(enabled=True)
                    left = settle(network, lessons, self.walk.trusted, left)
                self.learned.append(Learned(seed, fold.from_ns, history, _pruned(network, self._pinned), left))
            (rows,) = np.nonzero(fold.forecast(panel))
            if network is not None:
                yield rows, material.corrected(network, rows, self.walk.first.intervals)

    def _untrained(self, table: RowTable, lessons: "_FoldLessons") -> Network:
        options = lessons.options
        scaling = scaling_of(table, lessons.training)
        spec = _spec(self.name, self._pinned, lessons.horizons, scaling, options.intervals, options.size)
        network = build(spec)
        return gate(network, spec) if options.gate_penalty else network


def table_of(panel: Panel, pinned: Pinned) -> RowTable:
    """Return the panel's rows as what networks read: its pinned features, of the age of a closed interval.

    Raises:
        StateError: where the panel lacks a feature.
    """
    missing = [name for name in pinned.features if name not in panel.columns]
    if missing:
        raise StateError(f"the panel lacks {', '.join(missing)}; backfill its rows with these features")
    values = np.stack([panel.columns[name] for name in pinned.features], axis=-1).astype(np.float32)
    names = np.asarray(panel.instruments)[panel.instrument]
    ages = np.zeros((len(panel), len(pinned.modalities)), np.float32)
    interval_ns = PROFILES[PROFILE].row_interval_ns
    return RowTable(names.tolist(), panel.row_time_ns, values, ages, pinned, row_interval_ns=interval_ns)


class _Material(NamedTuple):
    """What all folds share: rows, base forecasts (N, H, ...), log targets (N, H)."""

    table: RowTable
    base: LogForecast
    target: Floats
    horizons: tuple[str, ...]

    def examples(self, rows: Indices, target: Floats, intervals: int) -> Examples:
        """Return examples whose targets (N, H) are unknown wherever the base is."""
        features, mask, age = (torch.from_numpy(part) for part in self.table.windows(rows, intervals))
        mean, median, steps = (torch.from_numpy(np.nan_to_num(part[rows]).astype(np.float32)) for part in self.base)
        known = np.where(np.isfinite(self.base.mean[rows]), target[rows], np.nan).astype(np.float32)
        return Examples(features, mask, age, (mean, median, steps), torch.from_numpy(known))

    def corrected(self, network: Network, rows: Indices, intervals: int) -> Floats:
        """Return log mean and log quantiles (rows, H, 1 + Q) of the base as a network corrects it."""
        parts = []
        network.hurry(enabled=True)
        with torch.inference_mode(), deterministic(0):
            for start in range(0, len(rows), _BLOCK):
                block = rows[start : start + _BLOCK]
                windows = (torch.from_numpy(part) for part in self.table.windows(block, intervals))
                correction, _ = network(*windows)
                moves = (part.numpy().astype(np.float64) for part in correction)
                mean, quantiles = LogForecast(*(part[block] for part in self.base)).correct(*moves).levels()
                parts.append(np.log(np.concatenate([mean[..., None], quantiles], axis=-1)))
        return np.concatenate(parts) if parts else np.empty((0, len(self.horizons), 1 + len(QUANTILES)))


class _FoldLessons:
    """One fold's training side, its last part kept to choose the epoch by.

    first row .......... split ........... train_until
    targets that are learnt end here ^         ^ all others here
    """

    def __init__(self, material: _Material, panel: Panel, fold: Fold, options: Options) -> None:
        self.options, self.horizons = options, material.horizons
        self._material = material
        ends = panel.row_time_ns[:, None] + np.array([HORIZON_NS[name] for name in self.horizons])  # (N, H)
        inside = np.stack([fold.learned(panel, name) for name in self.horizons], axis=-1)
        inside &= np.isfinite(material.base.mean)
        if not inside.any():
            raise StateError("a fold has no rows to learn from: no target before its end has a base forecast")
        times = panel.row_time_ns[inside.any(-1)]
        ratio = options.validation_ratio
        split_ns = int(np.quantile(times, 1 - ratio, method="lower")) if ratio else fold.train_until_ns
        self._seen = np.where(inside & (ends <= split_ns), material.target, np.nan)
        self._ahead = np.where(inside, material.target, np.nan)
        (self.training,) = np.nonzero(np.isfinite(self._seen).any(-1))
        later: Flags = np.isfinite(self._ahead).any(-1) & (panel.row_time_ns > split_ns)
        (validation,) = np.nonzero(later)
        self.validation: Indices = validation[:: max(1, len(validation) // options.validation_examples)]

    def taught(self, rows: Indices) -> Examples:
        """Return examples with the targets that end before the split."""
        return self._material.examples(rows, self._seen, self.options.intervals)

    def judged(self, rows: Indices) -> Examples:
        """Return examples with the targets that end before the end of training."""
        return self._material.examples(rows, self._ahead, self.options.intervals)


def _log_targets(panel: Panel, horizons: Sequence[str]) -> Floats:
    """Return the log of what followed (N, H)."""
    return np.log(np.stack([panel.target[name] for name in horizons], axis=-1))


def _pruned(network: Network, pinned: Pinned) -> tuple[str, ...]:
    if not isinstance(network.inputs, GatedInputs):
        return ()
    return network.inputs.closed(pinned.features)


def _spec(
    kind: str, pinned: Pinned, horizons: tuple[str, ...], scaling: tuple[Scaling, ...], intervals: int, size: Size
) -> Spec:
    return Spec(
        name=kind,
        version="0",
        profile=PROFILE,
        kind=kind,
        features=pinned.features,
        feature_set_id=pinned.feature_set_id,
        modalities=pinned.modalities,
        modality_of=pinned.modality_of,
        intervals=intervals,
        row_interval_ns=PROFILES[PROFILE].row_interval_ns,
        horizons=horizons,
        quantiles=QUANTILES,
        scaling=scaling,
        size=size,
        har=_NONE,
    )
