"""Compressed streams are refused unread; our own are read at no cost that counts."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow_stream import require_plain
from schemas.batches import ipc_batch, ipc_bytes
from schemas.errors import DecodeError


def written(batch, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def zeros(count):
    return pa.record_batch([pa.array(np.zeros(count))], names=["x"])


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_what_would_unpack_to_much_is_refused_unread(codec):
    bomb = written(zeros(1_000_000), compression=codec)
    assert len(bomb) < 40_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DecodeError, match="expected an Arrow IPC stream that is not compressed"):
        ipc_batch(bomb)
    assert pa.total_allocated_bytes() == before


def test_compressed_dictionaries_are_refused_too():
    names = pa.array(["a" * 900] * 50 + ["b" * 900]).dictionary_encode()
    batch = pa.record_batch([names], names=["x"])
    require_plain(ipc_bytes(batch))
    with pytest.raises(DecodeError, match="not compressed"):
        require_plain(written(batch, compression="zstd"))


def test_streams_of_any_age_and_layout_are_read():
    for options in ({}, {"use_legacy_format": True}, {"metadata_version": pa.ipc.MetadataVersion.V4}):
        assert ipc_batch(written(zeros(3), **options)).num_rows == 3


def test_cut_and_changed_streams_are_decode_errors_or_read():
    value = ipc_bytes(zeros(5))
    for place in range(len(value)):
        for damaged in (value[:place], value[:place] + b"\xff" + value[place + 1 :]):
            try:
                ipc_batch(damaged)
            except DecodeError:
                continue
