"""What ingest makes of raw records: DESIGN 4.2 to 4.5 and 4.11, one rule a test."""

import msgspec
import pytest

from schemas import Bar, DecodeError, Derivative, Flow, LeftOut, Quote, Rules, Score, StateError, Trade, partition_of
from schemas.batches import Progress, decode_batch
from schemas.forecasts import LateEvent
from schemas.topics import DEAD_LETTER, EXCHANGE_EVENT, LATE_EVENT, RAW_EXCHANGE, RAW_ONCHAIN, RAW_SENTIMENT
from streams.formats import AGGREGATE
from streams.ingest.normaliser import Normaliser
from streams.ingest.state import NormaliserState
from streams.version import app_version
from tests.unit.streams.ingest.canonical import content

RULES = Rules()
SECOND = 1_000_000_000
BTC = partition_of("BTC", RULES.partitions)
ETH = partition_of("ETH", RULES.partitions)


def decode_test(value, source):
    """Read the format of these tests: a list of names of the events below."""
    if value == b"broken":
        raise DecodeError("expected a name, got broken", path="$[0]")
    if value == b"depth":
        return LeftOut("depthUpdate")
    return [EVENTS[name] for name in msgspec.json.decode(value)]


EVENTS = {}


@pytest.fixture(autouse=True)
def _fresh_events():
    EVENTS.clear()


def trade(name, seconds, instrument="BTC-USDT", venue="binance", **fields):
    EVENTS[name] = Trade(
        instrument_id=f"{venue}:{instrument}",
        venue=venue,
        event_time_ns=round(seconds * SECOND),
        price=fields.pop("price", 1.0),
        size=1.0,
        side=1,
        **fields,
    )
    return name


def quote(name, seconds, instrument="BTC-USDT", venue="binance"):
    EVENTS[name] = Quote(
        instrument_id=f"{venue}:{instrument}",
        venue=venue,
        event_time_ns=round(seconds * SECOND),
        bid_price=1.0,
        bid_size=1.0,
        ask_price=2.0,
        ask_size=1.0,
    )
    return name


class Partition:
    """A Normaliser, and the offset of its next record."""

    def __init__(self, topic=RAW_EXCHANGE, batch_events=500, rules=RULES):
        self.normaliser = Normaliser(topic, 0, rules, batch_events, {"test": decode_test})
        self.offset = 0

    def feed(self, seconds, *names, value=None, **headers):
        sent = {"source": b"binance", "format": b"test", "receive_time_ns": b"%d" % round(seconds * SECOND)}
        value = msgspec.json.encode(names) if value is None else value
        self.normaliser.feed(self.offset, b"connection", value, sent | headers)
        self.offset += 1

    def beat(self, seconds):
        self.feed(seconds, value=b"", format=b"heartbeat")

    def events(self):
        """Flush, and return the accepted events as {(partition, record): [row, ...]}."""
        found = {}
        for out in self.normaliser.flush():
            if out.topic not in {LATE_EVENT, DEAD_LETTER} and out.value:
                batch = decode_batch(out.value)
                found.setdefault((out.partition, batch.record), []).extend(batch.to_arrow().to_pylist())
        return found


@pytest.fixture
def partition():
    return Partition()


def progress_of(outputs):
    """Return (partition, offset, watermark in seconds) of each progress."""
    decoded = [(out.partition, Progress.decode(dict(out.headers)["progress"])) for out in outputs if has_progress(out)]
    return [(partition, progress.raw_offset, progress.watermark_ns / 1e9) for partition, progress in decoded]


def has_progress(out):
    return "progress" in dict(out.headers)


def test_events_go_to_the_partition_of_their_base_asset_with_stamps_and_times(partition):
    partition.feed(100, trade("a", 99.5), trade("b", 99.6, "ETH-USDT"))
    partition.feed(100.5, quote("c", 100.4))
    found = partition.events()
    assert found.keys() == {(BTC, "trade"), (ETH, "trade"), (BTC, "quote")}
    (row,) = found[ETH, "trade"]
    assert (row["raw_partition"], row["raw_offset"], row["raw_index"]) == (0, 0, 1)
    assert (row["receive_time_ns"], row["tile_time_ns"]) == (100 * SECOND, round(99.6 * SECOND))
    assert found[BTC, "quote"][0]["raw_offset"] == 1


