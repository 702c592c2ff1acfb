"""The AsyncAPI document is read by AsyncAPI's own parser, and declares what messages carry."""

import json
import subprocess

import pytest

from deploy.cache import DEPLOY
from deploy.node import PACKAGES, node_packages, node_program
from schemas.asyncapi import asyncapi
from schemas.batches import Progress, message_headers
from schemas.forecasts import cloud_event_headers
from schemas.headers import headers_of
from schemas.rows import RowHeader, row_headers
from schemas.rules import TICKS

pytestmark = pytest.mark.timeout(400)


def validate(path):
    command = [node_program(), PACKAGES / "validate.mjs", node_packages(), path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_the_document_is_valid_and_a_broken_one_is_not(tmp_path):
    assert validate(DEPLOY / "docs" / "asyncapi.json") == (0, [], "")
    broken = asyncapi(TICKS)
    broken["channels"]["feature-row-v1"]["messages"]["row"]["$ref"] = "#/components/messages/rows"
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    code, found, _ = validate(tmp_path / "broken.json")
    assert code == 1
    assert "channels.feature-row-v1.messages.row.$ref" in {each["path"] for each in found}


def test_every_message_declares_headers_key_and_payload():
    document = asyncapi(TICKS)
    for record, message in document["components"]["messages"].items():
        assert message["payload"], record
        assert message["bindings"]["kafka"]["bindingVersion"] == "0.5.0"
        assert list(message["headers"]["properties"]) == [header.name for header in headers_of(record)]
    assert "key" in document["components"]["messages"]["forecast"]["bindings"]["kafka"]
    assert "key" not in document["components"]["messages"]["trade"]["bindings"]["kafka"]


@pytest.mark.parametrize(
    ("record", "sent"),
    [
        ("row", row_headers(RowHeader(1, 2, "rules", "set"))),
        ("trade", message_headers("trade", 0, Progress(0, 1, 2))),
        ("progress", message_headers("progress", 0, Progress(0, 1, 2))),
        ("forecast", cloud_event_headers("forecast", "a@1", 1, "a")),
    ],
)
def test_messages_carry_the_declared_headers(record, sent):
    declared = headers_of(record)
    names = {name for name, _ in sent}
    assert names <= {header.name for header in declared}
    assert {header.name for header in declared if header.always} <= names
