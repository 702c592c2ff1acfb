"""A model as files: `bundle.json` and `weights.safetensors`, named by one hash over both.

Numpy, JSON and safetensors only: nothing in a bundle can run, and a hostile one is an error.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from schemas.errors import DecodeError
from schemas.tensors import HORIZONS, QUANTILES
from triton_models.ewma import Ewma
from triton_models.har import Har, LogForecast, Times, forecast, last_row
from triton_models.online.regimes import Watched

Weights = Mapping[str, npt.NDArray[np.float32]]

SPEC_FILE = "bundle.json"
WEIGHTS_FILE = "weights.safetensors"
MAXIMUM_BYTES = 64 * 1024 * 1024
"""A bundle lives in git: a file larger than this is none."""
KINDS = ("performer", "lstm")


SCALED_LIMIT = 8.0
"""Scaled values beyond this many scales from the median say no more."""


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature enters a network: (x - median) / scale, of log(x + floor) where `log`.

    Learned on the training side of the split alone.
    """

    median: float
    scale: float
    log: bool = False
    floor: float = 0.0


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a network."""

    width: int = 32
    heads: int = 4
    layers: int = 2
    random_features: int = 16
    """Random features per head of the Performer."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a model but its weights: what it reads, what it answers, how it came to be."""

    name: str
    version: str
    profile: str
    kind: str
    features: tuple[str, ...]
    feature_set_id: str
    modalities: tuple[str, ...]
    modality_of: tuple[int, ...]
    """Per feature, the index of its modality."""
    intervals: int
    """T: row intervals that a tensor holds."""
    row_interval_ns: int
    horizons: tuple[str, ...]
    quantiles: tuple[float, ...]
    scaling: tuple[Scaling, ...]
    size: Size
    har: Har
    ewma: Ewma | None = None
    """The other expert without a network; none where no decayed variance is pinned."""
    regimes: Watched | None = None
    """What tells calm from wild for the calibration of the forecasts."""
    manifest: dict[str, object] = {}
    """How it was trained: data hashes, seeds, code version, metrics."""

    def shape(self, axis: str) -> int:
        """Return the length of one of the axes T, F, M, H, Q, A of `schemas.tensors`."""
        lengths = {
            "T": self.intervals,
            "F": len(self.features),
            "M": len(self.modalities),
            "H": len(self.horizons),
            "Q": len(self.quantiles),
            "A": self.size.heads,
        }
        return lengths[axis] if axis in lengths else int(axis)


class Bundle(msgspec.Struct, frozen=True):
    """A loaded model: its spec, its weights and the hash of both (64 hex digits)."""

    spec: Spec
    weights: Weights
    hash: str

    def har_forecast(
        self, features: npt.NDArray[np.float32], mask: npt.NDArray[np.float32], origin_time_ns: Times
    ) -> LogForecast:
        """Return the log-HAR forecast for tensors (B, T, F) and origins (B,) or (B, 1)."""
        har = self.spec.har
        columns = last_row(self.spec.features, features, mask, har.reads.features)
        return forecast(har, columns, origin_time_ns.reshape(-1))


def write(directory: Path, spec: Spec, weights: Weights) -> Bundle:
    """Write a bundle and return it as `read` would."""
    directory.mkdir(parents=True, exist_ok=True)
    spec = msgspec.json.decode(msgspec.json.encode(spec), type=Spec)  # as it will be read: 0 becomes 0.0
    _check(spec, str(directory))
    encoded = safetensors.numpy.save({name: np.ascontiguousarray(weights[name]) for name in sorted(weights)})
    digest = _hash(spec, encoded)
    document = {"hash": digest, **msgspec.to_builtins(spec)}
    (directory / WEIGHTS_FILE).write_bytes(encoded)
    (directory / SPEC_FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return read(directory)


def read(directory: Path) -> Bundle:
    """Read a bundle and check its hash.

    Raises:
        DecodeError: where a file is missing, too large, damaged or not what it says it is.
    """
    document, encoded = _bytes(directory / SPEC_FILE), _bytes(directory / WEIGHTS_FILE)
    where = str(directory / SPEC_FILE)
    try:
        told = msgspec.json.decode(document, type=_Hash).hash
        spec = msgspec.json.decode(document, type=Spec)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(str(error), where=where) from error
    _check(spec, where)
    digest = _hash(spec, encoded)
    if told != digest:
        raise DecodeError(f"expected {digest}, the hash of the files, got {told!r}", path="$.hash", where=where)
    try:
        weights = safetensors.numpy.load(encoded)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise DecodeError(str(error), where=str(directory / WEIGHTS_FILE)) from error
    return Bundle(spec, weights, digest)


class _Hash(msgspec.Struct):
    hash: str


def _bytes(path: Path) -> bytes:
    """Return the contents of one file of a bundle."""
    if not path.is_file():
        raise DecodeError("expected a file of a model bundle, found none; `foreshock train` writes it", where=str(path))
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        raise DecodeError(f"expected at most {MAXIMUM_BYTES} bytes, got {size}", where=str(path))
    return path.read_bytes()


def _hash(spec: Spec, weights: bytes) -> str:
    """Return the hash over both files, whatever the first one's layout."""
    document = msgspec.to_builtins(spec)
    text = msgspec.json.encode(document, order="sorted")
    return hashlib.sha256(hashlib.sha256(text).digest() + hashlib.sha256(weights).digest()).hexdigest()


def _check(spec: Spec, where: str) -> None:
    """Raise where parts of a spec do not fit each other."""
    horizons, features, har, ewma = len(spec.horizons), len(spec.features), spec.har, spec.ewma
    problems = {
        "$.kind": spec.kind not in KINDS,
        "$.profile": spec.profile not in HORIZONS,
        "$.quantiles": spec.quantiles != QUANTILES,
        "$.horizons": not horizons or not set(spec.horizons) <= set(HORIZONS.get(spec.profile, ())),
        "$.features": len(set(spec.features)) != features or not features,
        "$.modality_of": len(spec.modality_of) != features
        or not all(0 <= index < len(spec.modalities) for index in spec.modality_of),
        "$.scaling": len(spec.scaling) != features
        or not all(math.isfinite(one.scale) and one.scale > 0 for one in spec.scaling),
        "$.intervals": not 1 <= spec.intervals <= 4096,  # noqa: PLR2004
        "$.row_interval_ns": spec.row_interval_ns <= 0,
        "$.size": min(msgspec.structs.astuple(spec.size)) < 1 or spec.size.width % spec.size.heads != 0,
        "$.regimes": spec.regimes is not None and not spec.regimes.fits(spec.features),
        "$.har.reads": not set(har.reads.features) <= set(spec.features),
        "$.har": har.horizons != spec.horizons or not har.fits(),
        "$.ewma": ewma is not None
        and not (set(ewma.features) <= set(spec.features) and ewma.horizons == spec.horizons and ewma.fits()),
    }
    for path, wrong in problems.items():
        if wrong:
            text = "does not fit the rest of the bundle or this version of Foreshock"
            raise DecodeError(text, path=path, where=where)
