"""The models behind forecasts: two networks where their bundles are there, log-HAR always."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from featurestore.catalogue import feature_set_id_of
from schemas.errors import StateError
from schemas.forecasts import ModelName
from schemas.rules import PROFILES
from schemas.tensors import ATTENTION_OUTPUT, HORIZON_NS, HORIZONS, MINIMUM_BATCH, OUTPUTS
from triton_models.bundle import Bundle
from triton_models.ewma import Ewma
from triton_models.ewma import forecast as forecast_average
from triton_models.export import REPOSITORY, read_published, versions
from triton_models.har import FLOOR_PER_NS, Floats, Har, Times, forecast, last_row, window_ns
from triton_models.seasons import HOURS
from triton_models.terms import Reads

Singles = npt.NDArray[np.float32]

NETWORKS = ("lstm", "performer")
PERSISTENCE = "persistence"
"""Hash of the log-HAR that stands in where no bundle is there: the last variance goes on."""

_NORMAL = (-1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449)
_SPREAD = 0.6
"""Standard deviation of the log of realised variance that persistence assumes."""


class Shape(NamedTuple):
    """What tensors are made of: pinned features (F), modalities (M), row intervals (T)."""

    features: tuple[str, ...]
    modalities: tuple[str, ...]
    intervals: int
    row_interval_ns: int


class Network(NamedTuple):
    """One network, its bundle, and how Triton serves it.

    That of a version in shadow is the expert `lstm@2`: asked and scored beside the others, it takes
    no part in the forecast.
    """

    expert: str
    name: str
    version: str
    hash: str
    outputs: dict[str, tuple[int, ...]]
    canary: dict[str, Singles | npt.NDArray[np.int64]]
    half_lives: tuple[float, ...]
    """Seconds, per attention head of the last layer; empty where there is no attention."""

    @property
    def is_shadow(self) -> bool:
        """Whether it only runs beside the active version."""
        return "@" in self.expert


class Models(NamedTuple):
    """All experts of a profile."""

    shape: Shape
    horizons: tuple[str, ...]
    har: Har
    har_hash: str
    networks: tuple[Network, ...]
    feature_set_id: str = ""
    """Names the pinned features and their versions as the networks learned them; empty without networks."""
    ewma: Ewma | None = None

    @property
    def active(self) -> tuple[Network, ...]:
        """The networks that make the forecast."""
        return tuple(network for network in self.networks if not network.is_shadow)

    @property
    def version(self) -> str:
        """The version of the networks that make the forecast; "0" where there are none."""
        return self.networks[0].version if self.networks else "0"

    @property
    def combined(self) -> ModelName:
        """The name of the combination: versions and hashes of its networks."""
        named = [(network.version, network.hash[:12]) for network in self.active]
        version, digest = ("+".join(parts) for parts in zip(*named, strict=True))
        return ModelName(name="combined", version=version, hash=digest)

    @property
    def fallback(self) -> ModelName:
        """The name of log-HAR."""
        return ModelName(name="har", version=self.version, hash=self.har_hash)

    def base(self, features: Singles, mask: Singles, origin: Times) -> tuple[Floats, Floats]:
        """Return log-HAR's mean (N, H) and quantiles (N, H, Q); NaN where the shortest lag is masked."""
        columns = last_row(self.shape.features, features, mask, self.har.reads.features)
        return forecast(self.har, columns, origin).levels()

    def baselines(self, features: Singles, mask: Singles, origin: Times) -> dict[str, tuple[Floats, Floats]]:
        """Return by name, log-HAR's first, the forecasts that need no network, as `base` does."""
        found = {"har": self.base(features, mask, origin)}
        if self.ewma:
            columns = last_row(self.shape.features, features, mask, self.ewma.features)
            found["ewma"] = forecast_average(self.ewma, columns).levels()
        return found


def read_models(
    profile: str, repository: Path = REPOSITORY, *, version: str = "", row_interval_ns: int | None = None
) -> Models:
    """Read one version of a profile's networks; without bundles, persistence is all there is.

    So it is where rows come at another interval (None: the profile's) than the networks were
    trained for. `version` "": the one that was published first. Raises StateError where there is no
    such version, the networks do not read the same tensors, or one is missing.
    """
    interval_ns = row_interval_ns or PROFILES[profile].row_interval_ns
    found = {expert: _read(repository / f"{expert}-{profile}", version) for expert in NETWORKS}
    bundles = {expert: bundle for expert, bundle in found.items() if bundle is not None}
    if not bundles or any(bundle.spec.row_interval_ns != interval_ns for bundle in bundles.values()):
        return persistence(profile, interval_ns)
    if len(bundles) < len(NETWORKS):
        missing = next(expert for expert in NETWORKS if expert not in bundles)
        raise StateError(f"{repository / missing}-{profile}: no bundle; `foreshock train` writes both networks")
    shapes = {_shape(bundle) for bundle in bundles.values()}
    learned = {bundle.spec.feature_set_id for bundle in bundles.values()}
    if len(shapes) > 1 or len(learned) > 1:
        raise StateError(f"{repository}: the networks of {profile} read different tensors; train both together")
    base = bundles["performer"]
    networks = tuple(_network(expert, bundle) for expert, bundle in bundles.items())
    return Models(shapes.pop(), base.spec.horizons, base.spec.har, base.hash, networks, learned.pop(), base.spec.ewma)