def test_known_time_is_the_greatest_receive_time_so_far_and_never_late(partition):
    # R    100    99 (the recorder's clock stepped back): known at 100
    EVENTS["funding"] = Derivative(instrument_id="binance:BTC-USDT", venue="binance", event_time_ns=50 * SECOND)
    partition.feed(100, trade("a", 100))
    partition.feed(99, "funding")
    (row,) = partition.events()[BTC, "derivative"]
    assert (row["tile_time_ns"], row["receive_time_ns"]) == (100 * SECOND, 99 * SECOND)
    assert not partition.normaliser.tally.late


def test_a_record_without_event_time_has_known_time_and_is_not_heard(partition):
    # a venue whose quotes carry no event time: they must not keep its silent trades "alive", which
    # would hold the watermark 10 s back
    partition.feed(100, trade("a", 100))
    for second in range(101, 108):
        partition.feed(second, quote("q", 0))
    assert [row["tile_time_ns"] for row in partition.events()[BTC, "quote"]] == [s * SECOND for s in range(101, 108)]
    assert partition.normaliser.watermark_ns == round(104.5 * SECOND)


def test_a_late_event_goes_to_the_late_topic_with_all_that_it_says(partition):
    # W 97.5 after the first record; x at 97.4 is late, y at 97.5 is not
    partition.feed(100, trade("a", 100))
    partition.feed(100, trade("x", 97.4, id="9", price=7.5), trade("y", 97.5))
    outputs = partition.normaliser.flush()
    (sent,) = [out for out in outputs if out.topic == LATE_EVENT]
    late = msgspec.json.decode(sent.value, type=LateEvent)
    assert (late.reason, late.venue, late.by_ns, late.raw_offset, late.raw_index) == (
        "late",
        "binance",
        SECOND / 10,
        1,
        0,
    )
    assert (late.event["price"], late.event["id"]) == (7.5, "9")
    assert sent.key == b"binance:BTC-USDT"
    assert partition.normaliser.tally.late == {("binance", "late"): 1}
    (log,) = [log for log in content_of(outputs).values() if "trade" in log]
    assert [row["tile_time_ns"] / SECOND for row in log["trade"]] == [100, 97.5]


def test_a_future_event_is_refused_whether_its_time_is_known_or_event_time(partition):
    EVENTS["funding"] = Derivative(instrument_id="binance:BTC-USDT", venue="binance", event_time_ns=161 * SECOND)
    partition.feed(100, trade("a", 160.1), "funding")
    partition.feed(101, trade("b", 101))
    assert partition.normaliser.tally.late == {("binance", "future"): 2}
    assert list(partition.events()) == [(BTC, "trade")]


def test_an_event_of_all_assets_goes_to_every_partition():
    partition = Partition(RAW_ONCHAIN)
    EVENTS["mint"] = Flow(instrument_id="*", venue="ethereum", event_time_ns=1, kind="mint", token="USDT", amount=1.0)
    EVENTS["wrapped"] = Flow(
        instrument_id="ETH", venue="ethereum", event_time_ns=1, kind="transfer", token="WETH", amount=1.0
    )
    partition.feed(100, "mint", "wrapped")
    found = partition.events()
    assert {p: len(rows) for (p, _), rows in found.items()} == {p: 1 + (p == ETH) for p in range(RULES.partitions)}
    assert {(row["raw_offset"], row["raw_index"]) for rows in found.values() for row in rows} == {(0, 0), (0, 1)}


def test_progress_comes_at_the_first_record_in_every_partition(partition):
    partition.beat(100)
    outputs = partition.normaliser.ready()
    assert progress_of(outputs) == [(p, 0, 97.5) for p in range(RULES.partitions)]
    assert all(out.value == b"" and dict(out.headers)["record"] == b"progress" for out in outputs)


def test_the_first_progress_comes_even_where_the_watermark_crossed_no_border(partition):
    partition.beat(2)
    assert progress_of(partition.normaliser.ready()) == [(p, 0, 0.0) for p in range(RULES.partitions)]


def test_progress_comes_again_only_when_the_watermark_crosses_a_row_border(partition):
    # R    100   100.4   100.5   100.6   103.5
    # W    97.5  97.9    98.0    98.1    101.0   borders: 98 (reached exactly), 101 (99 and 100 with it)
    for now in (100, 100.4, 100.5, 100.6, 103.5):
        partition.beat(now)
    progress = progress_of(partition.normaliser.ready())
    assert [(offset, w) for p, offset, w in progress if p == 0] == [(0, 97.5), (2, 98.0), (4, 101.0)]


