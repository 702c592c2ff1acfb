"""Reads any topic into a file that people and programs can look at."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.batches import ipc_batch
from schemas.errors import DecodeError, SettingsError
from schemas.topics import topics
from streams.kafka import partition_counts, read_topic
from streams.settings import Settings
from streams.stage import Message

FORMATS = ("jsonl", "parquet")
_PLACE = ("partition", "offset", "timestamp_ms", "key", "headers")


def read_to_file(settings: Settings, topic: str, out: Path, file_format: str, *, last: int = 0) -> int:
    """Decode the records that a topic holds now into `out`, and return how many rows were written.

    `last`: only about so many records of each partition; 0: all.
    One row per event, feature row or record, led by where it came from (`_partition`, `_offset`,
    `_timestamp_ms`, `_key`, `_headers`). What cannot be decoded is a row with `_error` and its bytes.
    """
    if file_format not in FORMATS:
        raise SettingsError(f"--format: expected {' or '.join(FORMATS)}, got {file_format!r}")
    rows = _rows(settings, topic, last)
    out.parent.mkdir(parents=True, exist_ok=True)
    if file_format == "parquet":
        return _write_parquet(rows, out)
    with out.open("wb") as file:
        return _write_jsonl(rows, file)


def read_to_stream(settings: Settings, topic: str, out: BinaryIO, *, last: int = 0) -> int:
    """Write the same as JSON lines to a stream."""
    return _write_jsonl(_rows(settings, topic, last), out)


def _rows(settings: Settings, topic: str, last: int) -> Iterator[dict[str, Any]]:
    if not partition_counts(settings, [topic]):
        raise SettingsError(f"{topic}: there is no such topic; `foreshock topics describe` lists them")
    declared = topics(settings.rules).get(topic)
    return rows_of(read_topic(settings, topic, last=last or None), "bytes" if declared is None else declared.content)


def rows_of(messages: Iterable[Message], content: str) -> Iterator[dict[str, Any]]:
    """Yield the decoded rows of messages whose value is `content`: arrow, json or bytes.

    >>> from streams.stage import Message
    >>> message = Message("t", 0, 7, b"k", {}, b'{"a": 1}', 5)
    >>> list(rows_of([message], "json"))[0]["a"]
    1
    """
    decode = {"arrow": _arrow, "json": _json}.get(content, _text)
    for message in messages:
        place = _place(message)
        try:
            decoded = decode(message.value) if message.value else [{}]
        except (DecodeError, msgspec.DecodeError) as error:
            decoded = [{"_error": str(error), **_text(message.value or b"")[0]}]
        for row in decoded:
            yield place | row


def _place(message: Message) -> dict[str, Any]:
    key = None if message.key is None else message.key.decode("utf-8", "backslashreplace")
    headers = {name: value.decode("utf-8", "backslashreplace") for name, value in message.headers.items()}
    values = (message.partition, message.offset, message.timestamp_ms, key, headers)
    return {f"_{name}": value for name, value in zip(_PLACE, values, strict=True)}


def _arrow(value: bytes) -> list[dict[str, Any]]:
    batch = ipc_batch(value)
    metadata = {name.decode(): text.decode() for name, text in (batch.schema.metadata or {}).items()}
    return [metadata | row for row in batch.to_pylist()] or [metadata]


def _json(value: bytes) -> list[dict[str, Any]]:
    decoded = msgspec.json.decode(value)
    return [decoded if isinstance(decoded, dict) else {"value": decoded}]


def _text(value: bytes) -> list[dict[str, Any]]:
    try:
        return [{"value": value.decode("utf-8")}]
    except UnicodeDecodeError:
        return [{"value_base64": base64.b64encode(value).decode("ascii")}]


def _write_jsonl(rows: Iterable[dict[str, Any]], out: BinaryIO) -> int:
    count = 0
    for row in rows:
        out.write(msgspec.json.encode(row, enc_hook=_base64) + b"\n")
        count += 1
    return count


def _base64(value: Any) -> str:
    return str(value)


def _write_parquet(rows: Iterable[dict[str, Any]], out: Path) -> int:
    """Write flat columns: what is nested in a record becomes JSON text, so that every file has one schema."""
    flat = [
        {
            name: msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    names = list(dict.fromkeys(name for row in flat for name in row)) or [f"_{name}" for name in _PLACE]
    table = pa.table({name: _column([row.get(name) for row in flat]) for name in names})
    pq.write_table(table, out)
    return len(flat)


def _column(values: list[Any]) -> pa.Array:
    """Return a column of the values' own type, of text where they have several."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
