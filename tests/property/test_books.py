"""Books against one of plain dicts, and over restarts, on random histories."""

from unittest import mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import Depth, Quote, Rules
from schemas.topics import FEEDS, RAW_EXCHANGE
from streams.formats.book import BookChange
from streams.ingest import waiting
from streams.ingest.book import read_change
from streams.ingest.books import DEPTH_LEVELS, GRID_NS, Books
from streams.ingest.normaliser import Normaliser
from streams.ingest.state import NormaliserState
from tests.unit.streams.ingest.canonical import content

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
NAMES = ("binance:BTC-USDT", "binance:ETH-USDT", "binance:SOL-USDT")
DAY_MS = 86_400_000
LISTING_MS = 900_000
ALL_WAITING = 8
"""A budget that few changes use up."""

SIZES = st.sampled_from(["0", "1.5", "2.25"])


def levels(lowest, highest):
    prices = st.sampled_from([f"{price / 4:.2f}" for price in range(lowest, highest)])
    return st.lists(st.tuples(prices, SIZES), max_size=4, unique_by=lambda level: level[0])


# They meet at one price: books are crossed at times.
BIDS, ASKS = levels(34, 41), levels(40, 47)


@st.composite
def histories(draw, kinds=(), times=()):
    """Return changes of one venue's books: chained for the most part, with what may go wrong among them.

    `kinds`, `times`: more of them, times as milliseconds that a change comes late.

    Time stands still, goes on, or leaps over what waiting changes, tickers and books are remembered for.
    """
    log, last, now = [], dict.fromkeys(NAMES, 0), 0
    for _ in range(draw(st.integers(1, 30))):
        name = draw(st.sampled_from(NAMES))
        now += draw(st.sampled_from([0, 1, 100, 250, 400, 59_999, 70_000, LISTING_MS, DAY_MS - 1, DAY_MS]))
        kind = draw(st.sampled_from(["change"] * 8 + ["snapshot", "old snapshot", "gap", "repeat", "bad sum", *kinds]))
        bids, asks = draw(BIDS), draw(ASKS)
        step = draw(st.integers(1, 3))
        first, number = last[name] + 1, last[name] + step
        if kind == "gap":
            first, number = first + 2, number + 2
        elif kind == "repeat":
            first, number = max(0, first - 2), last[name]
        elif kind == "old snapshot":
            number = max(0, last[name] - draw(st.integers(0, 4)))
        last[name] = max(last[name], number)
        change = {
            "instrument_id": name,
            "event_time_ns": (T0 + (now - draw(st.sampled_from([0, 0, 300, *times]))) * MS)
            * draw(st.sampled_from([1, 1, 1, 0])),
            "first": first,
            "last": number,
            "snapshot": "snapshot" in kind,
            "limit": draw(st.sampled_from([0, 0, 2])) if "snapshot" in kind else 0,
            "wrong": kind == "bad sum",
            "ticker": kind == "ticker",
            "bids": bids,
            "asks": asks,
            "texts": draw(st.booleans()),
            "received": T0 + now * MS,
        }
        log.append(change)
    return log


def change_of(fields):
    fields = dict(fields)
    wrong, as_texts = fields.pop("wrong"), fields.pop("texts")
    fields.pop("received"), fields.pop("ticker")
    for side in ("bids", "asks"):
        fields[side] = [tuple(each) if as_texts else (float(each[0]), float(each[1])) for each in fields[side]]
    return BookChange(venue="binance", check=(lambda _bids, _asks: False) if wrong else None, **fields)


