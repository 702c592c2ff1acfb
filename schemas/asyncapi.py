"""The AsyncAPI 3 document and the JSON Schemas, made from the records and topics alone."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from schemas.batches import event_schema
from schemas.events import EVENTS
from schemas.forecasts import JSON_RECORDS
from schemas.rows import row_fields
from schemas.rules import TICKS, Rules
from schemas.topics import Topic, topics


def json_schemas() -> dict[str, Any]:
    """Return the JSON Schema of every record, by record name.

    Arrow records are described as the object of one row: what `foreshock topics read` prints.
    """
    template = "#/components/schemas/{name}"
    _, components = msgspec.json.schema_components(JSON_RECORDS.values(), ref_template=template)
    schemas: dict[str, Any] = dict(components)
    for record in EVENTS:
        schemas[_title(record)] = _arrow_schema(event_schema(record), EVENTS[record].__doc__ or "")
    row = pa.schema(row_fields(()))
    schemas["Row"] = _arrow_schema(row, "A feature row; one more number per feature.")
    return schemas


def asyncapi(rules: Rules) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of all topics under `rules`."""
    declared = topics(rules)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Foreshock",
            "version": "1.0.0",
            "description": "Calibrated crypto-volatility forecasts on Kafka, with their way there.",
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:19092", "protocol": "kafka"}},
        "channels": {_channel(topic): _describe(topic) for topic in declared.values()},
        "operations": {
            f"receive-{_channel(topic)}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{_channel(topic)}"},
            }
            for topic in declared.values()
        },
        "components": {
            "messages": {record: _message(record) for record in _records(declared)},
            "schemas": json_schemas(),
        },
    }


def _describe(topic: Topic) -> dict[str, Any]:
    config = {
        "cleanup.policy": ["compact" if topic.compacted else "delete"],
        "max.message.bytes": topic.max_message_bytes,
    }
    if not topic.compacted:
        config["retention.ms"] = topic.retention_ms
    return {
        "address": topic.name,
        "description": f"{topic.meaning} Key: {topic.key}.",
        "messages": {record: {"$ref": f"#/components/messages/{record}"} for record in topic.records},
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": config,
            }
        },
    }


def _message(record: str) -> dict[str, Any]:
    if record in JSON_RECORDS:
        reference = {"$ref": f"#/components/schemas/{JSON_RECORDS[record].__name__}"}
        return {"contentType": "application/json", "payload": reference}
    if record in EVENTS or record == "row":
        reference = {"$ref": f"#/components/schemas/{_title(record)}"}
        return {
            "contentType": "application/vnd.apache.arrow.stream",
            "description": "An Arrow IPC stream of one record batch; the schema is that of a row.",
            "payload": reference,
        }
    return {"contentType": "application/octet-stream", "payload": {"type": "string"}}


def _records(declared: dict[str, Topic]) -> list[str]:
    return sorted({record for topic in declared.values() for record in topic.records})


def _arrow_schema(schema: pa.Schema, meaning: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": meaning.splitlines()[0],
        "properties": {field.name: _property(field.type) for field in schema},
        "required": [field.name for field in schema if not field.nullable],
    }


def _property(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"type": "array", "items": _property(kind.value_type)}
    if pa.types.is_floating(kind):
        return {"type": "number"}
    return {"type": "integer"} if pa.types.is_integer(kind) else {"type": "string"}


def _channel(topic: Topic) -> str:
    return topic.name.replace(".", "-")


def _title(record: str) -> str:
    return EVENTS[record].__name__ if record in EVENTS else record.title()


def write(folder: Path, rules: Rules) -> list[Path]:
    """Write the document and one JSON Schema per record into `folder`; return the files."""
    contents: dict[Path, Any] = {folder / "asyncapi.json": asyncapi(rules)}
    for name, schema in json_schemas().items():
        contents[folder / "schemas" / f"{name}.json"] = _standalone(schema)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return list(contents)


def _standalone(schema: dict[str, Any]) -> dict[str, Any]:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    text = json.dumps(schema).replace("#/components/schemas/", "")
    local: dict[str, Any] = json.loads(re.sub(r'("\$ref": "\w+)"', r'\1.json"', text))
    return dialect | local


if __name__ == "__main__":
    write(Path(sys.argv[1]), TICKS)
