"""Quality bits of rows: which book is not known, which instrument is silent.

In the small world tiles and rows are of 100 ms, the idle timeout is 150 ms, ages end at 3 s.
"""

import msgspec
import numpy as np
import pytest
from canonical import BTC, T0, Canon, event, trade
from small_catalogue import book_catalogue
from world import MS, RULES

from featurestore.checkpoint import decode_state, encode_state
from schemas.rows import quality_names
from schemas.topics import FEATURE_ROW


def book(at_ms, *prices, **more):
    lists = {"bid_prices": list(prices), "bid_sizes": [1.0] * len(prices), "ask_prices": [], "ask_sizes": []}
    return event("depth", at_ms, **lists, **more)


def started(**more):
    canon = Canon(catalogue=book_catalogue(), **more)
    canon.progress(-50)
    return canon


def quality_of(rows, name):
    """Return {ms after T0: whether BTC's row has the bit}."""
    return {
        (r.header.row_time_ns - T0) // MS: name in quality_names(int(r.quality[r.instruments.index(BTC)])) for r in rows
    }


def values_of(rows, name):
    place = rows[0].features.index(name)
    return {(r.header.row_time_ns - T0) // MS: r.values[r.instruments.index(BTC), place] for r in rows}


def test_a_book_is_flagged_from_its_marker_until_it_has_levels_again():
    #   0         100       200       300       400       500
    #   [--book---)[-------)[-marker-)[--------)[-book---)[---
    canon = started()
    canon.send(book(10, 9.0), book(220), book(410, 9.0))
    canon.progress(600)
    found = quality_of(canon.advance(), "book-gap")
    assert found == {100: False, 200: False, 300: True, 400: True, 500: False, 600: False}


def test_the_last_of_a_tile_decides():
    canon = started()
    canon.send(book(10), book(20, 9.0), book(110, 9.0), book(120))
    canon.progress(200)
    assert quality_of(canon.advance(), "book-gap") == {100: False, 200: True}


def test_a_book_with_one_side_is_known_and_one_never_heard_is_no_gap():
    canon = started()
    canon.send(book(10, 9.0))
    canon.send(trade(20, instrument="alpha:BTC-EUR"))
    canon.progress(100)
    (row,) = canon.advance()
    assert ["book-gap" in quality_names(int(bits)) for bits in row.quality] == [False, False]


def test_a_gap_of_long_ago_is_not_told():
    # never_ns is 3 s; trades keep the instrument listed.
    canon = started()
    canon.send(book(50))
    canon.send(*(trade(100 * n + 10) for n in range(40)))
    canon.progress(4000)
    found = quality_of(canon.advance(), "book-gap")
    assert [at for at, is_gap in found.items() if is_gap] == list(range(100, 3100, 100))


def test_an_instrument_is_stale_when_nothing_came_for_the_idle_timeout_and_a_row():
    #   0         100       200       300       400       500
    #   [----t@50)[--------)[--------)[-q@300--)[--
    # the trade is older than 250 ms at 400, were it not for the quote
    for more, expected in (
        ((), [400, 500]),
        ((event("quote", 300, bid_price=9.0),), []),
        ((event("derivative", 300, funding_rate=1.0),), [400, 500]),
        ((book(300),), []),
    ):
        canon = started()
        canon.send(trade(50))
        for each in more:
            canon.send(each)
        canon.progress(500)
        assert [at for at, is_stale in quality_of(canon.advance(), "stale").items() if is_stale] == expected


def test_at_the_limit_it_is_not_stale():
    canon = started()
    canon.send(trade(50))
    canon.progress(300)
    assert quality_of(canon.advance(), "stale") == {100: False, 200: False, 300: False}


def test_nothing_is_carried_over_an_unknown_book():
    #   0         100       200       300       400       500       600
    #   [-3 bids--)[-------)[-marker-)[--------)[-3 bids)[-1 bid--)[---
    canon = started()
    canon.send(book(10, 9.0, 8.0, 7.0), book(210), book(410, 6.0, 5.0, 4.0), book(510, 6.0))
    canon.progress(700)
    found = values_of(canon.advance(), "third_100ms")
    # masked where no book came in the window: that of 100 ms sees only tiles with events
    known = {at: value for at, value in found.items() if not np.isnan(value)}
    assert known == {100: 7.0, 500: 4.0, 600: 4.0}


def test_nothing_is_carried_over_a_marker_and_a_thin_book_in_one_tile():
    canon = started()
    canon.send(book(10, 9.0, 8.0, 7.0), book(110), book(120, 9.0))
    canon.progress(200)
    found = values_of(canon.advance(), "third_100ms")
    assert found[100] == 7.0
    assert np.isnan(found[200])


@pytest.mark.parametrize("stop", range(1, 12, 2))
def test_a_restart_keeps_what_is_unknown(stop):
    def play(canon, first, last):
        for n in range(first, last):
            canon.send(book(100 * n + 10, *([9.0, 8.0, 7.0] if n % 4 == 0 else [9.0] if n % 4 == 3 else [])))
            canon.send(trade(100 * n + 20))
            canon.progress(100 * n + 50)
            canon.advance()

    calm, canon = started(), started()
    play(calm, 0, 12)
    play(canon, 0, stop)
    canon.restarted()
    canon.advance()
    play(canon, stop, 12)
    rows = [[o.value for o in each.outputs if o.topic == FEATURE_ROW] for each in (calm, canon)]
    assert rows[0] == rows[1]


def test_a_checkpoint_of_before_there_were_books_is_read():
    canon = started()
    canon.send(trade(10))
    canon.progress(100)
    canon.advance()
    state = decode_state(canon.engine.checkpoint().blob, RULES.rules_id, 0)
    spaces = {home: msgspec.structs.replace(space, books=None) for home, space in state.tiles.spaces.items()}
    old = msgspec.structs.replace(state, tiles=msgspec.structs.replace(state.tiles, spaces=spaces))
    canon.engine = type(canon.engine).restore(encode_state(old), 0, RULES, canon.catalogue)
    canon.send(trade(110))
    canon.progress(200)
    assert quality_of(canon.advance(), "book-gap") == {200: False}