def test_progress_never_overtakes_events_and_rides_on_the_last_message(partition):
    partition.beat(100)
    partition.normaliser.ready()
    partition.feed(100.2, trade("a", 100.1), quote("q", 100.1))
    partition.feed(100.4, trade("b", 100.3))
    assert partition.normaliser.ready() == []
    partition.feed(106, trade("c", 105.9))
    mine = [out for out in partition.normaliser.ready() if out.partition == BTC]
    assert [has_progress(out) for out in mine] == [False, True]
    assert sum(len(decode_batch(out.value)) for out in mine) == 4
    assert progress_of(mine) == [(BTC, 3, 103.4)]


def test_progress_of_a_record_is_behind_all_of_its_events():
    # batches of one event: the record's own events are out before its progress
    partition = Partition(batch_events=1)
    partition.feed(100, trade("a", 100), trade("b", 100), trade("c", 100))
    mine = [out for out in partition.normaliser.ready() if out.partition == BTC]
    assert [has_progress(out) for out in mine] == [False, False, False, True]


def test_a_full_batch_is_ready_without_a_flush():
    partition = Partition(batch_events=3)
    partition.beat(100)
    partition.normaliser.ready()
    for _ in range(7):
        partition.feed(100.1, trade("a", 100))
    assert [len(decode_batch(out.value)) for out in partition.normaliser.ready()] == [3, 3]
    assert partition.normaliser.buffered == 1
    assert [len(decode_batch(out.value)) for out in partition.normaliser.flush()] == [1]


def test_an_undecodable_record_goes_whole_to_the_dead_letters(partition):
    headers = [
        ("source", b"binance"),
        ("format", b"test"),
        ("receive_time_ns", b"%d" % (100 * SECOND)),
        ("own", b"\xff"),
    ]
    partition.normaliser.feed(0, b"key", b"broken", headers)
    (letter,) = [out for out in partition.normaliser.flush() if out.topic == DEAD_LETTER]
    assert (letter.key, letter.value, list(letter.headers)[:4]) == (b"key", b"broken", headers)
    added = dict(list(letter.headers)[4:])
    assert added == {
        "__streams.errors.exception": b"DecodeError",
        "__streams.errors.message": b"raw.exchange.v1[0]@0 $[0]: expected a name, got broken",
        "__streams.errors.topic": b"raw.exchange.v1",
        "__streams.errors.partition": b"0",
        "__streams.errors.offset": b"0",
        "x-dlq-reason": b"decode",
        "x-dlq-stage": b"ingest",
        "x-dlq-app-version": app_version().encode(),
        "x-dlq-attempts": b"1",
    }


@pytest.mark.parametrize(
    ("value", "headers", "reason", "path"),
    [
        (None, {}, "empty", "value"),
        (b"[]", {"format": b"no-such"}, "format", "headers.format"),
        (b"[]", {"format": b"\xff"}, "format", "headers.format"),
        (b"[]", {"receive_time_ns": b"soon"}, "header", "headers.receive_time_ns"),
        (b"[]", {"receive_time_ns": b"1_000"}, "header", "headers.receive_time_ns"),
        (b"[]", {"receive_time_ns": b"-5"}, "header", "headers.receive_time_ns"),
        (b"[]", {"receive_time_ns": b"9" * 19}, "header", "headers.receive_time_ns"),
        (b"[]", {"receive_time_ns": b"9" * 5000}, "header", "headers.receive_time_ns"),
        (b"[]", {"source": b""}, "header", "headers.source"),
        (b"[]", {"source": b"\xff"}, "header", "headers.source"),
        (b"[]", {"source": b"a" * 65}, "header", "headers.source"),
        (b"[]", {"source": b"a:b"}, "header", "headers.source"),
    ],
)
def test_hostile_headers_and_values_are_dead_letters_and_nothing_else_happens(partition, value, headers, reason, path):
    sent = {"source": b"binance", "format": b"test", "receive_time_ns": b"%d" % (100 * SECOND)} | headers
    partition.normaliser.feed(0, None, value, sent)
    (letter,) = [out for out in partition.normaliser.flush() if out.topic == DEAD_LETTER]
    assert dict(letter.headers)["x-dlq-reason"] == reason.encode()
    assert path.encode() in dict(letter.headers)["__streams.errors.message"]
    assert partition.normaliser.tally.dead_letters == {reason: 1}


def test_missing_headers_are_a_dead_letter(partition):
    partition.normaliser.feed(0, None, b"[]", [])
    assert partition.normaliser.tally.dead_letters == {"header": 1}


