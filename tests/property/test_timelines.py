"""The smallest timelines that broke other designs, from the raw log to what is accepted and to rows.

Their parts have tests of their own: the clock in `tests/unit/featurestore/test_clock.py`, ingest in
`tests/unit/streams/ingest/test_normaliser.py`, the engine in `tests/unit/featurestore/test_engine*.py`.

Times are in ms. Rules here: tiles and rows of 100, allowed lateness 50, idle timeout 150, greatest
venue lag 300. `R` is the greatest receive time, `W` the watermark.
"""

import math
from itertools import zip_longest

import pytest
from canonical import Canon, trade
from histories import CALM, STORM, Featurizer, ingest
from small_catalogue import small_catalogue
from world import MS, RULES, START_NS, Raw, decode

from featurestore.engine import PartitionEngine
from schemas import EVENTS
from schemas.batches import decode_batch
from schemas.rows import decode_rows
from schemas.topics import FEATURE_ROW

FIELDS = {
    "trade": {"price": 100.0, "size": 1.0, "side": 1},
    "liquidation": {"price": 100.0, "size": 1.0, "side": 1},
    "flow": {"kind": "mint", "token": "USDT", "amount": 1.0, "amount_usd": 1.0},
}


@pytest.fixture(autouse=True)
def test_format(monkeypatch):
    monkeypatch.setattr("streams.ingest.normaliser.formats", lambda: {"test": decode})


def event(at, name, venue="alpha", record="trade"):
    instrument = "BTC" if record == "flow" else f"{venue}:BTC-USD"
    time_ns = START_NS + at * MS
    return EVENTS[record](instrument_id=instrument, venue=venue, event_time_ns=time_ns, id=name, **FIELDS[record])


def raw(received, *events):
    return Raw(START_NS + received * MS, events)


def log_of(p=(), q=(), chain=(), last=2000):
    """Two partitions of raw.exchange, one of raw.onchain; heartbeats at the end of all."""
    end = [raw(last)]
    return {
        ("raw.exchange.v1", 0): [*p, *end],
        ("raw.exchange.v1", 1): [*q, *end],
        ("raw.onchain.v1", 0): [*chain, *end],
        ("raw.sentiment.v1", 0): end,
    }


def accepted(log, seed=0, chaos=CALM):
    """Return {id: tile time} of the accepted events."""
    found = {}
    for messages in ingest(log, RULES, seed, chaos).values():
        for _, value in messages:
            for row in decode_batch(value).to_arrow().to_pylist() if value else ():
                found[row["id"]] = (row["tile_time_ns"] - START_NS) / MS
    return found


def rows_of(canonical):
    return Featurizer(canonical, RULES, small_catalogue(), (), 0, CALM).run().distinct()


