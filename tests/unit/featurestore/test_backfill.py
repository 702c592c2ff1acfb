import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from small_catalogue import small_catalogue
from world import RULES, decode, random_log

from featurestore.backfill import CanonicalMessage, backfill, rows_hash, rows_table
from schemas import base_asset, partition_of
from schemas.rows import decode_rows
from schemas.topics import EVENT_TOPICS
from streams.ingest.normaliser import Normaliser


def canonical(seed, batch_events=500):
    """Return the canonical logs of a random raw log, by topic and partition."""
    logs = {}
    for (topic, partition), records in random_log(seed).items():
        normaliser = Normaliser(topic, partition, RULES, batch_events, {"test": decode})
        for offset, record in enumerate(records):
            normaliser.feed(offset, b"key", record.value, record.headers)
        for out in normaliser.flush():
            if out.topic in EVENT_TOPICS:
                logs.setdefault((out.topic, out.partition), []).append((dict(out.headers), out.value))
    return logs


def messages(logs, seed):
    """Return all messages, interleaved at random."""
    draw = random.Random(seed)
    left = dict.fromkeys(sorted(logs), 0)
    while left:
        key = draw.choice(list(left))
        yield CanonicalMessage(*key, left[key], *logs[key][left[key]])
        left[key] += 1
        if left[key] == len(logs[key]):
            del left[key]


@pytest.mark.parametrize("seed", range(5))
def test_rows_do_not_depend_on_interleaving_or_batches(seed):
    hashes = {
        rows_hash(output.value for output in backfill(messages(canonical(seed, batch), draw), RULES, small_catalogue()))
        for batch, draw in ((500, 1), (500, 2), (1, 3), (3, 4))
    }
    assert len(hashes) == 1


def test_a_hash_is_of_the_set_of_rows():
    values = [o.value for o in backfill(messages(canonical(1), 1), RULES, small_catalogue())]
    assert rows_hash(values) == rows_hash([*reversed(values), *values])
    assert rows_hash(values) != rows_hash(values[1:])


def test_tiles_are_what_a_plain_recomputation_gives():
    logs, blocks = canonical(3), []
    rows = list(backfill(messages(logs, 1), RULES, small_catalogue(), on_tiles=blocks.append))
    tiles = pa.concat_tables(blocks).to_pandas()
    trades = []
    for (topic, partition), log in logs.items():
        for headers, value in log:
            if headers["record"] == b"trade":
                frame = pa.ipc.open_stream(value).read_all().to_pandas()
                frame["partition"] = partition
                trades.append(frame)
                assert topic == "exchange.event.v1"
    trades = pd.concat(trades)
    assert all(partition_of(base_asset(i), 2) == p for i, p in zip(trades.instrument_id, trades.partition, strict=True))
    trades["tile_start_ns"] = trades.tile_time_ns // RULES.tile_interval_ns * RULES.tile_interval_ns
    trades = trades[trades.tile_start_ns <= tiles.tile_start_ns.max()]
    trades = trades.sort_values(["tile_time_ns", "sequence", "venue", "id", "raw_partition", "raw_offset", "raw_index"])
    named = (trades.sequence >= 0) | (trades.id != "")
    identity = ["instrument_id", "tile_start_ns", "venue", "sequence", "id"]
    trades = trades[~(trades.duplicated(identity) & named)]
    expected = trades.groupby(["instrument_id", "tile_start_ns"]).price.agg(["count", "first", "last", "max"])
    found = tiles[tiles["count"] > 0].set_index(["instrument_id", "tile_start_ns"])
    assert len(found) == len(expected) > 20
    for mine, theirs in (("count", "count"), ("opening", "first"), ("last_price", "last"), ("high", "max")):
        np.testing.assert_array_equal(found[mine].sort_index(), expected[theirs].sort_index())
    assert rows
    assert not tiles.duplicated(["instrument_id", "tile_start_ns"]).any()


def test_a_rows_table_has_one_schema_and_all_columns():
    outputs = list(backfill(messages(canonical(2), 1), RULES, small_catalogue()))
    table = rows_table([decode_rows(output.value) for output in outputs])
    assert table.column_names[:3] == ["instrument_id", "row_time_ns", "quality"]
    assert {"age_trade", "age_score", "count_300ms", "level_100ms"} < set(table.column_names)
    assert table.column("row_time_ns").null_count == 0
