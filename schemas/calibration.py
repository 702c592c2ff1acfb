"""What calibration did to a forecast, and the state that it is in; evolves as `forecasts.py` says."""

from typing import Annotated

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]


class CalibrationShift(msgspec.Struct, frozen=True, kw_only=True):
    """What calibration added to the log of the lowest and highest quantile; rank of the width.

    `shifts`: what it added to the log of each of the seven, which were sorted afterwards; `regime`: for which
    state of the market, 0 for the calmest, -1 where none is known.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    rank: Share = 0.5
    shifts: tuple[float, ...] = ()
    regime: int = -1


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How often the 90 % band held what happened: over all outcomes, and over the `recent_count` last ones."""

    count: int = 0
    ratio: Share = 0.0
    recent_count: int = 0
    recent_ratio: Share = 0.0


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Calibration state of one instrument and horizon, as of `as_of_ns`.

    `shift` is added to the log of the lowest and highest quantile; `coverage_ratio` is that of the
    90 % band so far over `count` scored forecasts; `weights` those of the experts for the mean,
    `quantile_weights` for the quantiles, where all of them forecast.

    What the next forecast is made with: `trust`, the logs of an expert's two weights before they are made to
    sum to 1 over those that forecast; `shared_shifts` of the seven log quantiles, to which those of the present
    `regime` among `regime_shifts` are added (-1: none is known, and nothing is added). Evidence: `coverage` over
    all forecasts, `regime_coverage` by the regime that a forecast was calibrated for.
    """

    instrument_id: str
    horizon: str
    as_of_ns: int
    shift: tuple[float, float]
    coverage_ratio: Share
    count: int
    weights: dict[str, float] = {}
    quantile_weights: dict[str, float] = {}
    trust: dict[str, tuple[float, float]] = {}
    shared_shifts: tuple[float, ...] = ()
    regime_shifts: list[tuple[float, ...]] = []
    regime: int = -1
    coverage: Coverage = Coverage()
    regime_coverage: dict[int, Coverage] = {}


def is_watched_only(expert: str) -> bool:
    """Say whether an expert is only watched: another version beside the active one, scored and never combined.

    >>> is_watched_only("lstm@2"), is_watched_only("lstm")
    (True, False)
    """
    return "@" in expert