def misfit(models: Models, versions: Mapping[str, str]) -> str:
    """Return why the networks cannot read rows whose features have these versions; "" where they can.

    Another version of a feature has other numbers under the same name, which no tensor would show.
    """
    if not models.networks:
        return ""
    missing = [name for name in models.shape.features if name not in versions]
    if missing:
        return f"the rows have no {missing[0]}, which the networks read: train anew"
    present = feature_set_id_of({name: versions[name] for name in models.shape.features})
    if present == models.feature_set_id:
        return ""
    return f"the networks learned from features {models.feature_set_id}, the rows hold {present}: train anew"


def persistence(profile: str, row_interval_ns: int) -> Models:
    """Return models without a network: a horizon's variance is that of the known past windows."""
    horizons = HORIZONS[profile]
    prefix = "bar_" if profile == "bars" else ""
    windows = tuple(f"{prefix}realised_variance_{horizon}" for horizon in horizons)
    fits = [_persistent(windows[:known], len(windows), horizons) for known in range(1, len(windows) + 1)]
    residuals = tuple(_SPREAD * z for z in _NORMAL)
    har = Har(
        reads=Reads(variances=windows, season=False),
        horizons=horizons,
        log_factor=(0.0,) * HOURS,
        coefficients=tuple(fits),
        smearing=((_SPREAD**2 / 2,) * len(horizons),) * len(windows),
        residuals=((residuals,) * len(horizons),) * len(windows),
    )
    return Models(Shape(windows, (), 1, row_interval_ns), horizons, har, PERSISTENCE, ())


def _persistent(known: Sequence[str], total: int, horizons: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Return coefficients (H, P) that average the known windows' variance rates in logs."""
    weights = (1.0 / len(known),) * len(known) + (0.0,) * (total - len(known))
    unit_ns = window_ns(known[0])
    return tuple((float(np.log(HORIZON_NS[horizon] / unit_ns)), *weights) for horizon in horizons)


def beside(active: Models, shadow: Models) -> Models:
    """Return the active models with the networks of another version beside them; raises StateError as `unlike` says."""
    if reason := unlike(active, shadow):
        raise StateError(reason)
    networks = (network._replace(expert=f"{network.expert}@{network.version}") for network in shadow.networks)
    return active._replace(networks=(*active.networks, *networks))


def unlike(active: Models, other: Models) -> str:
    """Return why one request cannot ask the networks of both; "" where it can."""
    if not (active.networks and other.networks):
        return "there are no networks for these rows: `foreshock train` writes them"
    names = [f"version {models.version}" for models in (other, active)]
    new = [name for name in other.shape.features if name not in active.shape.features]
    gone = [name for name in active.shape.features if name not in other.shape.features]
    if new or gone:
        what = f"{names[0]} reads {new[0]}" if new else f"{names[0]} does not read {gone[0]}"
        return f"{what}, unlike {names[1]}: both need the same features"
    for field in ("intervals", "row_interval_ns", "features", "modalities"):
        if getattr(active.shape, field) != getattr(other.shape, field):
            return f"{names[0]} reads other {field} than {names[1]}: both need the same tensors"
    if active.horizons != other.horizons:
        return f"{names[0]} forecasts {', '.join(other.horizons)}, {names[1]} {', '.join(active.horizons)}"
    return ""


def _read(folder: Path, version: str) -> Bundle | None:
    if not (found := versions(folder)):
        return None
    named = {path.name: path for path in found}
    if version and version not in named:
        raise StateError(f"{folder}: there is no version {version}; there is {', '.join(sorted(named, key=int))}")
    return read_published(named[version] if version else found[-1])


def _shape(bundle: Bundle) -> Shape:
    spec = bundle.spec
    return Shape(spec.features, spec.modalities, spec.intervals, spec.row_interval_ns)


def _network(expert: str, bundle: Bundle) -> Network:
    spec = bundle.spec
    tensors = (*OUTPUTS, ATTENTION_OUTPUT) if spec.kind == "performer" else OUTPUTS
    outputs = {tensor.name: tuple(spec.shape(axis) for axis in tensor.axes) for tensor in tensors}
    log_half_lives = bundle.weights.get(f"attention.{spec.size.layers - 1}.log_half_life")
    half_lives = () if log_half_lives is None else tuple(np.exp(log_half_lives.astype(np.float64)).tolist())
    return Network(expert, spec.name, spec.version, bundle.hash, outputs, _canary(bundle), half_lives)


def _canary(bundle: Bundle) -> dict[str, Singles | npt.NDArray[np.int64]]:
    """Return inputs like an ordinary hour's: medians, and variances of twice the floor."""
    spec = bundle.spec
    level = [one.median for one in spec.scaling]
    for name in spec.har.windows:
        level[spec.features.index(name)] = 2 * FLOOR_PER_NS * window_ns(name)
    for name in spec.har.reads.losses:  # half of it: a share of the variance above 1 is none
        level[spec.features.index(name)] = FLOOR_PER_NS * window_ns(name)
    rows = (MINIMUM_BATCH, spec.intervals)
    return {
        "features": np.broadcast_to(np.array(level, np.float32), (*rows, len(level))).copy(),
        "mask": np.ones((*rows, len(level)), np.float32),
        "age": np.zeros((*rows, len(spec.modalities)), np.float32),
        "origin_time_ns": np.zeros((MINIMUM_BATCH, 1), np.int64),
    }
