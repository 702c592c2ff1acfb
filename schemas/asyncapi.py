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
from schemas.headers import headers_of
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
    for record, kind in EVENTS.items():
        schemas[title(record)] = _arrow_schema(event_schema(record), kind.__doc__ or "", _defaults(kind))
    row = pa.schema(row_fields(()))
    schemas["Row"] = _arrow_schema(row, "A feature row; one more number per feature.", {})
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
    facts = {"name": record, "title": title(record), "headers": _headers(record), "bindings": _key(record)}
    if record in JSON_RECORDS:
        return facts | {"contentType": "application/json", "payload": _reference(record)}
    if record in EVENTS or record == "row":
        return facts | {
            "contentType": "application/vnd.apache.arrow.stream",
            "description": "An Arrow IPC stream of one record batch; the schema is that of a row.",
            "payload": _reference(record),
        }
    return facts | {"contentType": "application/octet-stream", "payload": {"type": "string"}}


def _reference(record: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{title(record)}"}


def _headers(record: str) -> dict[str, Any]:
    declared = headers_of(record)
    return {
        "type": "object",
        "properties": {each.name: {"type": "string", "description": each.meaning} for each in declared},
        "required": [each.name for each in declared if each.always],
    }


def _key(record: str) -> dict[str, Any]:
    """Return what Kafka's binding says of a message: its key, and that no schema's id stands in it."""
    meanings = sorted({topic.key for topic in topics(TICKS).values() if record in topic.records})
    binding: dict[str, Any] = {"bindingVersion": "0.5.0"}
    if not meanings[0].startswith("none"):
        binding["key"] = {"type": "string", "description": " or ".join(meanings)}
    return {"kafka": binding}


def _records(declared: dict[str, Topic]) -> list[str]:
    return sorted({record for topic in declared.values() for record in topic.records})


def _arrow_schema(schema: pa.Schema, meaning: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the object of one row; a column that was added later, with a default, is not in every batch."""
    columns = {field.name: _property(field.type) | {"x-arrow-type": _arrow_type(field.type)} for field in schema}
    return {
        "type": "object",
        "description": meaning.splitlines()[0],
        "properties": {name: column | defaults.get(name, {}) for name, column in columns.items()},
        "required": [field.name for field in schema if not field.nullable and field.name not in defaults],
    }


def _arrow_type(kind: pa.DataType) -> str:
    """Return Arrow's name of a type; the length of a mask is the number of features."""
    return str(kind).partition("[")[0]


def _defaults(event: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Return what a reader takes for the columns that a batch of an older release lacks; NaN is no JSON."""
    found = {each.name: each.default for each in msgspec.structs.fields(event)}
    return {
        name: {"default": None if value != value else value}  # noqa: PLR0124 - NaN alone differs from itself
        for name, value in found.items()
        if value is not msgspec.NODEFAULT
    }


def _property(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"type": "array", "items": _property(kind.value_type)}
    if pa.types.is_floating(kind):
        return {"type": "number"}
    return {"type": "integer"} if pa.types.is_integer(kind) else {"type": "string"}


def _channel(topic: Topic) -> str:
    return topic.name.replace(".", "-")


def title(record: str) -> str:
    """Return the name of a record's schema."""
    if record in JSON_RECORDS:
        return JSON_RECORDS[record].__name__
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
