"""Books by their rules: what joins, what is a gap, what is published, and when nothing is."""

import pytest

from schemas import DecodeError, Depth, Quote, Rules
from streams.formats.book import BookChange
from streams.ingest import book as one_book
from streams.ingest import waiting as all_waiting
from streams.ingest.book import read_change
from streams.ingest.books import DEPTH_LEVELS, GRID_NS, RESET_NS, Books
from streams.ingest.waiting import WAITING_LEVELS, WAITING_NS

SECOND = 1_000_000_000
MS = 1_000_000
NAME = "binance:BTC-USDT"
RULES = Rules()
T0 = 1_700_000_000 * SECOND


class Feed:
    """Books, and a clock in milliseconds since T0: receive time is event time unless said otherwise."""

    def __init__(self):
        self.books = Books(RULES)
        self.watermark_ns = 0

    def say(self, ms, bids=(), asks=(), received=None, timed=True, **fields):
        """Feed a change and return the events."""
        received_ns = T0 + (ms if received is None else received) * MS
        basis = {"instrument_id": NAME, "venue": "binance", "event_time_ns": T0 + ms * MS if timed else 0}
        change = BookChange(**basis | {"bids": list(bids), "asks": list(asks)} | fields)
        return self.books.apply(read_change(change), received_ns, self.watermark_ns)

    def snapshot(self, ms, bids=((10.0, 1.0),), asks=((11.0, 2.0),), **fields):
        return self.say(ms, bids, asks, snapshot=True, **fields)

    @property
    def book(self):
        return self.books.get(NAME)

    def counts(self):
        return {what: count for (_, what), count in self.books.counts.items() if what not in {"depth", "quote"}}


@pytest.fixture
def feed():
    return Feed()


def depths(events):
    return [event for event in events if isinstance(event, Depth)]


def marker(events):
    """The reason that the only event of a lost book gives."""
    (event,) = events
    assert isinstance(event, Depth)
    assert event.bid_prices == event.bid_sizes == event.ask_prices == event.ask_sizes == []
    return event.id


def test_a_book_without_a_snapshot_is_told_once_to_be_missing(feed):
    assert marker(feed.say(0, [(10.0, 1.0)], first=1, last=2)) == "missing"
    assert feed.say(10, [(10.0, 0.0)], first=3, last=3) == []
    assert feed.counts() == {"waiting": 2}
    assert feed.book.standing == "unknown"


def test_a_snapshot_gives_the_best_levels_and_the_best_quote(feed):
    bids = [(price, 1.0) for price in range(1, 21)]
    asks = [(float(price), 2.0) for price in range(40, 20, -1)]
    depth, quote = feed.snapshot(0, [(float(price), size) for price, size in bids], asks, last=7)
    assert depth.bid_prices == [20.0, 19.0, 18.0, 17.0, 16.0, 15.0, 14.0, 13.0, 12.0, 11.0]
    assert depth.ask_prices == [21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0]
    assert depth.ask_sizes == [2.0] * DEPTH_LEVELS
    assert (depth.event_time_ns, depth.sequence, depth.venue, depth.id) == (T0, 7, "binance", "snapshot")
    assert quote == Quote(
        instrument_id=NAME,
        venue="binance",
        event_time_ns=T0,
        sequence=7,
        bid_price=20.0,
        bid_size=1.0,
        ask_price=21.0,
        ask_size=2.0,
    )


def test_depth_comes_with_the_first_change_of_each_cell_of_the_grid(feed):
    # cells of 250 ms: [0 ... 249] [250 ... 499] [500 ... 749] [750 ... 999]
    #                   ^snapshot    ^  x            ^                          x: not the first of its cell
    feed.snapshot(0, last=0)
    times = (100, 249, 250, 400, 600, 749)
    said = [bool(depths(feed.say(ms, [(9.0, 1.0)], last=number))) for number, ms in enumerate(times, 1)]
    assert said == [False, False, True, False, True, False]
    assert GRID_NS == 250 * MS


