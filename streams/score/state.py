"""What score knows of one partition, as it stands in a checkpoint; damaged ones are told before they do harm."""

from collections.abc import Collection, Iterator

import msgspec
import numpy as np

from schemas.errors import StateError
from schemas.tensors import QUANTILES
from schemas.topics import FEATURE_ROW, FORECAST
from streams.score.cells import CellState, Waiting
from streams.score.coverage import RECENT, Tally
from triton_models.drift import DriftState
from triton_models.online.conformal import REGIMES
from triton_models.online.regimes import Seen

_LEVELS = {str(level) for level in QUANTILES}


class State(msgspec.Struct, frozen=True):
    """What a checkpoint holds; rows that are kept for late forecasts are read again."""

    resume: dict[str, int]
    row_ns: int
    forecast_ns: int
    origins: dict[str, int]
    waiting: list[Waiting]
    cells: dict[str, dict[str, CellState]]
    """By instrument and horizon."""
    seen: Seen | None
    drift: dict[str, DriftState] = {}


def decode_state(blob: bytes, horizons: Collection[str]) -> State:
    """Return the state in `blob`; raises StateError for bytes that are none, or are of other horizons."""
    try:
        state = msgspec.msgpack.decode(blob, type=State)
        problem = next(_problems(state, horizons), "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)
    if problem:
        hint = "another release wrote it; `foreshock down --wipe` begins anew"
        raise StateError(f"score: unreadable checkpoint: {problem}; {hint}")
    return state


def _problems(state: State, horizons: Collection[str]) -> Iterator[str]:
    """Yield what no scorer could go on from."""
    if state.resume.keys() != {FEATURE_ROW, FORECAST} or min(state.resume.values()) < 0:
        yield f"expected offsets of {FEATURE_ROW} and {FORECAST}, got {state.resume}"
    told = {one.horizon for one in state.waiting}.union(*state.cells.values())
    if unknown := told - set(horizons):
        yield f"expected horizons among {', '.join(horizons)}, got {min(unknown)!r}"
    if not all(map(_is_whole, state.waiting)):
        yield f"expected {len(_LEVELS)} quantiles of each waiting forecast, and as many shifts, got others"
    for name, cells in state.cells.items():
        for horizon, cell in cells.items():
            if not _is_sound(cell):
                yield f"what is learned of {name} over {horizon} has other shapes or counts than it says"
    if state.seen is not None and not _is_seen(state.seen):
        yield "its regimes have other shapes than they say"
    for name, one in state.drift.items():
        numbers = np.array([one.total, one.mean, one.square, one.up, one.down])
        if not np.isfinite(numbers).all() or min(one.square, one.count, one.blocks) < 0:
            yield f"the numbers of the watch {name!r} are none that it could have come to"


def _is_whole(waiting: Waiting) -> bool:
    claims = (waiting.combined, *waiting.experts.values())
    return (
        all(claim.quantiles.keys() == _LEVELS for claim in claims)
        and len(waiting.shifts) in {0, len(_LEVELS)}
        and -1 <= waiting.regime < REGIMES
    )


def _is_sound(cell: CellState) -> bool:
    past = (cell.past.regret, cell.past.square, cell.past.largest)
    tallies = (cell.coverage, *cell.regime_coverage.values())
    return (
        all(_is_table(table, 2, len(cell.experts)) for table in past)
        and _is_table((cell.shifts.shared,), 1, len(_LEVELS))
        and _is_table(cell.shifts.regime, REGIMES, len(_LEVELS))
        and all(-1 <= regime < REGIMES for regime in cell.regime_coverage)
        and all(map(_is_count, tallies))
    )


def _is_count(tally: Tally) -> bool:
    return 0 <= tally.held <= tally.count and len(tally.last) == -(-min(tally.count, RECENT) // 8)


def _is_seen(seen: Seen) -> bool:
    return len(seen.silent) == len(seen.instruments) and _is_table(
        seen.probabilities, len(seen.instruments), len(seen.watched.regimes.means)
    )


def _is_table(table: tuple[tuple[float, ...], ...], rows: int, columns: int) -> bool:
    """Return whether a table is of so many finite numbers."""
    return len(table) == rows and all(len(row) == columns and bool(np.isfinite(row).all()) for row in table)
