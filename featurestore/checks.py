"""What every tile and feature must keep, checked without anyone writing a test.

Each check raises a `FeatureError` of one line. The tests run all of them on all that is discovered,
and `foreshock features check` on what a quant is writing.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featurestore.authoring import unit_of
from featurestore.catalogue import Catalogue
from featurestore.probe import INSTRUMENTS, SCENARIOS, Sample, events_of, waves
from featurestore.segments import Segments
from featurestore.specs import (
    BORDER_S,
    Array,
    DerivedSpec,
    FeatureSpec,
    FieldSpec,
    TileSpec,
    as_input,
    called,
    level_of,
)
from featurestore.versions import names_in
from schemas import EVENTS, FeatureError, Rules

Spec: TypeAlias = FieldSpec | TileSpec | DerivedSpec | FeatureSpec
Clock: TypeAlias = Callable[[], float]
"""Seconds, from any start; given from outside, since nothing here reads a clock."""

TIME_BUDGET_S = 0.02
"""For one call with 64 instruments, or 64 tiles of 50 events: 2 % of a row interval of a second."""

_BUDGET_ROWS = 64
_BUDGET_EVENTS = 50
_TRIES = 5
_IMPURE = ("time", "datetime", "random", "secrets", "uuid", "os", "sys", "open", "np.random", "numpy.random")
_STATEFUL = ("global", "import")
_LENGTHS = (5, 0, 1, 2, 9, 17, 130, 0, 1, 33)
_OFFSETS = np.concatenate([[0], np.cumsum(_LENGTHS)]).astype(np.int64)


class Checks:
    """The automatic checks of the fields, tiles and features of one catalogue."""

    def __init__(self, catalogue: Catalogue, rules: Rules) -> None:
        self.rules = rules
        self.sample = Sample(catalogue.series, rules)

    def documented(self, spec: Spec) -> None:
        """Check that the docstring's first line is a sentence that ends with the unit."""
        first = spec.docs.partition("\n")[0]
        if not first.endswith(".") or not (unit_of(spec.docs) or getattr(spec, "unit", "")):
            raise _error(spec, f'docstring {first!r}: expected one line with the unit: "Volume, in base units."')

    def pure(self, spec: Spec) -> None:
        """Check that nothing but the inputs decides the result."""
        for name in sorted(names_in(_plain(spec))):
            if name in _STATEFUL or any(name == each or name.startswith(f"{each}.") for each in _IMPURE):
                raise _error(spec, f"uses {name!r}: expected a function of its inputs alone")
        first, again = self.results(spec, "busy"), self.results(spec, "busy")
        self.results(spec, "sparse")
        _require_same(spec, "called again on the same inputs", first, again, self.results(spec, "busy"))

    def finite(self, spec: Spec) -> None:
        """Check that windows of no, one, few and many events give finite numbers or NaN."""
        for scenario in SCENARIOS:
            if np.isinf(self.results(spec, scenario)).any():
                raise _error(spec, f"infinite on a window with {scenario} tiles: expected a finite number or NaN")

    def known_when_busy(self, spec: Spec) -> None:
        """Check that a window full of events gives a number."""
        if np.isnan(self.results(spec, "busy")).all():
            raise _error(spec, "NaN on a window full of events")

    def varies(self, spec: Spec) -> None:
        """Check that a feature of records says something: it is not one number whatever its inputs are."""
        if not isinstance(spec, FeatureSpec) or not spec.records:
            return
        given = zip(spec.inputs, self.windows(spec, "busy"), strict=True)
        varied = [each if name == BORDER_S else waves(each.shape, place) for place, (name, each) in enumerate(given)]
        found = np.concatenate([_call(spec, varied), *(self.results(spec, scenario) for scenario in SCENARIOS)])
        values = np.unique(found[np.isfinite(found)])
        if len(values) == 1:
            raise _error(spec, f"{values[0]} on all windows, whatever is in them: is a window of one tile too short?")

    def leaves_inputs(self, spec: Spec) -> None:
        """Check that the inputs are as they were."""
        for scenario in SCENARIOS:
            inputs = self.plain_inputs(spec, scenario)
            before = [each.copy() for each in inputs]
            called(_plain(spec), _at(spec), *inputs)
            for name, now, then in zip(spec.inputs, inputs, before, strict=True):
                if now.tobytes() != then.tobytes():
                    raise _error(spec, f"changes its input {name!r}: expected it to leave inputs as they are")

    def looks_back_only(self, spec: Spec) -> None:
        """Check that what comes after a tile or row does not change it (prefix property)."""
        if isinstance(spec, TileSpec):
            columns, whole = _events(spec), spec.evaluate(_events(spec), _OFFSETS)
            for count in range(1, len(_LENGTHS)):
                _require_same(
                    spec, "without the tiles after it", whole[:count], spec.evaluate(columns, _OFFSETS[: count + 1])
                )
            return
        if isinstance(spec, FieldSpec):
            books = _books(spec, _BUDGET_EVENTS)
            whole = _call(spec, books)
            for count in range(1, _BUDGET_EVENTS):
                part = _call(spec, [each[:count] for each in books])
                _require_same(spec, "without the events after it", whole[:count], part)
            return
        for scenario in SCENARIOS:
            windows = self.windows(spec, scenario)
            whole = _call(spec, windows)
            for count in range(1, whole.shape[1]):
                part = _call(spec, [np.ascontiguousarray(each[:, :count]) for each in windows])
                _require_same(spec, "without the rows after it", whole[:, :count], part)

    def same_bits(self, spec: Spec) -> None:
        """Check that one row alone, all instruments and all history have the same bits."""
        if isinstance(spec, TileSpec):
            self._same_tiles(spec)
            return
        if isinstance(spec, FieldSpec):
            books = _books(spec, _BUDGET_EVENTS)
            together = spec.function(*books)
            for place in range(_BUDGET_EVENTS):
                alone = (_unaligned(each[place : place + 1]) for each in books)
                _require_same(spec, "for one event or many", together[place : place + 1], spec.function(*alone))
            return
        for scenario in SCENARIOS:
            windows = self.windows(spec, scenario)
            history = spec.function(*windows)
            for border in range(history.shape[1]):
                rows = [np.ascontiguousarray(each[:, border]) for each in windows]
                _require_same(spec, "for all instruments or all history", history[:, border], spec.function(*rows))
                for place in range(INSTRUMENTS):
                    one = spec.function(*(_unaligned(each[place]) for each in rows))
                    _require_same(spec, "for one row or many", history[place, border], one)

    def fast(self, spec: Spec, clock: Clock) -> None:
        """Check that one call for many instruments stays within the time budget; best of a few."""
        call = self._budget_call(spec)
        taken = min(_seconds(call, clock) for _ in range(_TRIES))
        if taken > TIME_BUDGET_S:
            raise _error(spec, f"{taken:.3f} s for {_BUDGET_ROWS} instruments: expected at most {TIME_BUDGET_S} s")

    def failed(self, spec: Spec, clock: Clock) -> list[str]:
        """Return one line for each check that a spec fails."""
        lines: dict[str, None] = {}
        for name in (*CHECKS, "fast"):
            try:
                CHECKS[name](self, spec) if name in CHECKS else self.fast(spec, clock)
            except FeatureError as error:
                lines[str(error)] = None
        return list(lines)

    def windows(self, spec: DerivedSpec | FeatureSpec, scenario: str) -> list[Array]:
        """Return sample windows of a spec's inputs, each [instruments, borders, T]."""
        if isinstance(spec, DerivedSpec):
            return self.sample.windows(spec.inputs, spec.window_tiles, scenario)
        return self.sample.windows(spec.inputs, level_of(spec.window_ns, self.rules)[1], scenario)

    def results(self, spec: Spec, scenario: str) -> NDArray[Any]:
        """Return what the function itself gives, infinities included."""
        if isinstance(spec, (DerivedSpec, FeatureSpec)):
            return _call(spec, self.windows(spec, scenario))
        counts = SCENARIOS[scenario][:64]
        if isinstance(spec, FieldSpec):
            return _call(spec, _books(spec, max(1, int(counts.sum()))))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return _tile_results(spec, _events(spec, int(offsets[-1])), offsets)

    def plain_inputs(self, spec: Spec, scenario: str) -> list[NDArray[Any]]:
        """Return inputs as the function may get them one by one; tiles and fields get events in any scenario."""
        if isinstance(spec, FieldSpec):
            return _books(spec, _BUDGET_EVENTS)
        if isinstance(spec, TileSpec):
            columns = _events(spec, _BUDGET_EVENTS)
            return [as_input(columns[name]).copy() for name in spec.inputs]
        return [each.copy() for each in self.windows(spec, scenario)]

    def _same_tiles(self, spec: TileSpec) -> None:
        columns = _events(spec)
        together = spec.evaluate(columns, _OFFSETS)
        for place in range(len(_LENGTHS)):
            span = slice(_OFFSETS[place], _OFFSETS[place + 1])
            alone = {name: _unaligned(column[span]) for name, column in columns.items()}
            found = spec.evaluate(alone, np.array([0, _LENGTHS[place]]))
            _require_same(spec, "for one tile or many", together[place], found[0])

    def _budget_call(self, spec: Spec) -> Callable[[], object]:
        if isinstance(spec, TileSpec):
            columns = _events(spec, _BUDGET_ROWS * _BUDGET_EVENTS)
            offsets = np.arange(_BUDGET_ROWS + 1) * _BUDGET_EVENTS
            return lambda: spec.evaluate(columns, offsets)
        if isinstance(spec, FieldSpec):
            books = _books(spec, _BUDGET_ROWS * _BUDGET_EVENTS)
            return lambda: spec.function(*books)
        windows = [np.resize(each, (_BUDGET_ROWS, each.shape[-1])) for each in self.windows(spec, "busy")]
        return lambda: spec.function(*windows)