def test_a_quote_comes_with_each_change_of_the_best_price_or_size_and_no_other(feed):
    feed.snapshot(0, last=0)
    changes = [([(9.0, 5.0)], []), ([(10.0, 3.0)], []), ([], [(12.0, 1.0)]), ([], [(10.5, 1.0)]), ([(10.0, 3.0)], [])]
    said = [
        [event for event in feed.say(1 + n, bids, asks, last=1 + n) if isinstance(event, Quote)]
        for n, (bids, asks) in enumerate(changes)
    ]
    assert [len(quotes) for quotes in said] == [0, 1, 0, 1, 0]
    assert (said[3][0].bid_price, said[3][0].bid_size, said[3][0].ask_price, said[3][0].ask_size) == (10, 3, 10.5, 1)


def test_quotes_are_left_to_a_ticker_until_it_has_been_silent_for_as_long_as_a_row_lists(feed):
    feed.books.hear_ticker(NAME, T0)
    silent_ms = RULES.listing_ns // MS
    assert [type(event) for event in feed.snapshot(0, last=0)] == [Depth]
    assert [type(event) for event in feed.say(silent_ms - 1, [(10.0, 2.0)], last=1)] == [Depth]
    assert [type(event) for event in feed.say(silent_ms, [(10.0, 3.0)], last=2)] == [Depth, Quote]


def test_sizes_are_told_in_base_units(feed):
    depth, quote = feed.snapshot(0, [(50.0, 3.0)], [(60.0, 4.0)], last=1, contract_usd=100.0)
    assert (depth.bid_sizes, depth.ask_sizes) == ([3 * 100 / 50], [4 * 100 / 60])
    assert (quote.bid_size, quote.ask_size) == (3 * 100 / 50, 4 * 100 / 60)
    depth, _ = Feed().snapshot(0, [(50.0, 3.0)], [(60.0, 4.0)], size_unit=0.01)
    assert (depth.bid_sizes, depth.ask_sizes) == ([0.03], [0.04])


def test_spot_joins_a_snapshot_where_first_is_at_most_its_id_plus_one(feed):
    # Binance spot: U <= lastUpdateId + 1 <= u, then U = the last u + 1.
    for ms, (first, last) in enumerate([(1, 3), (4, 6), (7, 7)]):
        feed.say(ms, [(10.0, float(last))], first=first, last=last)
    (depth, _) = feed.snapshot(9, last=4, timed=False)
    assert (depth.bid_sizes, depth.sequence) == ([7.0], 7)
    # The snapshot had no time of its own: the book is of the last change that it took in.
    assert depth.event_time_ns == T0 + 2 * MS
    assert feed.say(300, first=8, last=9) != []
    assert marker(feed.say(301, first=11, last=11)) == "gap"


def test_futures_join_a_snapshot_inside_a_change_and_then_by_the_update_before(feed):
    # Binance USD-M: U <= lastUpdateId <= u, then pu = the last u; ids of all symbols run together.
    feed.say(0, [(10.0, 5.0)], first=100, last=110, previous=90)
    feed.say(1, [(10.0, 6.0)], first=130, last=140, previous=110)
    depth, _ = feed.snapshot(2, last=120)
    assert (depth.sequence, depth.bid_sizes) == (140, [6.0])
    feed.say(3, [(10.0, 7.0)], first=190, last=200, previous=140)
    assert feed.book.last == 200
    assert marker(feed.say(4, first=211, last=220, previous=205)) == "gap"


def test_a_snapshot_older_than_the_first_change_that_waits_is_not_used(feed):
    feed.say(0, first=10, last=12)
    assert feed.snapshot(1, last=8) == []
    assert feed.snapshot(2, last=9) != []
    assert feed.counts() == {"waiting": 1, "not-used": 1, "snapshot": 1}


def test_a_gap_among_waiting_changes_is_bridged_by_no_snapshot_before_it(feed):
    feed.say(0, first=1, last=2)
    feed.say(1, first=5, last=6)
    assert feed.snapshot(2, last=1) == []
    assert feed.snapshot(3, last=5) != []
    assert feed.book.last == 6


