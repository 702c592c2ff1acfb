import msgspec
import numpy as np
import pytest
import zstandard
from canonical import BTC, Canon, by_time, event, none_of, trade
from world import MS, RULES

from featurestore.checkpoint import EngineState, decode_state, encode_state
from featurestore.engine import PartitionEngine
from featurestore.tiles import SPAN_TILES
from schemas import StateError
from schemas.topics import EXCHANGE_EVENT, FEATURE_ROW, MARKET_STATE, SENTIMENT_EVENT


def started():
    canon = Canon()
    canon.progress(-50)
    return canon


def row_values(canon):
    return [output.value for output in canon.outputs if output.topic == FEATURE_ROW]


def busy(canon, first, count):
    for n in range(first, first + count):
        draw = np.random.default_rng(n)
        at = 25 * n
        canon.send(trade(at + draw.integers(120), 100 + draw.normal(), sequence=n), at=3 * n)
        canon.send(event("quote", at, bid_price=99 + draw.random()), raw=1, at=3 * n + 1)
        canon.send(event("score", at, instrument="BTC", venue="news", score=draw.normal()), at=3 * n + 2)
        if n % 2:
            canon.progress(at - 30)
        canon.advance()


def test_a_restart_anywhere_writes_the_same_rows():
    calm = started()
    busy(calm, 0, 60)
    for stop in range(1, 60, 7):
        canon = started()
        busy(canon, 0, stop)
        canon.restarted()
        canon.advance()
        busy(canon, stop, 60 - stop)
        assert row_values(canon) == row_values(calm)


def test_reading_goes_on_from_the_earliest_message_with_an_event_in_an_open_tile():
    #   0        100       200        watermark at 100
    #   [---------)[--------)
    #    A:10      B:150
    #                        C:20,130  D:progress
    canon = started()
    canon.send(trade(10))
    canon.send(trade(150), at=901)
    open_since = len(canon.log[EXCHANGE_EVENT]) - 1
    canon.send(trade(20), trade(130), at=902)
    canon.progress(100)
    canon.advance()
    assert canon.engine.checkpoint().resume[EXCHANGE_EVENT] == open_since
    assert canon.engine.checkpoint().resume[SENTIMENT_EVENT] == len(canon.log[SENTIMENT_EVENT])
    canon.progress(200)
    canon.advance()
    assert canon.engine.checkpoint().resume[EXCHANGE_EVENT] == len(canon.log[EXCHANGE_EVENT])


def test_stamps_and_progress_are_those_of_the_resume_offset():
    # Stamps of now would take the re-read trades for repeats; progress of now would close [100, 200)
    # before they are read again.
    canon, calm = started(), started()
    for log in (canon, calm):
        log.send(trade(110, 1.0))
        log.send(trade(120, 2.0), at=901)
        log.progress(100)
        log.advance()
        log.progress(190)
        log.advance()
        if log is canon:
            log.restarted()
        log.progress(250)
        log.advance()
    assert row_values(canon) == row_values(calm)


def test_a_closed_tile_takes_no_event_that_is_read_again():
    #   0        100       200
    #    t@50      t@110    one message holds both; [0, 100) is closed, [100, 200) is not
    canon = started()
    canon.send(trade(50), trade(110))
    canon.progress(100)
    canon.advance()
    canon.restarted()
    assert canon.engine.pending_events == 1
    canon.progress(300)
    assert by_time(canon.advance())[300][BTC]["count_300ms"] == 2


def test_rows_that_wait_for_the_market_are_written_after_a_restart():
    # Two borders are kept: tiles are closed up to 1000, the last row is that of 0.
    canon, calm = started(), started()
    for log in (canon, calm):
        for n in range(10):
            log.send(trade(100 * n + 10, 100.0 + n), at=900 + n)
        log.progress(1000)
    calm.advance()
    held = canon.engine.advance()
    assert canon.engine.backlog == 10
    canon.restarted()
    parts = {output.value: output for output in held if output.topic == MARKET_STATE}
    for value, output in parts.items():
        canon.put(MARKET_STATE, output.headers, value)
        canon.put(MARKET_STATE, output.headers, none_of(value, 1))
    canon.advance()
    first = [output.value for output in held if output.topic == FEATURE_ROW]
    assert first + row_values(canon) == row_values(calm)