CHECKS: dict[str, Callable[[Checks, Any], None]] = {
    "documented": Checks.documented,
    "pure": Checks.pure,
    "finite": Checks.finite,
    "known_when_busy": Checks.known_when_busy,
    "varies": Checks.varies,
    "leaves_inputs": Checks.leaves_inputs,
    "looks_back_only": Checks.looks_back_only,
    "same_bits": Checks.same_bits,
}
"""All checks that need no clock, by name; `Checks.fast` needs one."""


def violations(catalogue: Catalogue, rules: Rules, clock: Clock, names: Iterable[str] = ()) -> list[str]:
    """Return one line for each check that a spec of the catalogue (of `names`, or all) fails."""
    checks = Checks(catalogue, rules)
    wanted = set(names)
    return [
        line for spec in specs_of(catalogue) if not wanted or spec.name in wanted for line in checks.failed(spec, clock)
    ]


def specs_of(catalogue: Catalogue) -> list[Spec]:
    """Return all fields, tiles, derived tiles and features of a catalogue."""
    return [*catalogue.fields, *catalogue.tiles, *catalogue.derived, *catalogue.features]


def _at(spec: Spec) -> str:
    return f"{spec.file} {spec.name}"


def _error(spec: Spec, problem: str) -> FeatureError:
    return FeatureError(f"{_at(spec)}: {problem}")


