import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import EVENTS, DecodeError
from schemas.batches import Progress, decode_batch, encode_batch, event_schema, field_names, ipc_bytes

EXAMPLES = {pa.int64(): 7, pa.int8(): -1, pa.int16(): 3, pa.int32(): 9, pa.float64(): 1.5, pa.string(): "x"}


def columns(record, rows=3):
    values = {}
    for field in event_schema(record):
        if pa.types.is_list(field.type):
            values[field.name] = [[1.0, 2.0]] * rows
        elif pa.types.is_dictionary(field.type):
            values[field.name] = ["binance:BTC-USDT"] * rows
        else:
            values[field.name] = [EXAMPLES[field.type]] * rows
    return values


@pytest.mark.parametrize("record", EVENTS)
def test_each_record_survives_its_bytes(record):
    batch = decode_batch(encode_batch(record, columns(record)))
    assert (batch.record, len(batch)) == (record, 3)
    assert batch.to_arrow().to_pydict() == columns(record)


def test_equal_columns_give_equal_bytes():
    assert encode_batch("trade", columns("trade")) == encode_batch("trade", columns("trade"))


def test_columns_come_as_numpy():
    batch = decode_batch(encode_batch("trade", columns("trade")))
    codes, names = batch.codes("instrument_id")
    assert (list(codes), names) == ([0, 0, 0], ["binance:BTC-USDT"])
    assert batch.numbers("price").dtype == np.float64
    assert list(batch.texts("id")) == ["x"] * 3
    assert batch.any_text("id")


def without(record, name):
    schema = event_schema(record)
    values = columns(record)
    kept = [field for field in schema if field.name != name]
    arrays = [pa.array(values[field.name]).cast(field.type) for field in kept]
    return ipc_bytes(pa.record_batch(arrays, schema=pa.schema(kept, metadata=schema.metadata)))


def test_a_column_that_an_older_release_did_not_write_gets_its_default():
    assert list(decode_batch(without("score", "words")).numbers("words")) == [0, 0, 0]


def test_a_missing_column_without_a_default_is_named():
    with pytest.raises(DecodeError, match=r"^\$.price: expected a column, got none$"):
        decode_batch(without("trade", "price"))


def test_a_column_of_another_type_is_named():
    schema = event_schema("trade")
    wrong = schema.set(schema.get_field_index("price"), pa.field("price", pa.string(), nullable=False))
    values = columns("trade") | {"price": ["1"] * 3}
    arrays = [pa.array(values[field.name]).cast(field.type) for field in wrong]
    with pytest.raises(DecodeError, match=r"^\$.price: expected double, got string$"):
        decode_batch(ipc_bytes(pa.record_batch(arrays, schema=wrong)))


def test_an_unknown_record_is_named():
    schema = event_schema("trade").with_metadata({"record": "rumour"})
    empty = pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)
    with pytest.raises(DecodeError, match=r"expected one of trade, quote.*got 'rumour'"):
        decode_batch(ipc_bytes(empty))


@given(st.binary(max_size=400))
def test_hostile_bytes_are_decode_errors(value):
    with pytest.raises(DecodeError):
        decode_batch(value)


@given(st.integers(1, 255), st.data())
def test_damaged_batches_are_decode_errors_or_other_values(flip, data):
    value = bytearray(encode_batch("quote", columns("quote")))
    position = data.draw(st.integers(0, len(value) - 1))
    value[position] ^= flip
    try:
        batch = decode_batch(bytes(value))
    except DecodeError:
        return
    assert set(batch.to_arrow().schema.names) >= set(field_names(batch.record))


def test_progress_survives_its_header():
    progress = Progress(3, 1_000_000, -5)
    assert Progress.decode(progress.encode()) == progress


@pytest.mark.parametrize("value", [b"", b"1:2", b"1:2:x", b"1:2:3:4", b"\xff"])
def test_a_damaged_progress_header_is_a_decode_error(value):
    with pytest.raises(DecodeError, match=r"headers.progress: expected partition:offset:watermark"):
        Progress.decode(value)
