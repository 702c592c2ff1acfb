"""Training: log-HAR first, then a network on what log-HAR leaves, written as a bundle.

The same rows and seed give the same bytes on the same machine.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import torch

from schemas.rules import PROFILES
from schemas.tensors import HORIZONS, QUANTILES
from triton_models.bundle import KINDS, Bundle, Spec
from triton_models.dataset import RowTable, read_rows
from triton_models.export import REPOSITORY, publish
from triton_models.learning import Progress, deterministic, learn, outputs, settle
from triton_models.material import DEFAULTS, OPTIONS, Material, Options
from triton_models.networks import Network, build
from triton_models.networks.gates import fold, gate
from triton_models.online.regimes import watch
from triton_models.pinned import DEFAULTS as READ
from triton_models.pinned import pin


def train_models(
    rows: Path,
    *,
    profile: str,
    kinds: Sequence[str] = KINDS,
    features: Sequence[str] = (),
    repository: Path = REPOSITORY,
    version: str = "1",
    options: Options | None = None,
    progress: Progress = lambda _text, _ratio: None,
) -> list[Bundle]:
    """Train networks on a file of rows (`foreshock backfill --rows`), on the default features or those named.

    Options are those of the profile where none are given.

    Raises:
        FeatureError: where the catalogue has no such feature.
        StateError: where the rows lack a feature, or are too few.
    """
    table = read_rows(rows, pin(profile, features), row_interval_ns=PROFILES[profile].row_interval_ns)
    options = options or OPTIONS[profile]
    if not features and not options.read:
        options = msgspec.structs.replace(options, read=READ[profile])
    with deterministic(options.seed):
        progress("fitting log-HAR", 0.0)
        material = Material(table, profile, options)
    return [
        _train(material, kind=kind, repository=repository, version=version, progress=_named(kind, progress))
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
    with deterministic(options.seed):
        progress("fitting log-HAR", 0.0)
        material = Material(table, profile, options)
    return _train(material, kind=kind, repository=repository, version=version, progress=progress)


def _train(material: Material, *, kind: str, repository: Path, version: str, progress: Progress) -> Bundle:
    table, options = material.table, material.options
    with deterministic(options.seed):
        spec = _spec(material, kind, version)
        gated = options.gate_penalty or options.read
        network = build(spec)
        network, history = learn(gate(network, spec, options.read) if gated else network, material, progress)
        pruned = fold(network, spec)
        left = settle(network, material, options.trusted or material.horizons)
        manifest = {
            "data_hash": table.data_hash,
            "rows": len(table),
            "instruments": list(table.instruments),
            "first_row_time_ns": int(table.row_time_ns.min()),
            "split_ns": material.split_ns,
            "last_row_time_ns": int(table.row_time_ns.max()),
            "learned": [day_of(int(time)) for time in (table.row_time_ns.min(), table.row_time_ns.max())],
            "code": code_version(),
            "options": msgspec.to_builtins(options),
            "history": history,
            "left_to_log_har": list(left),
            "pruned": pruned,
            "validation": _report(network, material),
        }
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return publish(msgspec.structs.replace(spec, manifest=manifest), weights, repository)


def day_of(time_ns: int) -> str:
    """Return the day of a time, UTC.

    >>> day_of(86_400 * 10**9)
    '1970-01-02'
    """
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d")


def code_version() -> str:
    """Return 12 hex digits that name the code that trains and forecasts."""
    files = sorted(Path(__file__).parent.glob("**/*.py"))
    sources = [file for file in files if "repository" not in file.relative_to(Path(__file__).parent).parts]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]


def _named(kind: str, progress: Progress) -> Progress:
    return lambda text, ratio: progress(f"{kind}: {text}", ratio)


def _spec(material: Material, kind: str, version: str) -> Spec:
    table, options, profile = material.table, material.options, material.profile
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
        ewma=material.ewma,
        regimes=watch(table, profile),
    )


def _report(network: Network, material: Material) -> dict[str, dict[str, float]]:
    """Return, per horizon, QLIKE and bias in log variance of the network and of log-HAR."""
    means, targets, bases = [], [], []
    for examples, correction in outputs(network, material, material.validation):
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
