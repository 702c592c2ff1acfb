"""What is older than the page's memory: forecasts of one horizon and what then happened, from the log."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from schemas.forecasts import HorizonForecast
from schemas.rules import MINUTE_NS
from schemas.tensors import HORIZON_NS, QUANTILES
from schemas.topics import FORECAST, FORECAST_SCORE
from streams.reading import LogReader
from streams.view.log import JsonLog, Timed, partition_for
from streams.view.series import Point, step_of

_SCORED_NS = 5 * MINUTE_NS
"""Long horizons are scored at origins so far apart; others tell nothing of what happened."""
_AT_ONCE = 240
_AT_ONCE_APART = 36
"""Points of one answer; those that are looked for one by one cost several questions to the broker each."""
_MOST_READ = 12_000
_SPREAD = 1_024
_SPAN = 640
_LEVELS = tuple(map(str, QUANTILES))


class Made(Timed, frozen=True):
    """What is shown of an older forecast."""

    status: str = ""
    horizons: dict[str, HorizonForecast] = msgspec.field(default_factory=dict)


class Happened(Timed, frozen=True):
    """What is shown of a score."""

    realised_variance: float = 0.0


_Record = TypeVar("_Record", bound=Timed)


def older(reader: LogReader, instrument: str, horizon: str, before_ns: int, row_interval_ns: int) -> list[Point]:
    """Return some points before a time, the last ones that the log has, by time; none where it begins."""
    is_long = HORIZON_NS[horizon] > _SCORED_NS
    step_ns = max(step_of(horizon, row_interval_ns), _SCORED_NS if is_long else 0)
    count = _AT_ONCE_APART if is_long else _AT_ONCE
    forecasts = JsonLog(reader, FORECAST, partition_for(reader, FORECAST, instrument), lambda one: one.origin_time_ns)
    begin_ns = forecasts.time_at(forecasts.low)
    if begin_ns is None or begin_ns >= before_ns:
        return []
    last = (before_ns - 1) // step_ns
    first = max(last - count + 1, -(-begin_ns // step_ns))
    times = [slot * step_ns for slot in range(first, last + 1)]
    made = {
        one.origin_time_ns: one
        for one in _found(forecasts, Made, times, lambda one: one.instrument_id == instrument, step_ns)
        if horizon in one.horizons and one.origin_time_ns < before_ns
    }
    happened = _outcomes(reader, instrument, horizon, sorted(made), step_ns)
    return [_point(one, horizon, happened.get(origin)) for origin, one in sorted(made.items())]


def _outcomes(
    reader: LogReader, instrument: str, horizon: str, origins: Sequence[int], step_ns: int
) -> dict[int, float]:
    if not origins:
        return {}
    scores = JsonLog(reader, FORECAST_SCORE, partition_for(reader, FORECAST_SCORE, instrument), _settled_ns)
    times = [origin + HORIZON_NS[horizon] for origin in origins]
    found: dict[int, float] = {}
    for one in _found(
        scores, Happened, times, lambda one: one.instrument_id == instrument and one.horizon == horizon, step_ns
    ):
        found.setdefault(one.origin_time_ns, one.realised_variance)
    return found


def _settled_ns(score: Timed) -> int:
    return score.origin_time_ns + HORIZON_NS.get(score.horizon, 0)


def _found(
    log: JsonLog, kind: type[_Record], times: Sequence[int], is_ours: Callable[[_Record], bool], step_ns: int
) -> Iterator[_Record]:
    """Yield for each of `times` (rising) the first record of ours in its step, where there is one."""
    if not times:
        return
    begin, end = log.first_at(times[0]), min(log.high, log.first_at(times[-1] + step_ns) + _SPAN)
    if end - begin <= _MOST_READ:
        yield from _thinned((one for _, one in log.read(kind, begin, end) if is_ours(one)), log, step_ns)
        return
    per_ns = (end - begin) / (times[-1] + step_ns - times[0])
    for time_ns in times:
        guess = begin + round((time_ns - times[0]) * per_ns)
        place = log.first_at(time_ns, max(begin, guess - _SPREAD), min(end, guess + _SPREAD))
        in_time = (one for _, one in log.read(kind, place, place + _SPAN) if log.time_of(one) >= time_ns)
        one = next(filter(is_ours, in_time), None)
        if one is not None and log.time_of(one) < time_ns + step_ns:
            yield one


def _thinned(records: Iterator[_Record], log: JsonLog, step_ns: int) -> Iterator[_Record]:
    """Yield the first of each step."""
    slot = -1
    for one in records:
        if log.time_of(one) // step_ns > slot:
            slot = log.time_of(one) // step_ns
            yield one


def _point(made: Made, horizon: str, realised: float | None) -> Point:
    one = made.horizons[horizon]
    numbers = [one.quantiles.get(level, one.mean) for level in _LEVELS]
    return Point(str(made.origin_time_ns), made.status, numbers, one.mean, realised)
