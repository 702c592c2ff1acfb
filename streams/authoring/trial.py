"""A feature on recorded data: the same bits in any order of work, nothing from the future, and its cost."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.backfill import CanonicalMessage, backfill
from featurestore.catalogue import Catalogue
from featurestore.checks import Checks
from featurestore.engine import Output, PartitionEngine
from featurestore.layout import Plotter
from featurestore.probe import events_of
from featurestore.spaces import keeps_of
from featurestore.specs import DerivedSpec, FeatureSpec, TileSpec
from schemas import EVENTS, Rules
from schemas.rows import decode_rows
from schemas.topics import MARKET_STATE

Clock = Callable[[], float]
Place = tuple[str, int]
"""An instrument and the time of its row."""
Column = Mapping[Place, float]

COST_INSTRUMENTS = 50
"""Instruments of one call whose time is taken."""
_TRIES = 7
_EVENTS_OF_A_TILE = 40


class Trial(msgspec.Struct, frozen=True):
    """What one feature did on a log.

    `rows`: rows of listed instruments; `known`: those with a number. `parity`: numbers with other
    bits when messages come one by one with a restart between, instead of all at once. `look_ahead`:
    rows with other bits when the log ends early. Cost: microseconds for a row of one instrument
    (windows, function, and one second of its tiles), bytes that its series keep for an instrument.
    """

    name: str
    rows: int
    known: int
    parity: int
    look_ahead: int
    row_microseconds: float
    instrument_bytes: int


def columns_of(log: Sequence[CanonicalMessage], rules: Rules, catalogue: Catalogue) -> dict[str, dict[Place, float]]:
    """Return every feature's number by instrument and row time, NaN where it is not known."""
    return _columns((output.value for output in backfill(log, rules, catalogue)), catalogue)


def trials(
    log: Sequence[CanonicalMessage], whole: Mapping[str, Column], rules: Rules, catalogue: Catalogue, clock: Clock
) -> list[Trial]:
    """Try all features of `catalogue` on a canonical log, of which `whole` are the columns."""
    halfway = len(log) // 2
    streamed = _columns(_streamed(log, rules, catalogue, restart_at=halfway), catalogue)
    cut = columns_of(log[:halfway], rules, catalogue)
    checks = Checks(catalogue, rules)
    return [
        Trial(
            name=spec.name,
            rows=len(whole[spec.name]),
            known=sum(value == value for value in whole[spec.name].values()),  # noqa: PLR0124 - NaN is not
            parity=_differing(whole[spec.name], streamed[spec.name], whole[spec.name].keys()),
            look_ahead=_differing(whole[spec.name], cut[spec.name], cut[spec.name].keys()),
            row_microseconds=row_microseconds(spec, catalogue, checks, clock),
            instrument_bytes=instrument_bytes(spec, catalogue, rules),
        )
        for spec in catalogue.features
    ]


def _columns(values: Iterable[bytes], catalogue: Catalogue) -> dict[str, dict[Place, float]]:
    found: dict[str, dict[Place, float]] = {name: {} for name in catalogue.versions}
    for value in values:
        rows = decode_rows(value)
        for name, column in zip(rows.features, rows.values.T, strict=True):
            found[name] |= {
                (instrument, rows.header.row_time_ns): number
                for instrument, number in zip(rows.instruments, column.tolist(), strict=True)
            }
    return found


def _differing(one: Column, other: Column, places: Iterable[Place]) -> int:
    """Return how many numbers have other bits, or are missing on one side."""
    pairs = [(one.get(place, np.inf), other.get(place, np.inf)) for place in places]
    left, right = np.array(pairs, np.float64).reshape(-1, 2).T
    return int((left.view(np.int64) != right.view(np.int64)).sum())


def _streamed(log: Sequence[CanonicalMessage], rules: Rules, catalogue: Catalogue, restart_at: int) -> Iterator[bytes]:
    """Yield row messages as workers make them: message by message, with a restart from checkpoints between."""
    engines = [PartitionEngine(partition, rules, catalogue) for partition in range(rules.partitions)]
    market: list[list[Output]] = [[] for _ in engines]
    for count, message in enumerate(log):
        if count == restart_at:
            blobs = [engine.checkpoint().blob for engine in engines]
            engines = [PartitionEngine.restore(blob, place, rules, catalogue) for place, blob in enumerate(blobs)]
            # What lies between a checkpoint's resume offsets and now is read again, as after a crash.
            for again in log[:count]:
                engines[again.partition].apply(again.topic, again.offset, again.headers, again.value)
            for engine, parts in zip(engines, market, strict=True):
                _tell(engine, parts, 0)
        engines[message.partition].apply(message.topic, message.offset, message.headers, message.value)
        yield from _advanced(engines, market)


def _advanced(engines: Sequence[PartitionEngine], market: Sequence[list[Output]]) -> Iterator[bytes]:
    moved = True
    while moved:
        moved = False
        for engine in engines:
            for output in engine.advance():
                moved = True
                if output.topic == MARKET_STATE:
                    market[output.partition].append(output)
                    _tell(engines[output.partition], [output], len(market[output.partition]) - 1)
                else:
                    yield output.value


def _tell(engine: PartitionEngine, parts: Sequence[Output], first: int) -> None:
    for offset, part in enumerate(parts, start=first):
        engine.apply(MARKET_STATE, offset, dict(part.headers), part.value)


def row_microseconds(spec: FeatureSpec, catalogue: Catalogue, checks: Checks, clock: Clock) -> float:
    """Return the time of one instrument's row: its windows copied, its function, a second of its tiles."""
    windows = [_wide(each) for each in checks.windows(spec, "busy")]
    taken = _seconds(lambda: spec.function(*map(np.copy, windows)), clock)
    for name in catalogue.lineage(spec.name):
        series = catalogue.series[name]
        if isinstance(series, DerivedSpec):
            inputs = [_wide(each) for each in checks.windows(series, "busy")]
            taken += _seconds(partial(series.function, *inputs), clock)
        else:
            taken += _tile_seconds(series, clock)
    return taken / COST_INSTRUMENTS * 1e6


def _wide(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.resize(windows, (COST_INSTRUMENTS, windows.shape[-1]))


def _tile_seconds(spec: TileSpec, clock: Clock) -> float:
    columns = events_of(EVENTS[spec.record], COST_INSTRUMENTS * _EVENTS_OF_A_TILE)
    found = {name: spec.column(name, columns) for name in spec.inputs}
    offsets = np.arange(COST_INSTRUMENTS + 1) * _EVENTS_OF_A_TILE
    return _seconds(lambda: spec.evaluate(found, offsets), clock)


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    """Return the shortest of a few tries: others use this machine too."""
    best = np.inf
    for _ in range(_TRIES):
        start = clock()
        call()
        best = min(best, clock() - start)
    return float(best)


def instrument_bytes(spec: FeatureSpec, catalogue: Catalogue, rules: Rules) -> int:
    """Return the bytes of the rings behind a feature, for one instrument; features that share series share them."""
    layout = Plotter(catalogue, rules).plot([spec], "trial")
    row_tiles = rules.row_interval_ns // rules.tile_interval_ns
    plans = [*layout.series.values(), *layout.market.values()]
    return sum(8 * sum(keeps_of(plan.windows, layout.factors, row_tiles)) for plan in plans)
