"""What came of a forecast that was computed again: the same record, or where it differs first."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from schemas.forecasts import Forecast

NEAR = 1e-6
"""Largest relative difference that another kind of processor may make in a number."""

Kind = Literal["identical", "near", "different", "unreadable"]

_CAUSES_FIRST = (
    "id",
    "instrument_id",
    "origin_time_ns",
    "feature_set_id",
    "receipt",
    "status",
    "reason",
    "quality",
    "model",
    "experts",
    "calibration",
    "horizons",
)
"""Other tensors make other experts, and these another combination: what differs first tells most."""


class Difference(NamedTuple):
    """One field that differs; `relative` difference of numbers, None of anything else."""

    path: str
    recorded: Any
    rebuilt: Any
    relative: float | None


class Verdict(NamedTuple):
    """What came of one forecast.

    `largest`: the largest relative difference of a number, 0 where none differs; `problem`: why it could not be
    computed again.
    """

    forecast_id: str
    kind: Kind
    first: Difference | None = None
    largest: float = 0.0
    problem: str = ""
    forecast: Forecast | None = None


def compared(recorded: Forecast, rebuilt: Forecast) -> Verdict:
    """Return whether a forecast is as recorded, and where it differs first, causes before what follows from them."""
    found = list(differences(recorded, rebuilt))
    if not found:
        return Verdict(recorded.id, "identical", forecast=recorded)
    apart = [1.0 if each.relative is None else each.relative for each in found]
    numbers = [each.relative for each in found if each.relative is not None]
    kind: Kind = "near" if max(apart) <= NEAR else "different"
    return Verdict(recorded.id, kind, found[0], max(numbers, default=0.0), forecast=recorded)


def differences(recorded: Forecast, rebuilt: Forecast) -> Iterator[Difference]:
    """Yield the fields that differ, by path: `$.horizons.5m.mean`."""
    one, other = msgspec.to_builtins(recorded), msgspec.to_builtins(rebuilt)
    for name in (*_CAUSES_FIRST, *(name for name in one if name not in _CAUSES_FIRST)):
        yield from _within(f"$.{name}", one[name], other[name])


def _within(path: str, one: Any, other: Any) -> Iterator[Difference]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in (*one, *(key for key in other if key not in one)):
            yield from _within(f"{path}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from _within(f"{path}[{place}]", *pair)
    elif repr(one) != repr(other):  # 0.0 equals -0.0 and 1 equals 1.0, and their bits do not
        yield Difference(path, one, other, _relative(one, other))


def _relative(one: Any, other: Any) -> float | None:
    if not isinstance(one, float) or not isinstance(other, float):
        return None
    return abs(one - other) / (max(abs(one), abs(other)) or 1.0)