class PlainBook:
    """The rules once more, on dicts that are sorted at each look; `room` of what waits in all books."""

    def __init__(self, room):
        self.room, self.heard = room, 0
        self.standing, self.sides, self.known = "unknown", ({}, {}), (None, None)
        self.last, self.fresh, self.chained, self.limit, self.waiting, self.time = 0, False, False, 0, [], 0

    def take(self, fields):
        """Return whether the book is told, "marker" where it is lost, None where nothing is said."""
        if fields["snapshot"]:
            return self._load(fields)
        if self.standing != "known":
            return self._wait(fields)
        if fields["last"] <= self.last:
            if fields["last"] < self.last and 0 < self.time < fields["event_time_ns"] - 10_000 * MS:
                return self._lose()
            return None
        if fields["first"] > self.last + 1:
            lost = self._lose()
            self._wait(fields)
            return lost
        self._apply(fields)
        return self._lose() if self._is_wrong(fields) else "told"

    def _wait(self, fields):
        if fields["wrong"] or (self.waiting and fields["last"] <= self.waiting[-1]["last"]):
            return
        if self.waiting and fields["first"] > self.waiting[-1]["last"] + 1:
            self.waiting = []
        self.waiting = [*self.waiting, fields]
        while self.waiting and self.room() < 0:
            self.waiting = self.waiting[1:]

    def _load(self, fields):
        known = self.standing == "known"
        younger = fields["event_time_ns"] > self.time
        if known and fields["last"] <= self.last and not younger:
            return None
        if known and self.chained and fields["limit"] and (self.limit == 0 or fields["limit"] < self.limit):
            return None
        later = [old for old in self.waiting if old["last"] > fields["last"]]
        if later and later[0]["first"] > fields["last"] + 1:
            return None
        self.waiting, self.sides = [], ({}, {})
        self.fresh, self.last, self.limit, self.known = True, fields["last"], fields["limit"], (None, None)
        self._set(fields)
        limit = fields["limit"]
        self.known = tuple(
            worst(side) if limit and len(side) >= limit else None
            for side, worst in zip(self.sides, (min, max), strict=True)
        )
        for old in later:
            self._apply(old)
        if self._is_wrong(later[-1] if later else fields):
            return self._lose()
        self.chained, self.standing = self.chained and known, "known"
        return "again" if not known else "told"

    def _apply(self, fields):
        self._set(fields)
        self.last, self.fresh, self.chained = fields["last"], False, True

    def _set(self, fields):
        for side, name in zip(self.sides, ("bids", "asks"), strict=True):
            for price, size in fields[name]:
                side[float(price)] = float(size)
                if not float(size):
                    del side[float(price)]

    def _is_wrong(self, fields):
        bids, asks = self.sides
        out = (self.known[0] is not None and (not bids or max(bids) < self.known[0])) or (
            self.known[1] is not None and (not asks or min(asks) > self.known[1])
        )
        return fields["wrong"] or out or (bids and asks and max(bids) >= min(asks))

    def _lose(self):
        was, self.standing = self.standing, "lost" if self.standing == "known" else self.standing
        self.sides, self.waiting, self.known, self.chained, self.last = ({}, {}), [], (None, None), False, -1
        return "marker" if was == "known" else None

    def levels(self):
        bids = sorted((level for level in self.sides[0].items() if self._knows(0, level)), reverse=True)
        asks = sorted(level for level in self.sides[1].items() if self._knows(1, level))
        return bids[:DEPTH_LEVELS], asks[:DEPTH_LEVELS]

    def _knows(self, side, level):
        worst = self.known[side]
        return worst is None or (level[0] >= worst if side == 0 else level[0] <= worst)


class PlainBooks:
    """All plain books: at each record every one is looked at for what is too old."""

    def __init__(self):
        self.books = {}

    def take(self, fields):
        """Return the book of a change, and what it says of it."""
        name, now = fields["instrument_id"], fields["received"]
        self.books = {name: book for name, book in self.books.items() if book.heard > now - DAY_MS * MS}
        for book in self.books.values():
            book.waiting = [old for old in book.waiting if old["received"] > now - 60_000 * MS]
        is_new = name not in self.books
        book = self.books.setdefault(name, PlainBook(self._room))
        book.heard = now
        outcome = book.take(fields)
        return book, "marker" if is_new and book.standing == "unknown" else outcome

    def _room(self):
        waiting = [fields for book in self.books.values() for fields in book.waiting]
        return ALL_WAITING - sum(max(1, len(fields["bids"]) + len(fields["asks"])) for fields in waiting)


@settings(max_examples=100, deadline=None)
@given(log=histories())
@mock.patch.object(waiting, "ALL_WAITING_LEVELS", ALL_WAITING)
def test_a_book_is_what_plain_dicts_say(log):
    books, plain = Books(Rules()), PlainBooks()
    for fields in log:
        name = fields["instrument_id"]
        events = books.apply(read_change(change_of(fields)), fields["received"], 0)
        mine, outcome = plain.take(fields)
        book = books.get(name)
        # The time of a book is not this test's matter.
        mine.time = book.time_ns
        assert book.standing == mine.standing
        assert [held.change.last for held in book.waiting] == [held["last"] for held in mine.waiting]
        assert {each.instrument_id for each in books} == set(plain.books)
        assert (book.bids.best(DEPTH_LEVELS), book.asks.best(DEPTH_LEVELS)) == mine.levels()
        depths = [event for event in events if isinstance(event, Depth)]
        if outcome is None:
            assert events == []
        elif outcome == "marker":
            assert [(event.bid_prices, event.ask_prices) for event in depths] == [([], [])]
            assert len(events) == 1
        else:
            assert len(depths) == 1 if outcome == "again" else len(depths) <= 1
            for depth in depths:
                bids, asks = mine.levels()
                assert list(zip(depth.bid_prices, depth.bid_sizes, strict=True)) == bids
                assert list(zip(depth.ask_prices, depth.ask_sizes, strict=True)) == asks


