"""Generated documents equal what is committed, and every declaration is where readers look."""

import json
from pathlib import Path

import jsonschema
import pytest

from schemas.asyncapi import asyncapi, json_schemas, write
from schemas.metrics import METRICS
from schemas.rules import TICKS
from schemas.topics import topics

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "deploy" / "docs"


def test_committed_documents_equal_the_generated_ones(tmp_path):
    for path in write(tmp_path, TICKS):
        committed = DOCS / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"run: python -m schemas.asyncapi {DOCS.relative_to(ROOT)}"


def test_no_document_is_left_over(tmp_path):
    written = {path.relative_to(tmp_path) for path in write(tmp_path, TICKS)}
    kept = {path.relative_to(DOCS) for path in (*DOCS.glob("schemas/*.json"), DOCS / "asyncapi.json")}
    assert kept == written


@pytest.mark.parametrize("name", json_schemas())
def test_each_json_schema_is_valid(name):
    jsonschema.Draft202012Validator.check_schema(json.loads((DOCS / "schemas" / f"{name}.json").read_text()))


def test_every_reference_of_the_asyncapi_document_resolves():
    document = asyncapi(TICKS)

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                target = document
                for step in node["$ref"].removeprefix("#/").split("/"):
                    target = target[step]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)


def test_topic_names_use_dots_and_hyphens():
    for name in topics(TICKS):
        assert name == name.lower()
        assert "_" not in name


def test_metric_names_are_what_prometheus_expects():
    for metric in METRICS:
        assert metric.name.startswith("foreshock_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.name.endswith(("_ms", "_us", "_count", "_sum"))
        assert metric.meaning.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)
