"""Training: log-HAR first, then a network on what log-HAR leaves.

One thread, deterministic kernels, one seed: the same rows give the same bytes on the same machine.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from schemas.rules import PROFILES
from schemas.tensors import HORIZON_NS, HORIZONS, QUANTILES
from triton_models.bundle import KINDS, Bundle, Spec
from triton_models.dataset import NEVER, Indices, RowTable, read_rows
from triton_models.export import REPOSITORY, publish
from triton_models.losses import losses
from triton_models.material import DEFAULTS, Examples, Material, Options
from triton_models.networks import Correction, Network, build
from triton_models.pinned import pin

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, in [0, 1]."""

_SELECTING_NS = HORIZON_NS["1h"]
"""Longer horizons have too few independent targets to choose a checkpoint by ..."""
_LONG_WEIGHT = 0.1
"""... and networks overfit them (bars, one day: QLIKE 5 % above log-HAR's at full weight)."""


def train_models(
    rows: Path,
    *,
    profile: str,
    kinds: Sequence[str] = KINDS,
    features: Sequence[str] = (),
    repository: Path = REPOSITORY,
    version: str = "1",
    options: Options = DEFAULTS,
    progress: Progress = lambda _text, _ratio: None,
) -> list[Bundle]:
    """Train networks on a file of rows (`foreshock backfill --rows`), on the default features or those named.

    Raises:
        FeatureError: where the catalogue has no such feature.
        StateError: where the rows lack a feature, or are too few.
    """
    table = read_rows(rows, pin(profile, features), row_interval_ns=PROFILES[profile].row_interval_ns)
    return [
        train(
            table,
            profile=profile,
            kind=kind,
            repository=repository,
            version=version,
            options=options,
            progress=_named(kind, progress),
        )
        for kind in kinds
    ]


def train(
    table: RowTable,
    *,
    profile: str,
    kind: str,
    repository: Path,
    version: str = "1",
    options: Options = DEFAULTS,
    progress: Progress = lambda _text, _ratio: None,
) -> Bundle:
    """Train one network and write it as `<kind>-<profile>/<version>` into `repository`.

    Raises:
        StateError: where the rows are too few for a log-HAR.
    """
    with _deterministic(options.seed):
        progress("fitting log-HAR", 0.0)
        material = Material(table, HORIZONS[profile], options)
        spec = _spec(material, profile, kind, version)
        network, history = _learn(build(spec), material, progress)
        forgotten = _forget(network, material)
        manifest = {
            "data_hash": table.data_hash,
            "rows": len(table),
            "instruments": list(table.instruments),
            "first_row_time_ns": int(table.row_time_ns.min()),
            "split_ns": material.split_ns,
            "last_row_time_ns": int(table.row_time_ns.max()),
            "code": code_version(),
            "options": msgspec.to_builtins(options),
            "history": history,
            "left_to_log_har": forgotten,
            "validation": _report(network, material),
        }
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return publish(msgspec.structs.replace(spec, manifest=manifest), weights, repository)


def code_version() -> str:
    """Return 12 hex digits that name the code that trains and forecasts."""
    files = sorted(Path(__file__).parent.glob("**/*.py"))
    sources = [file for file in files if "repository" not in file.relative_to(Path(__file__).parent).parts]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]


def _named(kind: str, progress: Progress) -> Progress:
    return lambda text, ratio: progress(f"{kind}: {text}", ratio)


def _spec(material: Material, profile: str, kind: str, version: str) -> Spec:
    table, options = material.table, material.options
    return Spec(
        name=f"{kind}-{profile}",
        version=version,
        profile=profile,
        kind=kind,
        features=table.pinned.features,
        feature_set_id=table.pinned.feature_set_id,
        modalities=table.pinned.modalities,
        modality_of=table.pinned.modality_of,
        intervals=options.intervals,
        row_interval_ns=PROFILES[profile].row_interval_ns,
        horizons=HORIZONS[profile],
        quantiles=QUANTILES,
        scaling=material.scaling,
        size=options.size,
        har=material.har,
    )