def test_a_market_that_is_far_ahead_waits_for_the_restarted_partition():
    # The parts of a former life are in the log up to 60 s; the checkpoint is from 10 s. What row 10.1 s
    # looks at must not leave the rings meanwhile.
    def play(canon, first, last):
        for n in range(first, last):
            canon.send(trade(50 * n, 100.0 + n % 7), at=9_000 + n)
            canon.progress(50 * n)
            canon.advance()

    calm = started()
    play(calm, 0, 1200)
    canon = started()
    play(canon, 0, 200)
    checkpoint = canon.engine.checkpoint()
    play(canon, 200, 1200)
    engine = PartitionEngine.restore(checkpoint.blob, 0, RULES, canon.catalogue)
    outputs = []
    for topic in (MARKET_STATE, *(topic for topic in canon.log if topic != MARKET_STATE)):
        for offset in range(checkpoint.resume[topic], len(canon.log[topic])):
            engine.apply(topic, offset, *canon.log[topic][offset])
            outputs += engine.advance()
    again = [output.value for output in outputs if output.topic == FEATURE_ROW]
    assert again == row_values(calm)[-len(again) :]
    assert len(again) > SPAN_TILES


def test_equal_states_are_equal_bytes():
    blobs = []
    for _ in range(2):
        canon = started()
        busy(canon, 0, 30)
        blobs.append(canon.engine.checkpoint().blob)
    assert blobs[0] == blobs[1]
    engine = PartitionEngine.restore(blobs[0], 0, RULES, canon.catalogue)
    assert decode_state(engine.checkpoint().blob, RULES.rules_id, 0) == decode_state(blobs[0], RULES.rules_id, 0)


def test_other_rules_are_refused_with_the_way_to_migrate():
    canon = started()
    blob = canon.engine.checkpoint().blob
    other = msgspec.structs.replace(RULES, allowed_lateness_ns=MS)
    with pytest.raises(StateError, match=r"made under rules .*drain the topics"):
        PartitionEngine.restore(blob, 0, other, canon.catalogue)
    with pytest.raises(StateError, match="partition 1, got one of 0"):
        PartitionEngine.restore(blob, 1, RULES, canon.catalogue)


def test_a_damaged_checkpoint_is_an_error_that_says_so():
    canon = started()
    busy(canon, 0, 8)
    blob = canon.engine.checkpoint().blob
    draw = np.random.default_rng(0)
    damaged = [blob[:cut] for cut in range(0, len(blob), max(1, len(blob) // 40))]
    for _ in range(60):
        flipped = bytearray(blob)
        flipped[draw.integers(5, len(blob))] ^= 1 << draw.integers(8)
        damaged.append(bytes(flipped))
    for bad in damaged:
        with pytest.raises(StateError, match="delete it"):
            PartitionEngine.restore(bad, 0, RULES, canon.catalogue)


def test_a_checkpoint_that_contradicts_itself_is_an_error():
    canon = started()
    busy(canon, 0, 20)
    state = decode_state(canon.engine.checkpoint().blob, RULES.rules_id, 0)
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    tiles = plain["tiles"]
    for path, value in (
        (("spaces", "instrument", "names"), ["a", "b", "c"]),
        (("spaces", "instrument", "first_tile", "values"), b""),
        (("spaces", "instrument", "series", "count"), []),
        (("spaces", "instrument", "series"), {}),
        (("spaces", "instrument", "carries"), {}),
        (("spaces",), {}),
        (("book", "known"), [1]),
        (("market",), {}),
    ):
        place = tiles
        for key in path[:-1]:
            place = place[key]
        before, place[path[-1]] = place[path[-1]], value
        blob = encode_state(msgspec.convert(plain, EngineState))
        with pytest.raises(StateError, match="checkpoint"):
            PartitionEngine.restore(blob, 0, RULES, canon.catalogue)
        place[path[-1]] = before


def test_a_bomb_is_not_unpacked():
    bomb = b"FSCP1" + zstandard.ZstdCompressor().compress(bytes(3 << 29))
    with pytest.raises(StateError, match="at most"):
        PartitionEngine.restore(bomb, 0, RULES, Canon().catalogue)