@settings(max_examples=40, deadline=None)
@given(log=histories())
def test_events_of_a_book_stand_in_the_order_of_its_changes(log):
    # By time, where the venue tells times; a cell of the grid holds one Depth that is no news of its own.
    books = Books(Rules())
    told = {name: [] for name in NAMES}
    for fields in log:
        for event in books.apply(read_change(change_of(fields)), fields["received"], 0):
            told[event.instrument_id].append(event)
    for events in told.values():
        times = [event.event_time_ns for event in events if event.event_time_ns]
        assert times == sorted(times)
        cells = [event.event_time_ns // GRID_NS for event in events if isinstance(event, Depth) and not event.id]
        timed = [cell for cell in cells if cell]
        assert len(timed) == len(set(timed))
        quotes = [event for event in events if isinstance(event, Quote)]
        assert all(quote.bid_price < quote.ask_price for quote in quotes)


@settings(max_examples=100, deadline=None)
@given(log=histories(times=[-60_001, -3_600_000]))
def test_what_is_accepted_of_a_book_says_its_best_prices_whatever_was_refused(log):
    books = Books(Rules())
    known, best, taken, heard = set(), {}, {}, {}
    for fields in log:
        name = fields["instrument_id"]
        known = {name for name in known if heard[name] > fields["received"] - DAY_MS * MS}
        heard[name] = fields["received"]
        last_ns = fields["received"] + Rules().future_ns
        events = books.apply(read_change(change_of(fields)), fields["received"], 0)
        accepted = [event for event in events if event.event_time_ns <= last_ns]
        for event in accepted:
            if isinstance(event, Quote):
                best[name] = (event.bid_price, event.bid_size, event.ask_price, event.ask_size)
            elif event.bid_prices or event.ask_prices or event.id in {"", "snapshot"}:
                assert (event.id == "snapshot") is (name not in known)
                known.add(name)
            else:
                known.discard(name)
                best.pop(name, None)
        book = books.get(name)
        before, taken[name] = taken.get(name), books.counts[name, "change"] + books.counts[name, "snapshot"]
        # A snapshot may end with a change of the future that had waited for it.
        is_future = fields["event_time_ns"] > last_ns or accepted != events
        if book.standing == "known" and taken[name] != before and not is_future:
            assert name in known
            (bids, asks) = (side.best(1) for side in (book.bids, book.asks))
            if bids and asks:
                assert best[name] == (*bids[0], *asks[0])


def decode(value, source):
    fields = msgspec.json.decode(value)
    if not fields["ticker"]:
        return [change_of(fields)]
    quote = {"bid_price": 9.0, "bid_size": 1.0, "ask_price": 10.0, "ask_size": 1.0}
    return [Quote(instrument_id=fields["instrument_id"], venue="binance", event_time_ns=0, **quote)]


def run(log, restarts, flushes=7):
    """Return what is sent, with a new Normaliser from an encoded state after each record in `restarts`."""
    normaliser, outputs = Normaliser(RAW_EXCHANGE, 0, Rules(), 500, {"test": decode}), []
    for offset, fields in enumerate(log):
        headers = {"source": b"binance", "format": b"test", "receive_time_ns": b"%d" % fields["received"]}
        normaliser.feed(offset, None, msgspec.json.encode(fields), headers)
        if offset in restarts or offset % flushes == 0:
            outputs += normaliser.flush()
        if offset in restarts:
            state = normaliser.state().encode()
            normaliser = Normaliser(RAW_EXCHANGE, 0, Rules(), 500, {"test": decode})
            normaliser.restore(NormaliserState.decode(state))
            assert normaliser.state().encode() == state
    outputs += normaliser.flush()
    assert not normaliser.tally.dead_letters
    return content(
        (out.topic, out.partition, dict(out.headers), out.value) for out in outputs if out.topic == FEEDS[RAW_EXCHANGE]
    ), normaliser.state().encode()


@settings(max_examples=60, deadline=None)
@given(log=histories(["ticker"] * 3, [-60_001]), restarts=st.sets(st.integers(0, 30), max_size=4))
@mock.patch.object(waiting, "ALL_WAITING_LEVELS", ALL_WAITING)
def test_books_say_the_same_over_any_restarts(log, restarts):
    assert run(log, restarts) == run(log, set())
