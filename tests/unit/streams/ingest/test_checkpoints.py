"""A checkpoint is whole or not at all, wherever its writer dies and whoever writes beside it."""

import pytest

from schemas import Rules, StateError
from streams.formats.book import BookChange
from streams.ingest import state as state_module
from streams.ingest.book import read_change
from streams.ingest.books import Books
from streams.ingest.checkpoints import CHUNK_BYTES, Owner, last_checkpoints
from streams.ingest.state import NormaliserState

PLACE = ("raw.exchange.v1", 3)
SMALL = b"small"
LARGE = b"".join(b"%08d" % number for number in range(CHUNK_BYTES // 2))


def records(generation):
    return [*generation.chunks, *generation.manifest, *generation.stale]


def blob(log):
    """What a reader of the log resumes from."""
    found = last_checkpoints(log)
    return found[PLACE].blob if PLACE in found else b""


def live(log):
    """The keys that compaction keeps."""
    values = dict(log)
    return {key for key, value in values.items() if value is not None}


def owner(log, name="one"):
    return Owner(PLACE, name, last_checkpoints(log).get(PLACE))


def test_a_small_state_is_one_record_and_a_large_one_is_cut_up():
    small, large = owner([]).generation(SMALL), owner([]).generation(LARGE)
    assert (len(small.chunks), len(small.manifest)) == (0, 1)
    assert (len(large.chunks), len(large.manifest)) == (4, 1)
    assert max(len(value) for _, value in large.chunks) <= CHUNK_BYTES
    assert blob(records(small)) == SMALL
    assert blob(records(large)) == LARGE


@pytest.mark.parametrize(("before", "after"), [(SMALL, LARGE), (LARGE, LARGE[::-1]), (LARGE, SMALL)])
def test_a_writer_that_dies_between_any_two_records_leaves_the_old_state_or_the_new(before, after):
    first = owner([])
    log = records(first.generation(before))
    generation = first.generation(after)
    needed = len(generation.chunks) + 1
    for count in range(len(records(generation)) + 1):
        cut = log + records(generation)[:count]
        assert blob(cut) == (after if count >= needed else before)
        # and so does whoever takes over from there, at any record of its own
        taken = records(owner(cut, "two").generation(b"next"))
        for more in range(1, len(taken) + 1):
            assert blob(cut + taken[:more]) == b"next"


def test_what_a_checkpoint_replaces_is_deleted():
    first = owner([])
    log = records(first.generation(LARGE)) + records(first.generation(LARGE[::-1]))
    assert len(live(log)) == 5
    log += records(owner(log, "two").generation(SMALL))
    assert len(live(log)) == 1


def test_one_that_was_fenced_and_still_writes_mixes_with_nobody():
    zombie = owner([])
    log = records(zombie.generation(LARGE))
    successor = owner(log, "two")
    log += records(successor.generation(b"newer" + LARGE))
    # The zombie ends a save that it had begun, deletes what it knows, and saves once more.
    for late in (b"zombie" + LARGE, SMALL):
        log += records(zombie.generation(late))
        assert blob(log) == b"newer" + LARGE
    log += records(successor.generation(b"newest"))
    assert blob(log) == b"newest"


def test_the_last_owner_may_be_the_one_before_last_again():
    first = owner([], "a")
    log = records(first.generation(LARGE))
    second = owner(log, "b")
    log += records(second.generation(SMALL))
    again = owner(log, "c")
    late = second.generation(b"late")
    log += records(again.generation(b"third" + LARGE)) + records(late)
    assert blob(log) == b"third" + LARGE


def test_a_damaged_chunk_makes_a_checkpoint_incomplete():
    first = owner([])
    log = records(first.generation(LARGE))
    key, _ = log[1]
    assert blob([*log, *records(owner(log, "two").generation(SMALL))[:1], (key, b"damaged")]) == SMALL
    with pytest.raises(StateError, match=r"raw.exchange.v1\[3\]: none of 1 is complete; delete ingest"):
        last_checkpoints([*log, (key, b"damaged")])


def test_a_state_from_before_there_were_chunks_is_read_and_replaced():
    log = [(b"raw.exchange.v1/3", b"old"), (b"strange key", b"x"), (None, b"y")]
    assert blob(log) == b"old"
    log += records(owner(log).generation(SMALL))
    assert blob(log) == SMALL
    assert b"raw.exchange.v1/3" not in live(log)


def test_a_manifest_that_is_none_is_refused():
    with pytest.raises(StateError, match="a manifest cannot be read"):
        last_checkpoints([(b"raw.exchange.v1/3/one", b"\xff")])


def state_of_a_book(levels):
    books = Books(Rules())
    sides = {"bids": [(float(price), 1.0) for price in range(1, levels + 1)], "asks": []}
    change = BookChange(instrument_id="okx:BTC-USDT", venue="okx", event_time_ns=0, snapshot=True, **sides)
    books.apply(read_change(change), 1, 0)
    states, tickers = books.state(1)
    return NormaliserState(rules_id="", raw_topic=PLACE[0], raw_partition=PLACE[1], books=states, tickers=tickers)


def test_a_state_too_large_to_be_read_again_is_not_written(monkeypatch):
    fits, too_large = state_of_a_book(1_000), state_of_a_book(1_001)
    size = int.from_bytes(fits.encode()[:8])
    monkeypatch.setattr(state_module, "_MAX_BYTES", size)
    assert NormaliserState.decode(fits.encode()) == fits
    wanted = (
        rf"^raw.exchange.v1\[3\]: a checkpoint of 1 books takes [0-9,]+ bytes, {size:,} can be read again: "
        r"record fewer instruments, or drain and go to new topics with more raw partitions \(FORESHOCK_RAW_EXCHANGE_"
    )
    with pytest.raises(StateError, match=wanted):
        too_large.encode()
