"""What a search over settings of a network makes small: its QLIKE beside its base's, walking forward."""

import msgspec
import numpy as np

from schemas.errors import SettingsError
from schemas.tensors import HORIZON_NS
from triton_models.bundle import Size
from triton_models.evaluation.bases import Bases
from triton_models.evaluation.definitions import NETWORK_FEATURES
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.networks import NetworkExpert, Walk
from triton_models.evaluation.panel import Panel
from triton_models.evaluation.scores import qlike
from triton_models.material import Options
from triton_models.search import Choice, Objective, Range, Settings, Space

_CHOOSING = ("5m", "1h")
"""Horizons that settings are chosen by: four months hold too few independent days."""

SPACE: Space = {
    "features": Choice(("pinned", "all")),
    "intervals": Choice((16, 32, 48)),
    "width": Choice((16, 32, 48)),
    "layers": Choice((1, 2)),
    "learning_rate": Range(low=5e-4, high=5e-3, log=True),
    "weight_decay": Range(low=1e-3, high=0.3, log=True),
    "dropout": Choice((0.0, 0.1, 0.2)),
    "gate_penalty": Choice((0.0, 1e-4, 5e-4)),
    "epochs": Choice((4, 8)),
}
"""What `foreshock search` tries unless it is told otherwise: fields of `Options` and `Size`, and a set of features."""

GRID: Space = {
    "features": Choice(("pinned", "all")),
    "intervals": Choice((16, 32)),
    "width": Choice((16, 32)),
    "learning_rate": Choice((1e-3, 3e-3)),
}
"""What a grid tries: ranges have no combinations to go through."""

FEW = (
    "bar_realised_variance_5m",
    "bar_realised_variance_1h",
    "bar_realised_variance_6h",
    "bar_realised_variance_1d",
    "bar_realised_variance_7d",
    "bar_negative_semivariance_1h",
    "bar_negative_semivariance_1d",
    "bar_signed_return_1h",
    "bar_range_variance_1h",
    "bar_volume_surprise_1d",
    "market_bar_volatility_1h",
    "hour_sine",
    "hour_cosine",
    "weekday_sine",
    "weekday_cosine",
)
"""What networks may be tried on instead of all that they read in an evaluation."""


def objective(panel: Panel, base: Bases, kind: str, *, first: Options, seed: int = 0) -> Objective[Folds]:
    """Return the loss of one seed of a network with settings: its QLIKE over its base's, below 1 where it is better.

    A mean over instruments and the horizons up to an hour. It is trained before the first of the folds
    and forecasts all of them; `first` holds what the settings do not name.
    """

    def loss(settings: Settings, folds: Folds) -> float:
        walk = Walk(first=configured(first, settings), refresh=None, seeds=(seed,))
        features = NETWORK_FEATURES if settings.get("features") == "all" else FEW
        expert = NetworkExpert(kind, base, features=features, walk=walk)
        return float(np.mean([ratios(panel, base, expert, folds, horizon) for horizon in _CHOOSING]))

    return loss


def configured(options: Options, settings: Settings) -> Options:
    """Return options with settings in their fields, those of the size among them.

    Raises:
        SettingsError: where a setting is of neither.
    """
    sizes = {name: value for name, value in settings.items() if name in Size.__struct_fields__}
    fields = {name: value for name, value in settings.items() if name in Options.__struct_fields__}
    unknown = settings.keys() - sizes.keys() - fields.keys() - {"features"}
    if unknown:
        raise SettingsError(f"no setting of a network: {', '.join(sorted(unknown))}")
    size = msgspec.structs.replace(options.size, **sizes)
    return msgspec.structs.replace(options, size=size, **fields)


def ratios(panel: Panel, base: Bases, expert: NetworkExpert, folds: Folds, horizon: str) -> list[float]:
    """Return the ratio of QLIKE to the base's for each instrument that is scored, by name."""
    mean, other = expert.forecasts(panel, folds, horizon).mean, base[horizon].mean
    realised = panel.target[horizon]
    scored = panel.origins(horizon) & np.isfinite(mean) & np.isfinite(realised)
    scored &= panel.row_time_ns + HORIZON_NS[horizon] <= folds.until_ns
    found = []
    for index in np.unique(panel.instrument[scored]):
        rows = scored & (panel.instrument == index)
        found.append(float(qlike(realised[rows], mean[rows]).mean() / qlike(realised[rows], other[rows]).mean()))
    return found