def counts(distinct):
    """Return {row time: trades in the 300 ms before it}."""
    rows = [decode_rows(value) for value in distinct.values()]
    return {(r.header.row_time_ns - START_NS) // MS: r.values[0, r.features.index("count_300ms")] for r in rows}


@pytest.mark.parametrize("seed", range(8))
def test_lateness_does_not_depend_on_how_partitions_interleave(seed):
    # p    A@200   B@160        W 150: B is not below it
    # q    C@0                  read before or after p's, in one log C would be late, or B as well
    log = log_of(p=[raw(200, event(200, "A")), raw(210, event(160, "B"))], q=[raw(205, event(0, "C", "beta"))])
    assert accepted(log, seed) == {"A": 200, "B": 160, "C": 0}


@pytest.mark.parametrize("seed", range(8))
def test_what_waited_while_ingest_was_down_is_not_late(seed):
    # R    0   100 ............ 5900   6100 heartbeat   6000 a zombie's heartbeat
    #          |-- ingest is down --|  its first heartbeat is a record behind what waited
    waiting = [raw(100 * n, event(100 * n, f"{n}")) for n in range(60)]
    log = log_of(p=[*waiting, raw(6100), raw(6000), raw(6110, event(6090, "x"))], last=9000)
    assert accepted(log, seed, STORM) == {**{f"{n}": 100.0 * n for n in range(60)}, "x": 6090.0}


def test_a_venue_ahead_makes_nobody_late():
    # beta's clock runs 300 ahead; alpha comes 40 behind
    records = [raw(20 * n, event(20 * n + 300, f"b{n}", "beta"), event(20 * n - 40, f"a{n}")) for n in range(50)]
    assert len(accepted(log_of(p=records))) == 100


def test_blocks_that_are_old_on_arrival_are_never_late():
    # a block every 1200, 300 old: it counts from when it could be known
    blocks = [raw(1200 * n, event(1200 * n - 300, f"{n}", "ethereum", "flow")) for n in range(10)]
    beats = [raw(100 * n) for n in range(120)]
    chain = sorted([*blocks, *beats], key=lambda record: record.receive_time_ns)
    assert accepted(log_of(chain=chain, last=13_000)) == {f"{n}": 1200.0 * n for n in range(10)}


def test_one_rare_record_does_not_stall_its_partition():
    # beta   L@0
    # alpha  every 50 up to 1000: W goes on to 950, past the border at 900, as if beta had never been
    trades = [raw(50 * n, event(50 * n, f"{n}")) for n in range(21)]
    with_it = [raw(0, event(0, "L", "beta", "liquidation")), *trades]
    canonical = ingest(log_of(p=with_it, q=[raw(10 * n) for n in range(101)], last=1000), RULES, 0, CALM)
    progress = [
        int(headers["progress"].split(b":")[2])
        for headers, _ in canonical["exchange.event.v1", 0]
        if headers.get("progress", b"").startswith(b"0:")
    ]
    assert (max(progress) - START_NS) // MS == 900


def test_an_event_at_the_watermark_is_accepted_and_one_on_a_border_is_in_the_later_tile():
    # R    100       250 (W 200)
    #      A@100     n@250   B@200 exactly W   C@199 late
    #      0         100        200       300
    #      [---------)[A--------)[B-----n-)
    old = raw(-300, event(-300, "old"))
    p = [old, raw(100, event(100, "A")), raw(250, event(250, "n")), raw(251, event(200, "B"), event(199, "C"))]
    log = {key: [raw(-300), *records] for key, records in log_of(p=p).items()}
    assert accepted(log) == {"old": -300, "A": 100, "n": 250, "B": 200}
    found = counts(rows_of(ingest(log, RULES, 0, CALM)))
    assert math.isnan(found[100])  # no trade in [-200, 100)
    assert [found[at] for at in (200, 300)] == [1, 3]


@pytest.mark.parametrize("seed", range(4))
def test_a_zombie_and_its_successor_write_the_same_rows_as_one(seed):
    # zombie     m1 m2 m3 m4 ...     other batches of the same records, message by message between
    # successor    m1  m2   m3 ...
    records = [raw(10 * n, event(10 * n - n % 7, f"{n}")) for n in range(100)]
    log = log_of(p=records, q=[raw(10 * n) for n in range(100)])
    one, other = ingest(log, RULES, seed, CALM), ingest(log, RULES, 100 + seed, CALM)
    both = {
        key: [message for pair in zip_longest(one[key], other[key]) for message in pair if message is not None]
        for key in one
    }
    assert rows_of(both) == rows_of(one)


def test_a_checkpoint_older_than_the_newest_commit_is_valid():
    # checkpoint at 300; commits and rows up to 900; restart: read on from the checkpoint
    calm, canon = Canon(), Canon()
    for log in (calm, canon):
        log.progress(-50)
        for n in range(20):
            log.send(trade(50 * n + 10), at=900 + n)
            log.progress(50 * n)
            log.advance()
            if n == 6:
                checkpoint = log.engine.checkpoint()
                written = len(log.outputs)
    again = PartitionEngine.restore(checkpoint.blob, 0, RULES, canon.catalogue)
    for topic, messages in canon.log.items():
        for offset in range(checkpoint.resume.get(topic, 0), len(messages)):
            again.apply(topic, offset, *messages[offset])
    rows = [output.value for output in again.advance() if output.topic == FEATURE_ROW]
    assert rows == [output.value for output in calm.outputs[written:] if output.topic == FEATURE_ROW]
    assert len(rows) > 5
