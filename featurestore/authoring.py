"""What a quant writes: functions marked as fields, tiles, market series and features.

A decorated function stays a plain function. Its parameter names are its inputs.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_type_hints

from featurestore.levels import level_columns, list_fields
from featurestore.specs import Combine, Reduce, Scope, window_ns_of
from schemas import EVENTS, Event, FeatureError

Kind: TypeAlias = Literal["field", "tile", "derived", "asset", "market", "feature"]
Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "__foreshock__"
_FEW_NAMES = 12

EVERY_RECORD = ("instrument_id", "venue", "tile_time_ns")
"""What a tile function may read of any record: names, and when the event counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """A marked function and what was asked for it."""

    kind: Kind
    function: Callable[..., Any] = dataclasses.field(repr=False)
    inputs: tuple[str, ...]
    docs: str
    record: type[Event] | None = None
    windows_ns: tuple[int, ...] = ()
    window_tiles: int = 0
    combine: Combine | None = None
    carry_ns: int = 0
    interval_ns: int = 0
    scope: Scope = "own"
    reduce: Reduce | None = None
    """How a series of an asset follows from those of its instruments."""
    unit: str = ""
    owner: str = ""
    label: str = ""
    former: str = ""
    """The quantity that this is the former code of; empty for all that is in use."""

    @property
    def name(self) -> str:
        """Name of the function, or of the quantity that it is the former code of."""
        return self.former or self.function.__name__

    @property
    def path(self) -> Path:
        """File of the function."""
        return Path(self.function.__code__.co_filename)

    @property
    def where(self) -> str:
        """File and name, for errors ("order_flow.py signed_volume")."""
        return where(self.function)

    def error(self, problem: str) -> FeatureError:
        """Return the error that says where the problem is."""
        return FeatureError(f"{self.where}: {problem}")


def where(function: Callable[..., Any]) -> str:
    """Return file and name of a function."""
    return f"{Path(function.__code__.co_filename).name} {function.__name__}"


def declaration_of(value: object) -> Declaration | None:
    """Return what `value` was marked as, None where it is no marked function."""
    found = getattr(value, _MARK, None) if inspect.isfunction(value) else None
    return found if isinstance(found, Declaration) else None


def field(record: type[Event], *, version: str = "") -> Callable[[Function], Function]:
    """Mark a function as a field of a record that holds lists: one number of each event.

    Its parameters are the record's lists, arrays [..., levels] with the best level first and NaN
    behind the last; it reduces the last axis. Tiles of the record read it by its name, like the
    record's own fields. Raises `FeatureError`.
    """

    def mark(function: Function) -> Function:
        at = where(function)
        known = _known_record(at, record)
        if not list_fields(known):
            holding = ", ".join(event.__name__ for event in EVENTS.values() if list_fields(event))
            raise FeatureError(f"{at}: @field({known.__name__}): expected a record that holds lists: {holding}")
        if function.__name__ in columns_of(known) + list_fields(known):
            raise FeatureError(f"{at}: {known.__name__} has a field of this name; choose another one")
        return _mark(function, kind="field", record=known, label=version)

    return mark


def tile(
    record: type[Event] | None = None,
    *,
    window: int | str | None = None,
    combine: Combine | None = None,
    carry: str | None = None,
    scope: Scope = "own",
    interval: str | None = None,
    version: str = "",
) -> Callable[[Function], Function]:
    """Mark a function as a tile: one number of an instrument and tile interval.

    With a `record`, it is a function of the events of the tile and its parameters are the record's
    fields, those of its lists by level ("bid_price_1"), and what `field` adds. With a `window` (a
    number of tiles, or a time), it is derived: a function of the last tiles of other series, arrays
    [..., window].

    `combine` says how tiles merge to minutes and hours ("sum", "min", "max", "first", "last");
    without it windows stay short. `carry` ("15m") lets a silent tile repeat the last value for so
    long. `scope="market"` reads events of all assets ("*"). `interval` ("5m") limits it to profiles
    with this tile interval. Raises `FeatureError`.
    """

    def mark(function: Function) -> Function:
        at = where(function)
        if (record is None) == (window is None):
            raise FeatureError(f"{at}: a tile has either a record, @tile(Trade), or a window, @tile(window=2)")
        if combine is not None and combine not in get_args(Combine):
            raise FeatureError(f"{at}: combine={combine!r}: expected one of {', '.join(get_args(Combine))}")
        if scope not in get_args(Scope):
            raise FeatureError(f'{at}: scope={scope!r}: expected "own" or "market"')
        interval_ns = _time(at, "interval", interval)
        common: dict[str, Any] = {"combine": combine, "label": version, "interval_ns": interval_ns}
        if window is not None:
            return _mark(function, kind="derived", **common, **_span(at, window))
        known = _known_record(at, record)
        if scope == "market" and not known.of_asset:
            raise FeatureError(
                f'{at}: scope="market" is for records of assets; @market makes a mean of {known.__name__}'
            )
        return _mark(function, kind="tile", scope=scope, record=known, carry_ns=_time(at, "carry", carry), **common)

    return mark


def market(*, window: int | str = 1, version: str = "") -> Callable[[Function], Function]:
    """Mark a derived series whose mean over all instruments of the market is a series for features.

    `window` is a number of tiles, or a time. Raises `FeatureError`.
    """

    def mark(function: Function) -> Function:
        return _mark(function, kind="market", label=version, **_span(where(function), window))

    return mark


