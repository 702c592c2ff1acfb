"""What holds of a chain whose feed repeats itself, and whose blocks are reorganised."""

import pyarrow as pa

from featurestore.store.chains import still_holds


def holding(*told):
    """The indices of what holds of transfers (id, block, block time)."""
    ids, blocks, times = zip(*told, strict=True)
    count = len(told)
    same = {"token": "USDT", "amount": 5.0, "from_address": "0xa", "to_address": "0xb", "venue": "ethereum"}
    columns = {name: [value] * count for name, value in same.items()} | {"raw_partition": [0] * count}
    table = pa.table(columns | {"id": ids, "block": blocks, "event_time_ns": times})
    return [at for at, holds in enumerate(still_holds(table).tolist()) if holds]


def test_a_feed_that_sends_its_last_blocks_again_changes_nothing():
    # 100(a b) 101(c) 102(d) | started again: 101(c) 102(d) 103(e)
    first = [("a", 100, 1), ("b", 100, 1), ("c", 101, 2), ("d", 102, 3)]
    assert holding(*first, ("c", 101, 2), ("d", 102, 3), ("e", 103, 4)) == [0, 1, 2, 3, 6]


def test_one_transfer_that_is_sent_again_takes_nothing_else_away():
    # a reader that took each telling for a reorganisation would lose b, and all of 101
    assert holding(("a", 100, 1), ("b", 100, 1), ("c", 101, 2), ("a", 100, 1)) == [0, 1, 2]


def test_a_block_of_the_same_number_with_another_time_is_another_block():
    # 100(a b) 101(c) | 100'(a) 101'(c)
    first = [("a", 100, 1), ("b", 100, 1), ("c", 101, 2)]
    assert holding(*first, ("a", 100, 9)) == [3]
    assert holding(*first, ("a", 100, 9), ("c", 101, 10)) == [3, 4]


def test_a_transfer_that_moved_to_a_later_block_is_counted_there_alone():
    # 100(a) 101(b) | 100' is without transfers, 101'(a)
    assert holding(("z", 99, 0), ("a", 100, 1), ("b", 101, 2), ("a", 101, 9)) == [0, 3]


def test_without_block_times_it_is_a_repeat_until_the_chain_shows_that_it_went_back():
    # 100(a b) 101(c) | 100'(a x): a says the same as before, x shows that 100 is another block
    first = [("a", 100, 0), ("b", 100, 0), ("c", 101, 0)]
    assert holding(*first, ("a", 100, 0)) == [0, 1, 2]
    assert holding(*first, ("a", 100, 0), ("x", 100, 0)) == [3, 4]


def test_what_was_sent_again_before_the_chain_went_on_does_not_come_back():
    # 100(a) 101(b) | 100(a) again | 102(c) | reorganised: 100'(x)
    told = [("a", 100, 0), ("b", 101, 0), ("a", 100, 0), ("c", 102, 0)]
    assert holding(*told) == [0, 1, 3]
    assert holding(*told, ("x", 100, 0)) == [4]


def test_a_chain_that_goes_back_twice_holds_what_it_told_last():
    told = [("a", 100, 1), ("b", 101, 2), ("b", 101, 3), ("c", 102, 4), ("b", 101, 2), ("d", 102, 5)]
    assert holding(*told) == [0, 4, 5]


def test_what_has_no_block_always_holds():
    assert holding(("a", -1, 1), ("a", -1, 1)) == [0, 1]