def test_repeats_change_nothing(feed):
    feed.snapshot(0, last=5)
    feed.say(1, [(10.0, 2.0)], first=6, last=7)
    assert feed.say(400, [(10.0, 9.0)], first=6, last=7) == []
    assert feed.snapshot(0, [(3.0, 1.0)], last=5) == []
    assert feed.counts() == {"snapshot": 1, "change": 1, "repeat": 2}
    assert feed.book.bids.best(1) == [(10.0, 2.0)]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"first": 9, "last": 9}, "gap"),
        ({"first": 6, "last": 6, "bids": [(11.0, 1.0)]}, "crossed"),
        ({"first": 6, "last": 6, "asks": [(9.5, 1.0)]}, "crossed"),
        ({"first": 6, "last": 6, "check": lambda _bids, _asks: False}, "checksum"),
        ({"first": 1, "last": 3, "event_time_ns": T0 + 11 * SECOND}, "reset"),
    ],
)
def test_what_is_wrong_ends_the_book_at_once_until_the_next_good_snapshot(feed, wrong, reason):
    feed.snapshot(0, last=5)
    assert marker(feed.say(10, **wrong)) == reason
    assert feed.book.standing == "lost"
    assert feed.say(12_000, [(10.0, 3.0)], first=10, last=10) == []
    assert feed.say(13_000, [(10.0, 4.0)], first=11, last=11) == []
    depth, quote = feed.snapshot(14_000, last=11)
    assert (depth.id, depth.bid_prices, quote.bid_price) == ("snapshot", [10.0], 10.0)
    assert feed.book.standing == "known"
    assert depths(feed.say(15_000, first=12, last=12)) != []


@pytest.mark.parametrize("previous", [5, 7])
def test_a_chain_must_name_the_update_that_the_book_stands_at(feed, previous):
    feed.snapshot(0, last=5)
    feed.say(1, previous=4, last=6)  # the first after a snapshot may overlap it
    assert feed.book.last == 6
    assert marker(feed.say(2, previous=previous, last=9)) == "gap"


