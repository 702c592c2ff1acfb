"""An optional schema registry with Confluent's API: subjects, versions, ids, and what changes must keep.

No stage reads it and no value holds an id: topics work without one. Four requests of a plain API are made with the
standard library; Confluent's client would bring four packages for them.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from schemas.asyncapi import title
from schemas.errors import ForeshockError, StateError
from schemas.released import broken, subjects
from schemas.rules import Rules

_SECONDS = 10.0
_DIALECT = "http://json-schema.org/draft-07/schema#"
_CONFLICT = 409
_ACCEPT = "application/vnd.schemaregistry.v1+json"


class RegistryError(ForeshockError):
    """The registry was not reached, or refused what was asked; `status` is that of HTTP, 0 without an answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class IncompatibleError(RegistryError):
    """The registry holds a version that the schema does not fit."""


class SchemaRegistry:
    """One registry, by the address of its Confluent API."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise RegistryError(f"expected the http(s) address of a registry, got {url!r}")
        self._url = url.rstrip("/")

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Register a JSON Schema under a subject and return its id; one that is there already keeps its id.

        Raises IncompatibleError where it does not fit the versions before it.
        """
        text = json.dumps(draft_7(schema), sort_keys=True, separators=(",", ":"))
        body = {"schemaType": "JSON", "schema": text}
        return int(self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", body)["id"])

    def fetch(self, schema_id: int) -> dict[str, Any]:
        """Return the schema with an id; raises RegistryError with status 404 where there is none."""
        schema: dict[str, Any] = json.loads(self._ask("GET", f"/schemas/ids/{schema_id}")["schema"])
        return schema

    def keep(self, subject: str, level: str) -> None:
        """Set what changes of a subject must keep."""
        self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": level})

    def kept(self, subject: str) -> str:
        """Return what changes of a subject must keep."""
        return str(self._ask("GET", f"/config/{quote(subject, safe='')}")["compatibilityLevel"])

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address was checked to be http
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Accept": _ACCEPT, "Content-Type": _ACCEPT},
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:300]
            kind = IncompatibleError if error.code == _CONFLICT else RegistryError
            raise kind(f"{method} {path}: the registry answered {error.code}: {said}", error.code) from None
        except (OSError, ValueError) as error:
            raise RegistryError(f"{self._url} was not reached as a schema registry: {error}") from None


def draft_7(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in the dialect that registries compare: they know `$defs` and `prefixItems` of 2020 not at all.

    >>> draft_7({"prefixItems": [{"type": "integer"}], "items": False})["additionalItems"]
    False
    """

    def older(node: Any) -> Any:
        if isinstance(node, list):
            return [older(each) for each in node]
        if not isinstance(node, dict):
            return node
        found = {"definitions" if key == "$defs" else key: older(value) for key, value in node.items()}
        if isinstance(found.get("$ref"), str):
            return {"$ref": found["$ref"].replace("#/$defs/", "#/definitions/")}  # what stands beside it is ignored
        if isinstance(found.get("prefixItems"), list):
            found |= {"items": found.pop("prefixItems"), "additionalItems": found.get("items", True)}
        return found

    return {**older(schema), "$schema": _DIALECT}


def register_all(url: str, rules: Rules, history: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Register every release and then today's schema of each subject; yields a line for each subject.

    What changes must keep is set anew behind them: what we register passed our own gate, and registries differ in what
    they allow of records that may have further fields. Raises StateError where the gate refuses, RegistryError.
    """
    forbidden = next(broken(rules, history), None)
    if forbidden is not None:
        raise StateError(f"{forbidden}: nothing is registered; see `foreshock schemas check`")
    registry = SchemaRegistry(url)
    for subject in subjects(rules).values():
        known = [schemas[title(subject.record)] for schemas in history.values() if title(subject.record) in schemas]
        registry.keep(subject.name, "NONE")
        try:
            ids = [registry.register(subject.name, schema) for schema in (*known, subject.schema)]
        finally:
            registry.keep(subject.name, subject.level)
        yield f"{subject.name}: id {ids[-1]}, {len(set(ids))} versions, {registry.kept(subject.name)}"
