import numpy as np

from schemas.batches import encode_batch
from streams.stage import Message
from streams.topics import rows_of


def message(value, **headers):
    encoded = {name: text.encode() for name, text in headers.items()}
    return Message("topic", 1, 7, b"key", encoded, value, 1_000)


def test_a_micro_batch_gives_a_row_for_each_event_with_where_it_came_from():
    value = encode_batch(
        "trade",
        {
            "instrument_id": ["binance:BTC-USDT", "binance:BTC-USDC"],
            "venue": ["binance", "binance"],
            "event_time_ns": np.array([1, 2]),
            "sequence": np.array([5, 6]),
            "id": ["a", "b"],
            "price": np.array([1.5, 2.5]),
            "size": np.array([1.0, 2.0]),
            "side": np.array([1, -1]),
            "receive_time_ns": np.array([3, 3]),
            "tile_time_ns": np.array([1, 2]),
            "raw_partition": np.array([0, 0]),
            "raw_offset": np.array([9, 9]),
            "raw_index": np.array([0, 1]),
        },
    )
    rows = list(rows_of([message(value, record="trade")], "arrow"))
    assert [(row["record"], row["price"], row["instrument_id"]) for row in rows] == [
        ("trade", 1.5, "binance:BTC-USDT"),
        ("trade", 2.5, "binance:BTC-USDC"),
    ]
    assert (rows[0]["_partition"], rows[0]["_offset"], rows[0]["_key"]) == (1, 7, "key")


def test_progress_alone_is_a_row_of_its_headers():
    (row,) = rows_of([message(b"", record="progress", progress="0:9:5")], "arrow")
    assert row["_headers"] == {"record": "progress", "progress": "0:9:5"}


def test_what_cannot_be_decoded_is_kept_with_its_error():
    (row,) = rows_of([message(b"\xff\xfe")], "arrow")
    assert row["_error"]
    assert row["value_base64"] == "//4="
    (row,) = rows_of([message(b'{"a": ')], "json")
    assert "truncated" in row["_error"]
    assert row["value"] == '{"a": '


def test_raw_bytes_are_text_where_they_are_text():
    assert next(rows_of([message(b"plain")], "bytes"))["value"] == "plain"
