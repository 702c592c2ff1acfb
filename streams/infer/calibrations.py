"""What score has learned, as infer applies it: the latest record of each instrument and horizon."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.calibration import Calibration
from schemas.errors import DecodeError
from schemas.tensors import QUANTILES
from streams.infer.combine import Flags, Floats
from triton_models.online.conformal import REGIMES, in_regime
from triton_models.online.experts import weigh

MOST_SHIFT = 100.0
"""In log variance, far above what score learns: a forecast that became infinite by it would be no JSON."""


class Told(NamedTuple):
    """What calibration says of instruments, N or a single one."""

    trust: Floats
    """(N, H, 2, K)"""
    shifts: Floats
    """(N, H, Q)"""
    regime: npt.NDArray[np.int64]
    """(N,), -1 where none is known."""

    def weigh(self, known: Flags) -> Floats:
        """Return the weights (N, H, 2, K) among the experts that forecast (N, H, K)."""
        return weigh(self.trust, known)


class Calibrations:
    """The calibration states of a partition."""

    def __init__(self, horizons: Sequence[str]) -> None:
        self._horizons = horizons
        self._latest: dict[str, dict[str, Calibration]] = {}
        """By instrument and horizon."""
        self._told: dict[str, tuple[tuple[str, ...], Told]] = {}
        """By instrument, with the experts that it was made for: records change every ten seconds, rows every one."""

    def take(self, calibration: Calibration) -> None:
        """Take in a record, unless a later one is known. Raises DecodeError for shifts of other shapes or sizes."""
        _check(calibration)
        known = self._latest.setdefault(calibration.instrument_id, {})
        before = known.get(calibration.horizon)
        if before is None or before.as_of_ns <= calibration.as_of_ns:
            known[calibration.horizon] = calibration
            self._told.pop(calibration.instrument_id, None)

    def told(self, instruments: Sequence[str], experts: tuple[str, ...]) -> Told:
        """Return what the latest records say of these instruments and experts."""
        parts = [self._of(instrument, experts) for instrument in instruments]
        return Told(
            np.stack([part.trust for part in parts]),
            np.stack([part.shifts for part in parts]),
            np.stack([part.regime for part in parts]),
        )

    def _of(self, instrument: str, experts: tuple[str, ...]) -> Told:
        found = self._told.get(instrument)
        if found is None or found[0] != experts:
            found = self._told[instrument] = experts, self._read(instrument, experts)
        return found[1]

    def _read(self, instrument: str, experts: tuple[str, ...]) -> Told:
        latest = self._latest.get(instrument, {})
        records = [latest.get(horizon) for horizon in self._horizons]
        # All horizons share their regime: what the last record says of it holds for each.
        last = max(latest.values(), key=lambda record: record.as_of_ns, default=None)
        regime = np.asarray(-1 if last is None else last.regime, np.int64)
        trust = np.array([_trust(record, experts) for record in records])
        shifts = np.array([_shifts(record, regime) for record in records])
        return Told(trust, shifts, regime)


def _check(calibration: Calibration) -> None:
    shared, regimes = calibration.shared_shifts, calibration.regime_shifts
    if not shared and not regimes:
        return  # A record from before there were any.
    if {len(shared), *map(len, regimes)} != {len(QUANTILES)} or len(regimes) != REGIMES:
        raise DecodeError(
            f"expected {len(QUANTILES)} shared shifts and {REGIMES} times as many of regimes, "
            f"got {len(shared)} and {[len(row) for row in regimes]}",
            path="$.shared_shifts",
        )
    if (largest := max(abs(shift) for row in (shared, *regimes) for shift in row)) > MOST_SHIFT:
        raise DecodeError(f"expected shifts of at most {MOST_SHIFT:g}, got {largest:g}", path="$.shared_shifts")


def _trust(record: Calibration | None, experts: tuple[str, ...]) -> list[list[float]]:
    """Return (2, K); all the same before each expert was judged."""
    if record is None or not set(experts) <= record.trust.keys():
        return [[0.0] * len(experts)] * 2
    return [[record.trust[name][part] for name in experts] for part in (0, 1)]


def _shifts(record: Calibration | None, regime: npt.NDArray[np.int64]) -> Floats:
    if record is None or not record.shared_shifts:
        return np.zeros(len(QUANTILES))
    return in_regime(np.array(record.shared_shifts), np.array(record.regime_shifts), regime)