def test_a_record_of_another_topic_is_a_dead_letter_as_a_whole(partition):
    EVENTS["post"] = Score(instrument_id="BTC", venue="x", event_time_ns=0, score=0.5)
    partition.feed(100, trade("a", 100), "post")
    assert partition.normaliser.tally.dead_letters == {"topic": 1}
    assert partition.events() == {}


def test_a_dead_letter_still_moves_the_receive_time(partition):
    partition.feed(100, value=b"broken")
    assert partition.normaliser.watermark_ns == round(97.5 * SECOND)


def test_every_frame_is_accounted_for(partition):
    partition.beat(100)
    partition.feed(100, trade("a", 100), trade("b", 100))
    partition.feed(100, value=b"depth")
    partition.feed(100, value=b"broken")
    partition.feed(100)  # a frame of no events
    tally = partition.normaliser.tally
    assert (tally.frames, tally.decoded, tally.heartbeats) == (5, 1, 1)
    assert tally.left_out == {"depthUpdate": 1, "nothing-in-it": 1}
    assert tally.dead_letters == {"decode": 1}
    assert tally.events == {"trade": 2}


def test_single_and_aggregated_trades_of_one_instrument_are_not_both_counted(partition):
    # the first kind counts; the other venue and the other instrument have a memory of their own
    partition.feed(100, trade("single", 100))
    partition.feed(100, trade("sum", 100, id=AGGREGATE))
    partition.feed(100, trade("other", 100, "ETH-USDT", id=AGGREGATE))
    partition.feed(100, trade("there", 100, venue="binance-usdm", id=AGGREGATE))
    partition.feed(100, "single")
    tally = partition.normaliser.tally
    assert tally.left_out == {"trade-of-another-kind": 1}
    assert tally.decoded == 4


def test_the_other_kind_of_trade_counts_once_the_first_has_gone_silent(partition):
    # 15 min (the time that a row lists an instrument) after the last single trade
    partition.feed(100, trade("single", 100))
    partition.feed(999.9, trade("sum", 999.9, id=AGGREGATE))
    assert partition.normaliser.tally.decoded == 1
    partition.feed(1000, trade("sum", 1000, id=AGGREGATE))
    assert partition.normaliser.tally.decoded == 2


def test_a_restored_normaliser_goes_on_as_the_one_that_was_killed():
    def feed_rest(one):
        one.offset = 3
        one.feed(108, trade("sum", 107.9, id=AGGREGATE))  # of another kind, by the memory from before
        one.feed(108.2, trade("c", 104))  # late by the watermark from before the restart
        one.beat(111)
        return [(out.topic, out.partition, dict(out.headers), out.value) for out in one.normaliser.flush()]

    killed = Partition()
    killed.feed(100, trade("a", 100))
    killed.feed(107, trade("b", 107))
    killed.beat(107.1)
    killed.normaliser.flush()
    encoded = killed.normaliser.state().encode()
    successor = Partition()
    successor.normaliser.restore(NormaliserState.decode(encoded))
    wanted, found = feed_rest(killed), feed_rest(successor)
    assert found == wanted
    assert any(topic == LATE_EVENT for topic, *_ in found)
    assert successor.normaliser.tally.left_out == {"trade-of-another-kind": 1}
    assert successor.normaliser.state() == killed.normaliser.state()


