"""Whether a changed schema still fits what was released: one version of a record against another. Pure.

A reader fits a writer where everything that the writer's schema allows is read by the reader's. Backward: the new
schema reads what every release wrote. Full: and every release reads what the new one writes. Both also keep every
field: a renamed field, or one of another unit, looks like one that went and another that came.

Known are the keywords of JSON Schema that our records use; another one is itself a finding. Readers ignore fields
that they do not know, as ours do: registries that hold the opposite refuse every new field of an open record.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Level = Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]
Schema = Mapping[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_ANNOTATIONS = {"$schema", "$defs", "title", "description", "default", "examples"}
_UNDERSTOOD = {
    *_ANNOTATIONS, *_LOWER, *_UPPER, "$ref", "type", "enum", "const", "anyOf", "pattern",
    "properties", "required", "additionalProperties", "items", "prefixItems",
}  # fmt: skip
_ARROW = "x-arrow-type"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def breaks(new: Schema, old: Schema, level: Level) -> list[str]:
    """Return what `new` breaks for readers or data of `old`, each with its path; empty where it fits.

    Schemas are self-contained: each `$ref` is to `#/$defs/NAME` in the same schema.

    >>> breaks({"type": "integer"}, {"type": "string"}, "BACKWARD_TRANSITIVE")
    ['$: string was written, integer is read']
    """
    found = list(_Fit(new, old, keeps=True).problems())
    if level == "FULL_TRANSITIVE":
        found += [f"{each}, by readers of that release" for each in _Fit(old, new, keeps=False).problems()]
    return list(dict.fromkeys(found))


class _Fit:
    """Whether `reader` reads all that `writer` allows; with `keeps` it must also know each of its fields."""

    def __init__(self, reader: Schema, writer: Schema, *, keeps: bool) -> None:
        self._reader, self._writer, self._keeps = reader, writer, keeps

    def problems(self) -> Iterator[str]:
        """Yield what does not fit, with its path."""
        yield from self._compare(self._reader, self._writer, "$")

    def _compare(self, reader: Schema, writer: Schema, path: str) -> Iterator[str]:
        readers = list(_alternatives(reader, self._reader))
        for written in _alternatives(writer, self._writer):
            found = [list(self._simple(read, written, path)) for read in readers]
            if all(found):
                same = [each for read, each in zip(readers, found, strict=True) if _kind(read) == _kind(written)]
                yield from (same or found)[0]

    def _simple(self, reader: Schema, writer: Schema, path: str) -> Iterator[str]:
        for keyword in sorted((reader.keys() | writer.keys()) - _UNDERSTOOD):
            if not keyword.startswith("x-"):
                yield f"{path}: the keyword {keyword!r} is not understood"
        read, written = _kind(reader), _kind(writer)
        if read not in {written, "anything"} and (read, written) != ("number", "integer"):
            yield f"{path}: {written} was written, {read} is read"
            return
        if reader.get(_ARROW, writer.get(_ARROW)) != writer.get(_ARROW, reader.get(_ARROW)):
            yield f"{path}: Arrow's {writer[_ARROW]} was written, {reader[_ARROW]} is read"
        yield from _values(reader, writer, path)
        yield from _bounds(reader, writer, path)
        if written == "object":
            yield from self._fields(reader, writer, path)
        if written == "array":
            yield from self._items(reader, writer, path)

    def _fields(self, reader: Schema, writer: Schema, path: str) -> Iterator[str]:
        known, sent = reader.get("properties", {}), writer.get("properties", {})
        for name in sorted(set(reader.get("required", ())) - set(writer.get("required", ()))):
            yield f"{path}.{name}: required, and not always written"
        for name, written in sent.items():
            if name in known:
                yield from self._compare(known[name], written, f"{path}.{name}")
                taken = known[name].get("default")
                if "default" in known[name] and written.get("default", taken) != taken:
                    yield f"{path}.{name}: the default changed"
            elif reader.get("additionalProperties") is False:
                yield f"{path}.{name}: written, and no further field is allowed"
            elif self._keeps:
                yield f"{path}.{name}: removed or renamed"
        yield from self._rest(reader.get("additionalProperties"), writer.get("additionalProperties"), path)

    def _rest(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        """Yield what does not fit of the values of a map: an object with any keys."""
        if isinstance(reader, Mapping) and writer is not False:
            yield from self._compare(reader, writer if isinstance(writer, Mapping) else {}, f"{path}.*")
        elif reader is False and writer is not False:
            yield f"{path}: any field is written, and no further field is allowed"

    def _items(self, reader: Schema, writer: Schema, path: str) -> Iterator[str]:
        places, sent = reader.get("prefixItems", ()), writer.get("prefixItems", ())
        if len(places) != len(sent):
            yield f"{path}: {len(sent)} places were written, {len(places)} are read"
            return
        for index, (place, written) in enumerate(zip(places, sent, strict=True)):
            yield from self._compare(place, written, f"{path}[{index}]")
        rest = reader.get("items")
        if isinstance(rest, Mapping):
            written = writer.get("items")
            yield from self._compare(rest, written if isinstance(written, Mapping) else {}, f"{path}[]")


def _alternatives(schema: Schema, whole: Schema) -> Iterator[Schema]:
    """Yield the simple schemas of which a value fits one."""
    if "$ref" in schema:
        target = whole["$defs"][str(schema["$ref"]).removeprefix("#/$defs/")]
        yield from _alternatives(target, whole)
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _alternatives(each, whole)
    elif isinstance(schema.get("type"), list):
        yield from ({**schema, "type": each} for each in schema["type"])
    else:
        yield schema


def _kind(schema: Schema) -> str:
    if "type" in schema:
        return str(schema["type"])
    kinds = {_TYPES.get(type(value), "object") for value in _allowed(schema) or ()}
    return " or ".join(sorted(kinds)) or "anything"


def _allowed(schema: Schema) -> list[Any] | None:
    """Return the only values that a schema allows; None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _values(reader: Schema, writer: Schema, path: str) -> Iterator[str]:
    known, sent = _allowed(reader), _allowed(writer)
    if known is not None and sent is None:
        yield f"{path}: any value was written, only {_shown(known)} are read"
    elif known is not None and sent is not None:
        strange = [value for value in sent if value not in known]
        if strange:
            yield f"{path}: {_shown(strange)} was written, and is not among {_shown(known)}"
    if "pattern" in reader and reader["pattern"] != writer.get("pattern"):
        yield f"{path}: the pattern {reader['pattern']!r} is asked for, and was not before"


def _bounds(reader: Schema, writer: Schema, path: str) -> Iterator[str]:
    for keyword in (*_LOWER, *_UPPER):
        asked, kept = reader.get(keyword), writer.get(keyword)
        if asked is None:
            continue
        if kept is None or (kept < asked if keyword in _LOWER else kept > asked):
            yield f"{path}: {keyword} {asked} is asked for, {'none' if kept is None else kept} was kept"


def _shown(values: list[Any]) -> str:
    return ", ".join(map(str, values))
