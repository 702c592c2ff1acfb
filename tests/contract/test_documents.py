"""Generated documents equal what is committed, and every declaration is where readers look."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from schemas import metrics
from schemas.asyncapi import asyncapi, json_schemas, write
from schemas.events import EVENTS
from schemas.forecasts import JSON_RECORDS
from schemas.metrics import METRICS
from schemas.rules import TICKS
from schemas.topics import topics
from streams.documents import generated
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "deploy" / "docs"


def test_committed_documents_equal_the_generated_ones(tmp_path):
    for path in write(tmp_path, TICKS):
        committed = DOCS / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), "run python -m streams.documents"


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


def test_no_two_records_share_a_name():
    # The document describes a record by its name: with one name twice, one topic's record is another's.
    assert not EVENTS.keys() & JSON_RECORDS.keys()


def test_the_document_names_the_port_of_the_local_stack():
    assert asyncapi(TICKS)["servers"]["local"]["host"] == Settings().bootstrap_servers


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


def test_every_declared_metric_is_used():
    code = "".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    names = {name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
    assert {name for name in names if not re.search(rf"(\[|tell_age\(){name}\b", code)} == set()


def test_generated_parts_of_the_documents_are_up_to_date():
    for path, text in generated().items():
        assert path.read_text() == text, f"{path.name}: run python -m streams.documents"


def test_every_folder_says_what_it_holds_in_at_most_40_lines():
    for folder in ("schemas", "featurestore", "triton_models", "streams", "deploy"):
        lines = (ROOT / folder / "README.md").read_text().splitlines()
        assert 0 < len(lines) <= 40, folder


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
