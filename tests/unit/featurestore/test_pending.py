from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from featurestore.pending import Events, Pending
from schemas.batches import decode_batch, encode_batch


def batch(rows):
    """Return trades as (instrument, tile time, sequence, venue, id, raw partition, raw offset, price)."""
    instruments, times, sequences, venues, ids, partitions, offsets, prices = zip(*rows, strict=True)
    columns = {
        "instrument_id": instruments,
        "venue": venues,
        "event_time_ns": times,
        "sequence": sequences,
        "id": ids,
        "price": prices,
        "size": [1.0] * len(rows),
        "side": [1] * len(rows),
        "receive_time_ns": times,
        "tile_time_ns": times,
        "raw_partition": partitions,
        "raw_offset": offsets,
        "raw_index": [0] * len(rows),
    }
    return decode_batch(encode_batch("trade", columns)).to_arrow()


def some_rows(draw, count, *, spread, ids):
    """Return rows in the order of their stamps, some raw partitions after others."""
    rows = []
    for n in range(count):
        row = (
            f"v:{'ABC'[draw.integers(3)]}-USD",
            int(draw.integers(spread)),
            int(draw.choice([-1, draw.integers(5), n])),
            ["x", "y"][draw.integers(2)],
            str(draw.choice(ids)),
            int(draw.integers(2)),
            n,
            float(n),
        )
        rows.append(row)
    return rows


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("ids", [[""], ["", "a", "b"]])
@pytest.mark.parametrize("spread", [3, 60, 10**15])
def test_order_and_repeats_are_those_of_plain_sorting(seed, ids, spread):
    draw = np.random.default_rng(seed)
    rows = some_rows(draw, 80, spread=spread, ids=ids)
    cuts = [0, *sorted(draw.integers(0, 81, 3)), 80]
    events = Events([batch(rows[a:b]) for a, b in pairwise(cuts) if b > a])
    names = sorted(set(events.names))
    entities = np.array([names.index(name) for name in events.names])[events.codes]
    order = events.order(entities, 0)
    assert [rows[i] for i in order] == sorted(rows)
    tiles = events.tile_times[order] // 20
    cells = entities[order] * (spread + 1) + tiles
    kept = events.first_of_repeats(order, cells)
    seen, expected = set(), []
    for i, cell in zip(order, cells, strict=True):
        _, _, sequence, venue, name, *_ = rows[i]
        identity = (cell, venue, sequence, name)
        expected.append(identity not in seen or (sequence < 0 and name == ""))
        seen.add(identity)
    assert kept.tolist() == expected


def test_events_of_open_tiles_stay():
    pending = Pending()
    rows = [("v:A-USD", at, -1, "v", "", 0, n, float(n)) for n, at in enumerate((5, 25, 15, 35))]
    pending.add("trade", batch(rows[:2]))
    pending.add("trade", batch(rows[2:]), (15, 35))
    assert (pending.events, pending.first_ns()) == (4, 5)
    assert sorted(pending.take(20)["trade"].tile_times) == [5, 15]
    assert (pending.events, pending.first_ns()) == (2, 25)
    assert pending.take(25) == {}
    assert sorted(pending.take(100)["trade"].tile_times) == [25, 35]
    assert (pending.events, pending.first_ns()) == (0, None)


def test_tile_inputs_are_numbers_or_texts():
    rows = [("v:A-USD", 1, 7, "v", "b", 0, 0, 2.5), ("v:A-USD", 1, 8, "w", "a", 0, 1, 3.5)]
    events = Events([batch(rows)])
    backwards = np.array([1, 0])
    assert events.tile_input("price", backwards).tolist() == [3.5, 2.5]
    assert events.tile_input("sequence", backwards).dtype == np.float64
    assert events.tile_input("venue", backwards).tolist() == ["w", "v"]
    assert events.tile_input("id", backwards).tolist() == ["a", "b"]
    assert len(events.of(np.array([1]))) == 1
    assert isinstance(batch(rows), pa.RecordBatch)
