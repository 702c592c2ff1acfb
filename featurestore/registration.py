"""From marked functions to specs: inputs, versions, and how a tile function is run."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from featurestore.authoring import Declaration
from featurestore.levels import LEVELS
from featurestore.probe import events_of
from featurestore.specs import (
    LONGEST_WINDOW_TILES,
    Array,
    DerivedSpec,
    FeatureSpec,
    FieldSpec,
    TileSpec,
    column_of,
    evaluate_each,
    evaluate_segments,
    known,
    reduction,
    value_of_one,
)
from featurestore.versions import code_of, digest
from schemas import Event, FeatureError, Rules
from schemas.rows import AGED
from schemas.rules import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

MODALITIES = AGED
CLOCK = "clock"
"""The modality of features without records of their own."""

_PROBE_LENGTHS = (3, 0, 1, 2, 150, 9, 17, 0, 33)
_PROBE_OFFSETS = np.concatenate([[0], np.cumsum(_PROBE_LENGTHS)]).astype(np.int64)
_AGREEMENT = 1e-9


def field_spec(declaration: Declaration) -> FieldSpec:
    """Return the spec of a field; raises `FeatureError` where it has no version."""
    record = _record(declaration)
    return FieldSpec(
        name=declaration.name,
        record=record.record,
        inputs=declaration.inputs,
        function=reduction(declaration.function, declaration.where),
        plain=declaration.function,
        version=_version(declaration, "field", declaration.inputs, record.record, LEVELS),
        docs=declaration.docs,
        file=declaration.path.name,
    )


def tile_spec(declaration: Declaration, fields: Iterable[FieldSpec] = ()) -> TileSpec:
    """Return the spec of a tile; tries its function on sample events to see how it can be run.

    `fields` are those of its record. Raises `FeatureError` where it cannot be run at all.
    """
    record = _record(declaration)
    fields = tuple(each for each in fields if each.record == record.record and each.name in declaration.inputs)
    columns = events_of(record, int(_PROBE_OFFSETS[-1]))
    inputs = [column_of(record.record, name, columns, fields) for name in declaration.inputs]
    versions = {each.name: f"{each.name}:{each.version}" for each in fields}
    reads = tuple(versions.get(name, name) for name in declaration.inputs)
    on_segments = _agrees(declaration, _each(declaration, inputs), inputs)
    options = (record.record, declaration.scope, declaration.combine, declaration.carry_ns, declaration.interval_ns)
    return TileSpec(
        name=declaration.name,
        record=record.record,
        inputs=declaration.inputs,
        function=declaration.function,
        version=_version(declaration, "tile", reads, options, on_segments),
        fields=fields,
        scope=declaration.scope,
        combine=declaration.combine,
        carry_ns=declaration.carry_ns,
        interval_ns=declaration.interval_ns,
        empty_value=_empty_value(declaration.function, inputs, on_segments=on_segments),
        on_segments=on_segments,
        docs=declaration.docs,
        file=declaration.path.name,
    )


def derived_spec(declaration: Declaration, versions: Mapping[str, str], rules: Rules) -> DerivedSpec:
    """Return the spec of a derived tile or market series; `versions` are those of all its inputs."""
    window_ns = next(iter(declaration.windows_ns), 0)
    window_tiles = declaration.window_tiles or window_ns // rules.tile_interval_ns
    if window_tiles > LONGEST_WINDOW_TILES:
        raise declaration.error(f"window of {window_tiles} tiles: expected at most {LONGEST_WINDOW_TILES}")
    inputs = [(name, versions[name]) for name in declaration.inputs]
    options = (declaration.combine, declaration.window_tiles, window_ns)
    kind = f"{declaration.kind} {declaration.reduce}" if declaration.reduce else declaration.kind
    return DerivedSpec(
        name=declaration.name,
        inputs=declaration.inputs,
        window_tiles=window_tiles,
        function=reduction(declaration.function, declaration.where),
        plain=declaration.function,
        version=_version(declaration, kind, inputs, options),
        combine=declaration.combine,
        market=declaration.kind == "market",
        of_asset=declaration.reduce,
        window_ns=window_ns,
        docs=declaration.docs,
        file=declaration.path.name,
    )


def feature_spec(
    declaration: Declaration, window_ns: int, versions: Mapping[str, str], records: frozenset[str]
) -> FeatureSpec:
    """Return the spec of a feature at one window; `records` are the record types behind it."""
    inputs = [(name, versions[name]) for name in declaration.inputs]
    return FeatureSpec(
        name=f"{declaration.name}_{window_text(window_ns)}" if window_ns else declaration.name,
        quantity=declaration.name,
        window_ns=window_ns,
        inputs=declaration.inputs,
        function=reduction(declaration.function, declaration.where),
        plain=declaration.function,
        version=_version(declaration, "feature", inputs, window_ns),
        records=tuple(sorted(records)),
        modality=next((record for record in MODALITIES if record in records), CLOCK),
        unit=declaration.unit,
        owner=declaration.owner,
        docs=declaration.docs,
        file=declaration.path.name,
    )


def window_text(window_ns: int) -> str:
    """Return a window as short as it can be said.

    >>> window_text(300 * SECOND_NS), window_text(DAY_NS), window_text(90 * SECOND_NS)
    ('5m', '1d', '90s')
    """
    units = (("d", DAY_NS), ("h", HOUR_NS), ("m", MINUTE_NS))
    unit, size = next(((unit, size) for unit, size in units if window_ns % size == 0), ("s", SECOND_NS))
    return f"{window_ns // size}{unit}"


def _record(declaration: Declaration) -> type[Event]:
    if declaration.record is None:
        raise declaration.error(f"a {declaration.kind} without a record")
    return declaration.record


def _version(declaration: Declaration, *parts: object) -> str:
    try:
        version = digest(declaration.name, code_of(declaration.function, declaration.name), *parts)
    except FeatureError as error:
        raise declaration.error(str(error)) from None
    return f"{declaration.label}-{version}" if declaration.label else version


def _each(declaration: Declaration, inputs: list[Any]) -> Array:
    """Return the values of the sample tiles, run one by one."""
    longest = slice(*_PROBE_OFFSETS[4:6])
    try:
        with np.errstate(all="ignore"):
            float(declaration.function(*(values[longest].copy() for values in inputs)))
        return evaluate_each(declaration.function, inputs, _PROBE_OFFSETS, np.nan)
    except Exception as error:
        shape = "one number for a tile"
        raise declaration.error(f"expected {shape}, got {type(error).__name__}: {error}".split("\n")[0]) from error


def _agrees(declaration: Declaration, expected: Array, inputs: list[Any]) -> bool:
    """Return whether one call for many tiles gives what one call for each gives."""
    try:
        found = evaluate_segments(declaration.function, inputs, _PROBE_OFFSETS)
    except Exception:  # noqa: BLE001 - whatever it raises, it cannot be run on many tiles
        return False
    filled = np.diff(_PROBE_OFFSETS) > 0
    return np.allclose(found[filled], expected[filled], rtol=_AGREEMENT, atol=0, equal_nan=True)


def _empty_value(function: Callable[..., Any], inputs: list[Any], *, on_segments: bool) -> float:
    nothing = [values[:0] for values in inputs]
    if on_segments:
        return float(evaluate_segments(function, nothing, np.zeros(2, np.int64))[0])
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        return float(known(np.array(value_of_one(function, *nothing))))