def _plain(spec: Spec) -> Callable[..., Any]:
    return spec.function if isinstance(spec, TileSpec) else spec.plain


def _call(spec: FieldSpec | DerivedSpec | FeatureSpec, windows: list[Array]) -> NDArray[Any]:
    """Return the function itself, as it was written, of windows [..., T]: [...]."""
    result = called(spec.plain, _at(spec), *windows)
    expected = windows[0].shape[:-1]
    if result.shape != expected:
        raise _error(
            spec, f"shape {result.shape} from inputs {windows[0].shape}: expected {expected}, the last axis reduced"
        )
    return result


def _events(spec: TileSpec, count: int = int(_OFFSETS[-1])) -> dict[str, NDArray[Any]]:
    columns = events_of(EVENTS[spec.record], count)
    return {name: spec.column(name, columns) for name in spec.inputs}


def _books(spec: FieldSpec, count: int) -> list[NDArray[Any]]:
    columns = events_of(EVENTS[spec.record], count)
    return [columns[name] for name in spec.inputs]


def _tile_results(spec: TileSpec, columns: dict[str, NDArray[Any]], offsets: NDArray[np.int64]) -> NDArray[Any]:
    if not spec.on_segments:
        return spec.evaluate(columns, offsets)
    inputs = (Segments(as_input(columns[name]), offsets) for name in spec.inputs)
    return called(spec.function, _at(spec), *inputs)


def _unaligned(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values in memory that starts at an odd address."""
    held = np.empty(values.nbytes + 1, np.uint8)[1:].view(values.dtype).reshape(values.shape)
    held[...] = values
    return held


def _require_same(spec: Spec, when: str, expected: Any, *others: Any) -> None:
    """Raise where bits differ; any NaN is the same as any other."""
    for other in others:
        if not np.array_equal(expected, other, equal_nan=True):
            raise _error(spec, f"other bits {when}: {_difference(expected, other)}")


def _difference(expected: Any, other: Any) -> str:
    left, right = np.broadcast_arrays(np.atleast_1d(expected), np.atleast_1d(other))
    place = np.flatnonzero(~((left == right) | (np.isnan(left) & np.isnan(right))).ravel())[0]
    return f"{left.ravel()[place]!r} and {right.ravel()[place]!r}".replace("np.float64", "")


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start
