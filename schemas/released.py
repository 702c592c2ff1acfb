"""Schemas that were released, and what changed since: the gate for every change of a record.

`released/RELEASE/RECORD.json` holds each record as the release wrote it, self-contained. A release is frozen once and
never changed. Its name is a number: that of the golden bytes in the tests.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from schemas.asyncapi import json_schemas, title
from schemas.compatibility import Level, breaks
from schemas.errors import StateError
from schemas.rules import Rules
from schemas.topics import topics

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Subject(msgspec.Struct, frozen=True):
    """What a registry knows a value by: one record type of one topic, with the level that its changes must keep."""

    name: str
    topic: str
    record: str
    level: Level
    schema: dict[str, Any]


def subjects(rules: Rules) -> dict[str, Subject]:
    """Return the subjects of all topics by name: TOPIC-value, or TOPIC-RECORD where a topic holds several."""
    schemas = json_schemas()
    found = {}
    for topic in topics(rules).values():
        named = {record: title(record) for record in topic.records}
        for record in (record for record, name in named.items() if name in schemas):
            name = f"{topic.name}-value" if len(topic.records) == 1 else f"{topic.name}-{record}"
            found[name] = Subject(name, topic.name, record, level(topic.name), bundled(named[record], schemas))
    return found


def level(topic: str) -> Level:
    """Return what changes of a topic must keep: others read forecasts with releases of their own choice.

    What workers tell each other and a rollback reads again (`ops.`) keeps the same.
    """
    return "FULL_TRANSITIVE" if topic.startswith(("forecast.", "ops.")) else "BACKWARD_TRANSITIVE"


def bundled(name: str, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with those that it refers to inside it, under `$defs`."""
    needed: dict[str, Any] = {}

    def inside(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                target = node["$ref"].rsplit("/", 1)[-1].removesuffix(".json")
                if target not in needed:
                    needed[target] = {}
                    needed[target] = inside(schemas[target])
                return {**node, "$ref": f"#/$defs/{target}"}
            return {key: inside(value) for key, value in node.items()}
        return [inside(each) for each in node] if isinstance(node, list) else node

    whole = {"$schema": DIALECT} | inside(schemas[name])
    text = json.dumps(whole | {"$defs": dict(sorted(needed.items()))} if needed else whole)
    found: dict[str, Any] = json.loads(text)  # as it is read again: without tuples
    return found


def released(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the schemas of each release by record, oldest release first."""
    releases = sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))
    return {
        release.name: {path.stem: json.loads(path.read_text()) for path in sorted(release.glob("*.json"))}
        for release in releases
    }


def broken(rules: Rules, history: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield every change of a subject since any release that its level forbids, one line each."""
    for subject in subjects(rules).values():
        for release, schemas in history.items():
            old = schemas.get(title(subject.record))
            found = breaks(subject.schema, old, subject.level) if old is not None else []
            yield from (f"{subject.name} against release {release}: {each} ({subject.level})" for each in found)
    known = {title(subject.record) for subject in subjects(rules).values()}
    for release, schemas in history.items():
        gone = sorted(schemas.keys() - known)
        yield from (f"{name} of release {release}: no topic holds it any more" for name in gone)


def freeze(rules: Rules, folder: Path) -> Path:
    """Write the schemas of today as the next release, if they fit all before; returns its folder.

    Raises StateError where a change is forbidden, or nothing has changed.
    """
    history = released(folder)
    forbidden = list(broken(rules, history))
    if forbidden:
        raise StateError(f"{forbidden[0]}\n({len(forbidden)} in all: `foreshock schemas check`)")
    today = {title(subject.record): subject.schema for subject in subjects(rules).values()}
    last = next(reversed(history), "0")
    if history and history[last] == today:
        raise StateError(f"nothing has changed since release {last}: there is nothing to freeze")
    target = folder / str(int(last) + 1)
    target.mkdir(parents=True)
    for name, schema in today.items():
        (target / f"{name}.json").write_text(text_of(schema))
    return target


def text_of(schema: Mapping[str, Any]) -> str:
    """Return a schema as text: equal schemas give equal bytes."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"
