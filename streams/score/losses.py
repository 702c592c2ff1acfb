"""Losses of one forecast of realised variance.

QLIKE compares levels, because it is the loss that noise in the proxy does not mislead (Patton
2011). Pinball, CRPS and calibration work on the logarithm of realised variance: variances differ by
orders of magnitude between instruments, horizons and nights, and a mean over them of losses in
units of variance would be that of the loudest alone. Quantiles are the same either way.

A variance below the floor, 2 % volatility a year, counts as the floor on both sides: such an
outcome, 0 above all, tells of a gap in the data and has no logarithm.
"""

import math
from collections.abc import Mapping

import msgspec

from schemas.forecasts import HorizonScore
from schemas.tensors import HORIZON_NS
from triton_models.har import FLOOR_PER_NS

COMBINED = "combined"
"""The name of the combination among the experts of a score."""
BANDS = {"0.5": ("0.25", "0.75"), "0.8": ("0.1", "0.9"), "0.9": ("0.05", "0.95")}
"""Central bands: name to the quantiles that bound them."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """What one expert said of one horizon: mean and quantiles of realised variance."""

    mean: float
    quantiles: dict[str, float]


def floor(horizon: str) -> float:
    """Return the least realised variance that is believed.

    >>> f"{floor('1h'):.2e}"
    '4.57e-08'
    """
    return FLOOR_PER_NS * HORIZON_NS[horizon]


def score(claim: Claim, realised_variance: float, horizon: str) -> HorizonScore:
    """Return all losses of a claim, and which bands held what happened."""
    least = floor(horizon)
    happened = max(realised_variance, least)
    y = math.log(happened)
    logs = {name: math.log(max(value, least)) for name, value in claim.quantiles.items()}
    loss = pinball(y, logs)
    return HorizonScore(
        mean=claim.mean,
        qlike=qlike(happened, max(claim.mean, least)),
        pinball=loss,
        crps=2 * loss,
        coverage={band: logs[low] <= y <= logs[high] for band, (low, high) in BANDS.items()},
    )


def qlike(realised_variance: float, forecast: float) -> float:
    """Return RV/f - log(RV/f) - 1.

    >>> qlike(2.0, 2.0)
    0.0
    """
    ratio = realised_variance / forecast
    return ratio - math.log(ratio) - 1


def pinball(y: float, quantiles: Mapping[str, float]) -> float:
    """Return the mean over the levels of the pinball loss; twice it approximates the CRPS.

    >>> pinball(1.0, {"0.1": 0.0, "0.9": 0.0})
    0.5
    """
    return sum(_check_loss(y - value, float(level)) for level, value in quantiles.items()) / len(quantiles)


def _check_loss(excess: float, level: float) -> float:
    return excess * level if excess >= 0 else excess * (level - 1)