def test_a_state_is_refused_while_events_are_buffered(partition):
    partition.feed(100, trade("a", 100))
    partition.normaliser.ready()
    partition.feed(100, "a")
    with pytest.raises(StateError, match="after a flush"):
        partition.normaliser.state()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"rules_id": "other"},
            r"raw.exchange.v1\[0\]: the checkpoint has the rules other, this process \w+; run with",
        ),
        ({"raw_partition": 1}, r"raw.exchange.v1\[0\]: the checkpoint is of raw.exchange.v1\[1\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(partition, state, message):
    fitting = {"rules_id": RULES.rules_id, "raw_topic": RAW_EXCHANGE, "raw_partition": 0}
    with pytest.raises(StateError, match=message):
        partition.normaliser.restore(NormaliserState(**fitting | state))


def test_a_checkpoint_that_is_no_checkpoint_is_refused():
    with pytest.raises(StateError, match="cannot be read"):
        NormaliserState.decode(b'{"rules_id": 1}')


def test_offsets_only_rise(partition):
    partition.beat(100)
    partition.offset = 0
    with pytest.raises(StateError, match="expected offset 1, got 0"):
        partition.beat(100)


def test_an_unknown_raw_topic_is_refused():
    with pytest.raises(StateError, match="no-topic: not a raw topic"):
        Normaliser("no-topic", 0, RULES)


def test_a_post_of_two_assets_is_stamped_in_order():
    partition = Partition(RAW_SENTIMENT)
    for asset in ("BTC", "ETH"):
        EVENTS[asset] = Score(instrument_id=asset, venue="x", event_time_ns=1, id="1", score=0.5)
    partition.feed(100, "BTC", "ETH")
    stamps = {p: [(row["raw_offset"], row["raw_index"]) for row in rows] for (p, _), rows in partition.events().items()}
    assert stamps == {BTC: [(0, 0)], ETH: [(0, 1)]}


def test_a_bar_has_the_time_of_its_last_nanosecond(partition):
    EVENTS["bar"] = Bar(
        instrument_id="binance:BTC-USDT",
        venue="binance",
        event_time_ns=300 * SECOND - 1,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=1.0,
        interval_ns=300 * SECOND,
    )
    partition.feed(300.05, "bar")
    (row,) = partition.events()[BTC, "bar"]
    assert row["tile_time_ns"] == 300 * SECOND - 1


def content_of(outputs):
    return content((out.topic, out.partition, dict(out.headers), out.value) for out in outputs)


def test_the_canonical_topic_is_the_one_that_the_raw_topic_feeds(partition):
    partition.feed(100, trade("a", 100))
    assert {out.topic for out in partition.normaliser.flush()} == {EXCHANGE_EVENT}


REPLAY = {"x-replayed-from": b"dead-letter.v1[0]@0 raw.exchange.v1[0]@1"}


def test_a_replayed_record_is_late_where_its_tile_is_closed_and_has_a_new_stamp(partition):
    partition.feed(100, trade("a", 100))
    partition.feed(200, trade("b", 200))
    partition.feed(100.5, trade("again", 100.5), **REPLAY)
    outputs = partition.normaliser.flush()
    (late,) = [msgspec.json.decode(out.value, type=LateEvent) for out in outputs if out.topic == LATE_EVENT]
    assert (late.event_time_ns, late.raw_offset, late.reason) == (round(100.5 * SECOND), 2, "late")


def test_a_replayed_record_of_a_silent_venue_does_not_wake_it(partition):
    # okx was last heard at 100 s; awake, it would hold the watermark at 200 s - 10 s - 2.5 s
    partition.feed(100, trade("a", 100, venue="okx"))
    partition.feed(190, trade("b", 190))
    partition.feed(100.5, trade("again", 100.5, venue="okx"), source=b"okx", **REPLAY)
    assert "okx" not in partition.normaliser.venue_times()
    partition.feed(200, trade("c", 200))
    assert partition.normaliser.watermark_ns == round(197.5 * SECOND)


def test_a_replayed_record_of_an_open_tile_counts(partition):
    partition.feed(100, trade("a", 100))
    partition.feed(99.8, trade("again", 99.8), **REPLAY)
    assert [row["event_time_ns"] for row in partition.events()[BTC, "trade"]] == [100 * SECOND, round(99.8 * SECOND)]


def test_what_is_known_with_its_record_is_known_with_the_replay(partition):
    # funding, say, of an hour ago: a row between must not have known it
    EVENTS["funding"] = Derivative(
        instrument_id="binance:BTC-USDT", venue="binance", event_time_ns=100 * SECOND, funding_rate=1e-4
    )
    partition.feed(100, trade("a", 100))
    partition.feed(3700, trade("b", 3700))
    partition.feed(100, "funding", **REPLAY)
    (row,) = partition.events()[BTC, "derivative"]
    assert row["tile_time_ns"] == 3700 * SECOND


def test_a_replayed_trade_does_not_decide_which_kind_of_trades_counts(partition):
    partition.feed(100, trade("single", 100), **REPLAY)
    partition.feed(100.1, trade("aggregate", 100.1, id=AGGREGATE))
    partition.feed(100.2, trade("other", 100.2), **REPLAY)
    assert partition.normaliser.tally.left_out == {"trade-of-another-kind": 1}
    assert len(partition.events()[BTC, "trade"]) == 2


def test_a_replay_that_fails_again_is_a_dead_letter_of_its_second_attempt(partition):
    partition.feed(100, value=b"broken", **REPLAY)
    (letter,) = [out for out in partition.normaliser.flush() if out.topic == DEAD_LETTER]
    assert dict(letter.headers)["x-dlq-attempts"] == b"2"