def _learn(network: Network, material: Material, progress: Progress) -> tuple[Network, list[float]]:
    """Return the averaged network of the best epoch and the validation losses, log-HAR's first."""
    options = material.options
    random = np.random.default_rng(options.seed)
    average = copy.deepcopy(network)
    long = [HORIZON_NS[name] > _SELECTING_NS for name in material.har.horizons]
    weights = torch.where(torch.tensor(long), _LONG_WEIGHT, 1.0)
    best, history = copy.deepcopy(network.state_dict()), [_validation_loss(network, material)]
    steps = max(1, options.examples // options.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs * steps)
    for epoch in range(options.epochs):
        for step in range(steps):
            rows = np.sort(random.choice(material.training, options.batch))
            examples = _hidden(material.examples(rows, material.seen), network.inputs.members, options.dropout)
            _step(network, optimiser, examples, weights)
            schedule.step()
            _average(average, network, options.averaging)
            progress(f"epoch {epoch + 1} of {options.epochs}", (epoch * steps + step + 1) / (options.epochs * steps))
        history.append(_validation_loss(average, material))
        if history[-1] <= min(history):
            best = copy.deepcopy(average.state_dict())
        if len(history) - 1 - int(np.argmin(history)) >= options.patience:
            break
    average.load_state_dict(best)
    return average.eval(), [round(loss, 6) for loss in history]


def _forget(network: Network, material: Material) -> list[str]:
    """Give the horizons back to log-HAR at which the network is no better on validation; return them."""
    horizons = material.har.horizons
    gain, nothing = torch.zeros(len(horizons)), torch.zeros(())
    for examples, correction in _outputs(network, material, material.validation):
        untouched = Correction(nothing, nothing, torch.ones(()))
        gain += (losses(examples, untouched) - losses(examples, correction)).sum(0)
    forgotten = [index for index in range(len(horizons)) if gain[index] <= 0]
    for index in forgotten:
        network.head.forget(index)
    return [horizons[index] for index in forgotten]


def _step(network: Network, optimiser: torch.optim.Optimizer, examples: Examples, weights: Tensor) -> None:
    correction, _ = network(examples.features, examples.mask, examples.age)
    known = torch.isfinite(examples.target).sum().clamp(min=1)
    loss = (losses(examples, correction) * weights).sum() / known
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def _average(average: Network, network: Network, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(average.parameters(), network.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)


def _hidden(examples: Examples, members: Tensor, probability: float) -> Examples:
    """Hide modalities at random, for a whole window: what a network may lose, it must not need."""
    rows, _, modalities = examples.age.shape
    hide = torch.rand(rows, 1, modalities) < probability  # (B, 1, M)
    masked = (hide[:, :, None, :] & members).any(-1)  # (B, 1, F)
    age = torch.where(hide, NEVER, examples.age)
    return examples._replace(mask=torch.where(masked, 0.0, examples.mask), age=age)


def _outputs(network: Network, material: Material, rows: Indices) -> Iterator[tuple[Examples, Correction]]:
    with torch.inference_mode():
        for start in range(0, len(rows), material.options.batch):
            examples = material.examples(rows[start : start + material.options.batch], material.ahead)
            yield examples, network(examples.features, examples.mask, examples.age)[0]


def _validation_loss(network: Network, material: Material) -> float:
    """Return the mean loss over the horizons that may choose a checkpoint."""
    horizons = material.har.horizons
    chosen = [index for index, name in enumerate(horizons) if HORIZON_NS[name] <= _SELECTING_NS]
    total, count = 0.0, 0
    for examples, correction in _outputs(network, material, material.validation):
        loss = losses(examples, correction)[:, chosen]
        total += float(loss.double().sum())
        count += int(torch.isfinite(examples.target[:, chosen]).sum())
    return total / max(count, 1)


def _report(network: Network, material: Material) -> dict[str, dict[str, float]]:
    """Return, per horizon, QLIKE and bias in log variance of the network and of log-HAR."""
    means, targets, bases = [], [], []
    for examples, correction in _outputs(network, material, material.validation):
        bases.append(examples.base[0])
        means.append(examples.base[0] + correction.mean)
        targets.append(examples.target)
    if not targets:
        return {}
    target, mean, base = (torch.cat(parts).double().numpy() for parts in (targets, means, bases))
    report = {}
    for index, horizon in enumerate(material.har.horizons):
        known = np.isfinite(target[:, index])
        if known.any():
            excess, base_excess = (target[known, index] - level[known, index] for level in (mean, base))
            report[horizon] = {
                "rows": int(known.sum()),
                "qlike": round(float((np.exp(excess) - excess - 1).mean()), 6),
                "har_qlike": round(float((np.exp(base_excess) - base_excess - 1).mean()), 6),
                "ratio_of_means": round(float(np.exp(excess).mean()), 6),
                "har_ratio_of_means": round(float(np.exp(base_excess).mean()), 6),
            }
    return report


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """One thread, one seed and deterministic kernels; gives the process its own back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.set_num_threads(threads)