def test_ids_that_go_back_within_seconds_are_repeats_of_another_connection(feed):
    feed.snapshot(0, last=5)
    assert feed.say(RESET_NS // MS, first=1, last=3) == []
    assert feed.book.standing == "known"


def test_a_snapshot_with_lower_ids_and_a_later_time_is_a_venue_that_counts_anew(feed):
    feed.snapshot(0, last=500)
    feed.snapshot(1000, [(7.0, 1.0)], [(8.0, 1.0)], last=1)
    assert feed.book.bids.best(1) == [(7.0, 1.0)]
    feed.say(1001, [(7.5, 1.0)], previous=1, last=2)
    assert feed.book.bids.best(1) == [(7.5, 1.0)]


def test_a_wrong_snapshot_of_a_book_never_known_leaves_it_missing(feed):
    assert marker(feed.snapshot(0, [(12.0, 1.0)], [(11.0, 1.0)], last=1)) == "missing"
    assert feed.snapshot(0, [(12.0, 1.0)], [(11.0, 1.0)], last=1) == []
    assert feed.book.standing == "unknown"
    assert feed.counts() == {"crossed": 2}


def test_a_marker_is_never_late_and_stands_before_what_follows(feed):
    feed.snapshot(0, last=5)
    feed.watermark_ns = T0 + 50 * MS
    (found,) = feed.say(10, first=9, last=9)
    assert found.event_time_ns == T0 + 50 * MS
    depth, _ = feed.snapshot(20, last=20)
    assert depth.event_time_ns == T0 + 50 * MS + 1


def test_a_time_from_the_future_moves_neither_the_book_nor_its_marker(feed):
    feed.snapshot(0, last=5)
    hour = 3_600_000
    feed.say(hour, [(9.0, 1.0)], received=1, first=6, last=6)
    assert feed.book.time_ns == T0
    assert feed.say(300, first=7, last=7)[0].event_time_ns == T0 + 300 * MS
    (found,) = feed.say(hour, received=301, first=9, last=9)
    assert found.event_time_ns == T0 + 300 * MS


HOUR_MS = 3_600_000


def test_what_is_refused_for_its_time_was_not_said(feed):
    # cells: [0 ... 249]              [250 ... 499]
    #         ^snapshot  ^future  ^100   ^300
    feed.snapshot(0, last=0)
    depth, quote = feed.say(HOUR_MS, [(10.5, 3.0)], received=50, first=1, last=1)
    assert depth.event_time_ns == quote.event_time_ns == T0 + HOUR_MS * MS
    (quote,) = feed.say(100, [(9.0, 1.0)], first=2, last=2)
    assert (type(quote), quote.bid_price, quote.event_time_ns) == (Quote, 10.5, T0 + 100 * MS)
    assert depths(feed.say(300, first=3, last=3)) != []


def test_a_book_whose_first_depth_is_refused_is_told_with_the_next_change(feed):
    feed.snapshot(0, last=0)
    assert marker(feed.say(10, first=9, last=9)) == "gap"
    refused, _ = feed.snapshot(HOUR_MS, received=20, last=9)
    assert (refused.id, refused.event_time_ns) == ("snapshot", T0 + HOUR_MS * MS)
    depth, quote = feed.say(30, first=10, last=10)
    assert (depth.id, depth.event_time_ns, quote.bid_price) == ("snapshot", T0 + 30 * MS, 10.0)
    assert feed.say(40, first=11, last=11) == []


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_time_from_the_future_makes_no_older_id_a_venue_that_counts_anew(feed, snapshot):
    feed.snapshot(0, last=5)
    assert feed.say(HOUR_MS, [(7.0, 1.0)], received=10, first=3, last=4, snapshot=snapshot) == []
    assert feed.counts() == {"snapshot": 1, "repeat": 1}
    assert feed.book.bids.best(2) == [(10.0, 1.0)]


def test_the_time_of_a_book_never_falls_back(feed):
    feed.snapshot(300, last=5)
    assert feed.say(100, first=6, last=6) == []
    (_, quote) = feed.say(550, [(10.5, 1.0)], first=7, last=7)
    assert quote.event_time_ns == T0 + 550 * MS
    (quote,) = feed.say(540, [(10.6, 1.0)], first=8, last=8)
    assert quote.event_time_ns == T0 + 550 * MS


def test_a_book_without_event_times_is_told_at_known_time_on_the_grid_of_receive_time(feed):
    said = [feed.snapshot(ms, last=n, timed=False) for n, ms in enumerate((0, 100, 260))]
    assert [len(depths(events)) for events in said] == [1, 0, 1]
    assert all(event.event_time_ns == 0 for events in said for event in events)
    assert feed.say(300, [(99.0, 1.0)], last=3, timed=False)[0].event_time_ns == 0


def test_a_book_of_one_side_is_a_book(feed):
    (depth,) = feed.snapshot(0, asks=[], last=1)
    assert (depth.bid_prices, depth.ask_prices) == ([10.0], [])
    (depth,) = feed.say(300, [(10.0, 0.0)], first=2, last=2)
    assert (depth.bid_prices, depth.ask_prices) == ([], [])
    assert feed.book.standing == "known"


def test_a_snapshot_of_so_many_levels_is_known_no_further_than_its_last(feed):
    bids, asks = [(10.0, 1.0), (9.0, 1.0)], [(11.0, 1.0), (12.0, 1.0)]
    feed.snapshot(0, bids, asks, last=1, limit=2)
    # 8 is known to the book, but what lies between 9 and 8 is not: it is not published
    (depth,) = feed.say(300, [(8.0, 1.0)], first=2, last=2)
    assert depth.bid_prices == [10.0, 9.0]
    (depth, _) = feed.say(600, [(10.0, 0.0)], first=3, last=3)
    assert depth.bid_prices == [9.0]
    assert marker(feed.say(900, [(9.0, 0.0)], first=4, last=4)) == "range"


def test_a_side_with_fewer_levels_than_the_limit_is_whole(feed):
    feed.snapshot(0, [(10.0, 1.0)], [(11.0, 1.0), (12.0, 1.0)], last=1, limit=2)
    (depth, _) = feed.say(300, [(8.0, 1.0), (10.0, 0.0)], first=2, last=2)
    assert depth.bid_prices == [8.0]


def test_a_partial_stream_does_not_replace_a_deeper_book_that_its_changes_keep_up(feed):
    feed.snapshot(0, [(10.0, 1.0), (9.0, 1.0)], [(11.0, 1.0)], last=1)
    feed.say(1, first=2, last=2)
    assert feed.snapshot(2, [(10.0, 4.0)], [(11.0, 1.0)], last=3, limit=1) == []
    assert feed.counts() == {"snapshot": 1, "change": 1, "not-used": 1}
    alone = Feed()
    for number in range(3):
        alone.snapshot(number, last=number, limit=5)
    assert alone.counts() == {"snapshot": 3}


def test_a_venue_that_keeps_so_many_levels_drops_those_behind(feed):
    feed.snapshot(0, [(10.0, 1.0), (9.0, 1.0)], [(11.0, 1.0)], depth=2)
    feed.say(1, [(9.5, 1.0)], depth=2)
    assert feed.book.bids.best(5) == [(10.0, 1.0), (9.5, 1.0)]
    feed.say(2, [(10.0, 0.0)], depth=2)
    assert feed.book.bids.best(5) == [(9.5, 1.0)]


def test_a_checksum_sees_the_levels_as_they_were_written(feed):
    seen = []

    def check(bids, asks):
        seen.append((bids, asks))
        return True

    feed.snapshot(0, [("10.10", "1.00"), ("10.0", "2")], [("11.000", "3.0")], check=check)
    feed.say(1, [("10.1", "5.0"), ("10.0", "0.0")], [], check=check)
    assert seen == [
        ([("10.10", "1.00"), ("10.0", "2")], [("11.000", "3.0")]),
        ([("10.1", "5.0")], [("11.000", "3.0")]),
    ]


def test_a_checksum_may_come_on_its_own(feed):
    feed.snapshot(0, last=1)
    assert marker(feed.say(1, check=lambda _bids, _asks: False)) == "checksum"


@pytest.mark.parametrize(
    "level", [("x", "1"), ("0", "1"), ("-1", "1"), ("1", "-1"), ("nan", "1"), ("1", "inf"), ("1_0", "1"), ("1", "")]
)
def test_levels_that_are_no_numbers_are_a_decode_error(feed, level):
    with pytest.raises(DecodeError, match=r"^\$\.asks: expected prices above 0 and sizes from 0: "):
        feed.say(0, [], [level], snapshot=True)


def test_what_waits_is_bounded_in_levels_and_in_time(feed):
    many = [(1.0 + number / 1e6, 1.0) for number in range(WAITING_LEVELS // 4)]
    for number in range(6):
        feed.say(number, many, first=number + 1, last=number + 1)
    assert [waiting.change.last for waiting in feed.book.waiting] == [3, 4, 5, 6]
    feed.say(WAITING_NS // MS + 4, [(1.0, 1.0)], first=7, last=7)
    assert [waiting.change.last for waiting in feed.book.waiting] == [6, 7]
    assert feed.book.waiting_levels == len(many) + 1


def test_what_waits_is_bounded_over_all_books(feed, monkeypatch):
    monkeypatch.setattr(all_waiting, "ALL_WAITING_LEVELS", 5)
    for number in range(4):
        feed.say(0, [(1.0, 1.0), (2.0, 1.0)], first=1, last=1, instrument_id=f"binance:A{number}-USDT")
    waiting = [book.waiting_levels for book in feed.books]
    assert waiting == [2, 2, 0, 0]


def test_changes_without_levels_take_room_where_they_wait(feed, monkeypatch):
    monkeypatch.setattr(all_waiting, "WAITING_LEVELS", 3)
    for number in range(5):
        feed.say(0, first=number, last=number)
    assert [held.change.last for held in feed.book.waiting] == [2, 3, 4]


def test_what_waits_too_long_waits_no_more_when_its_snapshot_comes(feed):
    # 0 s          30 s         59.999 s    60 s
    # 1 waits      2 waits                  1 is gone: no snapshot before 2 joins what waits
    feed.say(0, [(9.0, 1.0)], first=1, last=1)
    feed.say(30_000, [(9.5, 1.0)], first=2, last=2)
    assert feed.snapshot(60_000, last=0) == []
    assert feed.counts() == {"waiting": 2, "not-used": 1}
    feed.snapshot(60_001, last=1)
    assert feed.book.bids.best(3) == [(10.0, 1.0), (9.5, 1.0)]


def test_books_that_fell_silent_leave_their_room_to_others(feed, monkeypatch):
    monkeypatch.setattr(all_waiting, "ALL_WAITING_LEVELS", 2)
    feed.say(0, [(1.0, 1.0), (2.0, 1.0)], first=1, last=1, instrument_id="binance:OLD-USDT")
    feed.say(59_999, [(1.0, 1.0)], first=1, last=1)
    assert feed.book.waiting_levels == 0
    feed.say(60_000, [(1.0, 1.0)], first=2, last=2)
    assert feed.book.waiting_levels == 1


def test_room_is_the_same_after_a_restart(feed, monkeypatch):
    monkeypatch.setattr(all_waiting, "ALL_WAITING_LEVELS", 2)
    # OLD is forgotten at a day; what waited in it took the room of others until the process was restarted.
    feed.say(0, [(1.0, 1.0), (2.0, 1.0)], first=1, last=1, instrument_id="binance:OLD-USDT")
    day_ms = RULES.never_ns // MS
    restarted = Feed()
    restarted.books.restore(*feed.books.state(T0 + day_ms * MS))
    for each in (feed, restarted):
        each.say(day_ms, [(9.0, 1.0)], first=1, last=1)
        each.say(day_ms + 1, [(9.5, 1.0)], first=2, last=2)
        depth, _ = each.snapshot(day_ms + 2, last=0)
        assert depth.bid_prices == [10.0, 9.5, 9.0]


def test_instruments_that_come_and_go_leave_nothing(feed):
    hour_ms = 3_600_000
    for number in range(10_000):
        name = {"instrument_id": f"binance:A{number}-USDT"}
        feed.snapshot(number * hour_ms, last=1, **name)
        feed.say(number * hour_ms, first=9, last=9, **name)  # a gap: it waits
        feed.books.hear_ticker(name["instrument_id"], T0 + number * hour_ms * MS)
        feed.books.counts.clear()  # as whoever tells them does
    books, tickers = feed.books.state(T0 + 9_999 * hour_ms * MS)
    assert len(books) == len(list(feed.books)) == RULES.never_ns // (hour_ms * MS)
    assert [len(book.waiting) for book in books].count(0) == len(books) - 1
    assert len(tickers) == len(feed.books._tickers) == 1
    assert (len(feed.books._waiting._queue), feed.books._waiting._levels) == (1, 1)


def test_a_side_of_too_many_levels_forgets_the_worst_and_knows_that_it_did(feed, monkeypatch):
    monkeypatch.setattr(one_book, "MAX_LEVELS", 3)
    feed.snapshot(0, [(10.0, 1.0), (9.0, 1.0)], last=1)
    feed.say(1, [(8.0, 1.0), (7.0, 1.0)], first=2, last=2)
    assert feed.book.bids.best(9) == [(10.0, 1.0), (9.0, 1.0), (8.0, 1.0)]
    gone = [(10.0, 0.0), (9.0, 0.0), (8.0, 0.0)]
    assert marker(feed.say(2, gone, first=3, last=3)) == "range"


def test_a_book_that_was_silent_for_a_day_is_not_known_any_more(feed):
    feed.snapshot(0, last=1)
    day_ms = RULES.never_ns // MS
    assert marker(feed.say(day_ms, [(10.0, 3.0)], first=2, last=2)) == "missing"
    assert feed.book.standing == "unknown"
