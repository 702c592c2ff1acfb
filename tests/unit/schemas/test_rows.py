import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DecodeError
from schemas.batches import ipc_bytes
from schemas.rows import AGED, RowHeader, Rows, decode_rows, encode_row_messages, encode_rows, quality_names, row_fields

HEADER = RowHeader(1_700_000_000_000_000_000, 2, "rules", "set")


def rows(values):
    count = len(values)
    return Rows(
        HEADER,
        tuple(f"binance:A{i}-USDT" for i in range(count)),
        ("one", "two"),
        np.array(values, dtype=np.float64).reshape(count, 2),
        np.full((count, len(AGED)), np.nan),
        np.arange(count, dtype=np.uint32),
    )


def test_rows_survive_their_bytes():
    written = rows([[1.0, np.nan], [np.nan, -2.5]])
    read = decode_rows(encode_rows(written))
    assert (read.header, read.instruments, read.features) == (HEADER, written.instruments, written.features)
    np.testing.assert_array_equal(read.values, written.values)
    np.testing.assert_array_equal(read.ages, written.ages)
    np.testing.assert_array_equal(read.quality, [0, 1])


def test_the_bits_of_a_value_survive():
    value = np.nextafter(0.1, 1)
    assert decode_rows(encode_rows(rows([[value, -0.0]]))).values.tobytes() == np.array([[value, -0.0]]).tobytes()


def test_equal_rows_give_equal_bytes():
    assert encode_rows(rows([[1.0, np.nan]])) == encode_rows(rows([[1.0, np.nan]]))


@given(st.binary(max_size=300))
def test_hostile_bytes_are_decode_errors(value):
    with pytest.raises(DecodeError):
        decode_rows(value)


def test_names_of_columns_that_are_no_text_are_a_decode_error():
    damaged = encode_rows(rows([[1.0, 2.0]])).replace(b"two\x00", b"t\xff\xff\x00")
    with pytest.raises(DecodeError, match="schema: expected names of columns in UTF-8"):
        decode_rows(damaged)


def test_the_row_id_names_all_that_decides_its_bytes():
    assert HEADER.row_id == "2@1700000000000000000/rules/set"


def test_quality_bits_have_names():
    assert quality_names(0b101) == ["warming", "book-gap"]


def test_messages_encoded_together_have_the_bytes_that_each_has_alone():
    draw = np.random.default_rng(5)
    messages = []
    for number, count in enumerate((3, 1, 8, 17, 64, 65, 0, 12)):
        values = draw.normal(size=(count, 5))
        values[draw.random(values.shape) < 0.3] = np.nan
        values[:, 1], values[:, 2] = np.nan, 1.5
        ages = np.where(draw.random((count, len(AGED))) < 0.5, np.nan, 2.0)
        header = RowHeader(10**18 + number if number % 3 else number, 1, "rules", "set")
        names = tuple(f"binance:C{place}-USDT" for place in range(count))
        bits = draw.integers(0, 8, count).astype(np.uint32)
        messages.append(Rows(header, names, tuple("abcde"), values, ages, bits))
    together = encode_row_messages(messages)
    assert together == [encode_rows(rows) for rows in messages]
    for rows, value in zip(messages, together, strict=True):
        read = decode_rows(value)
        assert (read.header, read.instruments, read.features) == (rows.header, rows.instruments, rows.features)
        for name in ("values", "ages", "quality"):
            np.testing.assert_array_equal(getattr(read, name), getattr(rows, name))


def test_a_column_of_another_type_is_refused_before_it_is_read():
    """A column of nulls may be of any length in no bytes."""
    names = [field.name for field in row_fields(("a",))]
    metadata = {"row_time_ns": "1", "partition": "0", "rules_id": "r", "feature_set_id": "f"}
    columns = [pa.nulls(1 << 30) for _ in names]
    schema = pa.schema([pa.field(name, pa.null()) for name in names], metadata=metadata)
    with pytest.raises(DecodeError, match=r"\$.instrument_id: expected string, got null"):
        decode_rows(ipc_bytes(pa.record_batch(columns, schema=schema)))
