import pyarrow as pa
import pytest
from small_catalogue import small_catalogue
from world import RULES

from featurestore.backfill import CanonicalMessage, backfill, rows_table
from featurestore.engine import PartitionEngine
from featurestore.store import Store, TableWriter
from featurestore.store.tables import ROWS
from featurestore.stored_tiles import closed_tiles, event_catalogue, event_rules
from schemas.rows import decode_rows
from schemas.topics import FEATURE_ROW
from streams.store import tiles as store_tiles_module
from streams.store.buffer import TopicBuffer
from streams.store.tiles import store_tiles
from tests.unit.featurestore.store.material import bits
from tests.unit.featurestore.test_backfill import canonical, messages


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def tiles_of(logs):
    """The tiles of canonical logs, each partition's engine for itself, without a store."""
    tables = []
    for partition in range(RULES.partitions):
        engine = PartitionEngine(partition, event_rules(RULES), event_catalogue(small_catalogue()))
        engine.watch_tiles(lambda tiler, start, stop: tables.append(closed_tiles(tiler, start, stop, RULES)))
        for message in messages(logs, 1):
            if message.partition == partition:
                engine.apply(message.topic, message.offset, message.headers, message.value)
        engine.advance()
    keys = [("instrument_id", "ascending"), ("tile_start_ns", "ascending")]
    whole = pa.concat_tables(tables).sort_by(keys)
    firsts = whole.group_by(["instrument_id", "tile_start_ns"], use_threads=False).aggregate([])
    return whole, len(firsts)


@pytest.mark.parametrize("seed", range(2))
def test_tiles_of_the_log_are_in_the_store_once_bit_for_bit(store, seed, monkeypatch):
    monkeypatch.setattr(store_tiles_module, "_TILES_AT_ONCE", 300)
    logs = canonical(seed)
    wanted, different = tiles_of(logs)
    done = store_tiles(messages(logs, seed), RULES, small_catalogue(), store)
    assert done.rows == different
    assert done.repeats == len(wanted) - different  # those of "*", which every partition has
    found = (
        store.open("tiles").to_pyarrow_table().sort_by([("instrument_id", "ascending"), ("tile_start_ns", "ascending")])
    )
    seen = {}
    for row in wanted.to_pylist():
        seen.setdefault((row["instrument_id"], row["tile_start_ns"]), row)
    assert bits(found.select(wanted.column_names)) == bits(
        pa.Table.from_pylist(list(seen.values()), schema=wanted.schema)
    )
    again = store_tiles(messages(logs, seed + 1), RULES, small_catalogue(), store)
    assert (again.rows, again.repeats) == (0, len(wanted))


@pytest.mark.parametrize("seed", range(2))
def test_rows_of_the_log_are_in_the_store_bit_for_bit(store, seed):
    outputs = list(backfill(messages(canonical(seed), 1), RULES, small_catalogue()))
    buffer, offsets = TopicBuffer(FEATURE_ROW, TableWriter(store, ROWS), RULES), {}
    for partition in range(RULES.partitions):
        buffer.assign(partition, buffer.resume(partition) or 0)
    for count, output in enumerate(outputs, start=1):
        offset = offsets[output.partition] = offsets.get(output.partition, -1) + 1
        buffer.put(CanonicalMessage(FEATURE_ROW, output.partition, offset, {}, output.value))
        if count % 37 == 0:
            buffer.commit()
    buffer.commit()
    order = [("row_time_ns", "ascending"), ("instrument_id", "ascending")]
    wanted = rows_table([decode_rows(output.value) for output in outputs]).sort_by(order)
    found = store.open("rows").to_pyarrow_table().sort_by(order)
    assert bits(found.select(wanted.column_names)) == bits(wanted)