def asset(
    *, window: int | str = 1, reduce: Reduce = "mean", combine: Combine | None = None, version: str = ""
) -> Callable[[Function], Function]:
    """Mark a derived series whose mean (or sum) over the instruments of an asset is a series of that asset.

    The instruments are those that are listed at the tile's end and have a number; unlike `market`,
    derived tiles may read it. `window` is a number of tiles, or a time. Raises `FeatureError`.
    """

    def mark(function: Function) -> Function:
        at = where(function)
        if reduce not in get_args(Reduce):
            raise FeatureError(f'{at}: reduce={reduce!r}: expected "mean" or "sum"')
        return _mark(function, kind="asset", reduce=reduce, combine=combine, label=version, **_span(at, window))

    return mark


def feature(
    *,
    window: str | Sequence[str] = (),
    interval: str | None = None,
    unit: str = "",
    owner: str = "",
    version: str = "",
    former: str = "",
) -> Callable[[Function], Function]:
    """Mark a function as a feature: a reduction of the last axis of arrays [..., T].

    `window` is one time ("5m") or several; each makes a feature named quantity + window. Without
    it, the feature sees the last tile alone and is named by its quantity. `unit` may stand at the
    end of the docstring's first line instead: "..., in base units.". A `version` says that its
    code is meant to stay: changed code needs another one. `interval` ("1s") limits it to profiles
    with this tile interval. `former` names the quantity whose code
    this was before its version was raised, under its `version` of then: rows from before the border
    of the new one are still made with it. Raises `FeatureError`.
    """

    def mark(function: Function) -> Function:
        at = where(function)
        windows = (window,) if isinstance(window, str) else tuple(window)
        windows_ns = tuple(_time(at, "window", each) for each in windows)
        if len(set(windows_ns)) < len(windows_ns):
            raise FeatureError(f"{at}: window={list(windows)}: the same window twice")
        interval_ns = _time(at, "interval", interval)
        options = {"unit": unit, "owner": owner, "label": version, "former": former, "interval_ns": interval_ns}
        return _mark(function, kind="feature", windows_ns=windows_ns or (0,), **options)

    return mark


def fields_of(record: type[Event]) -> tuple[str, ...]:
    """Return the fields of a record that a tile function may read: its own numbers and texts.

    >>> fields_of(EVENTS["trade"])
    ('price', 'size', 'side')
    """
    common = set(Event.__struct_fields__)
    hints = get_type_hints(record)
    return tuple(name for name in record.__struct_fields__ if name not in common and hints[name] in (float, int, str))


def columns_of(record: type[Event]) -> tuple[str, ...]:
    """Return the columns of a record that a tile function may read: its fields, its lists by level, and more."""
    return (*fields_of(record), *level_columns(record), *EVERY_RECORD)


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the names most like `name`, for an error; all of them where they are few."""
    found = get_close_matches(name, names, n=3, cutoff=0.5) or (list(names) if len(names) <= _FEW_NAMES else [])
    return " or ".join(found) or f"one of {len(names)} names"


def _mark(function: Function, **options: Any) -> Function:
    if not inspect.isfunction(function):
        raise FeatureError(f"{function!r}: expected a function below the decorator")
    if declaration_of(function) is not None:
        raise FeatureError(f"{where(function)}: marked twice; a function is one tile or one feature")
    docs = inspect.getdoc(function) or ""
    if not docs:
        raise FeatureError(f"{where(function)}: no docstring; say what it is and its unit: Volume, in base units.")
    options.setdefault("unit", "")
    options["unit"] = options["unit"] or unit_of(docs)
    declaration = Declaration(function=function, inputs=_inputs(function), docs=docs, **options)
    _check_fields(declaration)
    setattr(function, _MARK, declaration)
    return function


def unit_of(docs: str) -> str:
    """Return the unit at the end of a docstring's first line.

    >>> unit_of("Traded volume, in base units.")
    'base units'
    """
    head, found, unit = docs.partition("\n")[0].rstrip(".").rpartition(" in ")
    return unit if found and head else ""


def _inputs(function: Callable[..., Any]) -> tuple[str, ...]:
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind is not plain or parameter.default is not inspect.Parameter.empty:
            raise FeatureError(f"{where(function)}: parameter {parameter}: expected plain names, each an input")
    if not parameters:
        raise FeatureError(f"{where(function)}: no parameters; their names are the inputs")
    return tuple(parameter.name for parameter in parameters)


def _check_fields(declaration: Declaration) -> None:
    record = declaration.record
    if record is None:
        return
    lists = list_fields(record)
    if lists and declaration.kind == "tile":
        return  # it may read fields that other files add: the catalogue knows them
    known = lists if declaration.kind == "field" else columns_of(record)
    for name in declaration.inputs:
        if name not in known:
            raise declaration.error(f"{record.__name__} has no field {name!r}; it has {', '.join(known)}")


def _known_record(at: str, record: object) -> type[Event]:
    if isinstance(record, type) and issubclass(record, Event) and record in EVENTS.values():
        return record
    names = ", ".join(event.__name__ for event in EVENTS.values())
    raise FeatureError(f"{at}: @tile({getattr(record, '__name__', repr(record))}): expected one of {names}")


def _time(at: str, option: str, value: str | None) -> int:
    if value is None:
        return 0
    try:
        return window_ns_of(value)
    except FeatureError as error:
        raise FeatureError(f"{at}: {str(error).replace('window', option, 1)}") from None


def _span(at: str, window: int | str) -> dict[str, Any]:
    if isinstance(window, str):
        return {"windows_ns": (_time(at, "window", window),)}
    if window < 1:
        raise FeatureError(f"{at}: window={window}: expected 1 or more tiles")
    return {"window_tiles": window}
