"""All books of one raw partition: changes in, Depth and Quote events out. Pure.

A book is known from its first good snapshot on. A gap, a failed checksum, a crossed book or a move to
prices of which nothing is known ends that: one Depth without levels says so (the marker), and nothing
more is said of the book until the next good snapshot. So does the first change without a snapshot.

What is kept follows from the records alone, so that a restart anywhere decides nothing anew: at the
greatest receive time R a book that was heard `never_ns` ago or before is forgotten, whoever is heard.

A change with a time that is further ahead of R than is believed has its levels and ids taken, or those
that follow would show a gap. Its events say its time and are refused, so they count as not said, and no
decision is by that time.

Binance, "How to manage a local order book correctly":
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from operator import attrgetter, itemgetter

from schemas import Depth, Event, Quote, Rules
from streams.formats.book import BookChange
from streams.ingest.book import Book, Problem, Reading, chains, follows
from streams.ingest.book_state import BookState, pack, unpack
from streams.ingest.waiting import Waiting

DEPTH_LEVELS = 10
"""Levels of each side in a Depth event."""
GRID_NS = 250_000_000
"""A Depth is published for the first change in each cell of so much event time. Four a second tell what
a second's tile averages from what it ended with; each change (20 a second at Binance) would be five
times the events for features of windows from 1 minute."""
RESET_NS = 10_000_000_000
"""An older id so much later than the book is no repeat: the venue counts anew."""

OUTCOMES = ("snapshot", "change", "repeat", "waiting", "not-used")
"""What may become of a change that finds nothing wrong: taken as a whole book or as a change of one,
known before, kept for the snapshot to come, or a snapshot that is too old or too short to be of use."""


class Books:
    """The books of one raw partition, in its offset order."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._books: OrderedDict[str, Book] = OrderedDict()
        self._tickers: OrderedDict[str, int] = OrderedDict()
        """When each was heard last. Tickers as books: who is forgotten next stands first."""
        self._waiting = Waiting()
        self.counts: Counter[tuple[str, str]] = Counter()
        """By instrument: changes by outcome, changes by the Problem that they showed, depth and quote
        events, refused ones too. Whoever reads it may put another in its place."""

    def __iter__(self) -> Iterator[Book]:
        """Iterate over the books."""
        return iter(self._books.values())

    def get(self, instrument_id: str) -> Book | None:
        """Return the book of an instrument, None where nothing was heard of it."""
        return self._books.get(instrument_id)

    def hear_ticker(self, instrument_id: str, received_ns: int) -> None:
        """Note that the venue sends best quotes of its own: the book need not."""
        self._forget(received_ns)
        self._tickers[instrument_id] = received_ns
        self._tickers.move_to_end(instrument_id)

    def apply(self, reading: Reading, received_ns: int, watermark_ns: int) -> list[Event]:
        """Return the events of a change. `received_ns`: the greatest receive time so far (R)."""
        self._forget(received_ns)
        name = reading.change.instrument_id
        known = self._books.get(name)
        book = known or self._books.setdefault(name, Book(name, reading.change.venue))
        self._books.move_to_end(name)
        book.heard_ns = received_ns
        events = self._take(book, reading, watermark_ns)
        if known is None and book.standing == "unknown":
            return [self._marker(book, reading.change, "missing", watermark_ns)]
        return events

    def _take(self, book: Book, reading: Reading, watermark_ns: int) -> list[Event]:
        change = reading.change
        if change.snapshot:
            return self._load(book, reading, watermark_ns)
        if book.standing != "known":
            return self._count(book, self._wait(book, reading))
        time_ns = self._believed(book, change.event_time_ns)
        if book.is_repeat(change, time_ns):
            later = 0 < book.time_ns < time_ns - RESET_NS
            counts_anew = change.last < book.last and later
            return self._lose(book, change, "reset", watermark_ns) if counts_anew else self._count(book, "repeat")
        if not book.joins(change):
            marker = self._lose(book, change, "gap", watermark_ns)
            self._wait(book, reading)
            return marker
        book.apply(reading)
        problem = book.problem(change)
        if problem is not None:
            return self._lose(book, change, problem, watermark_ns)
        self._count(book, "change")
        return self._publish(book, change.event_time_ns)

    def _forget(self, received_ns: int) -> None:
        """Drop what R makes too old: changes that wait, books, and tickers, which decide nothing any more."""
        self._waiting.expire(received_ns)
        while self._books:
            book = next(iter(self._books.values()))
            if book.heard_ns > received_ns - self._rules.never_ns:
                break
            self._waiting.drop(book)
            del self._books[book.instrument_id]
        while self._tickers and next(iter(self._tickers.values())) <= received_ns - self._rules.listing_ns:
            self._tickers.popitem(last=False)

    def _count(self, book: Book, what: str) -> list[Event]:
        self.counts[book.instrument_id, what] += 1
        return []

    # Snapshots.

    def _load(self, book: Book, reading: Reading, watermark_ns: int) -> list[Event]:
        change = reading.change
        was_known = book.standing == "known"
        if was_known and book.is_repeat(change, self._believed(book, change.event_time_ns)):
            return self._count(book, "repeat")
        if was_known and _is_shallower(book, change):
            return self._count(book, "not-used")
        later = [] if change.last == -1 else [held for held in book.waiting if held.change.last > change.last]
        if later and not follows(later[0].change, change.last):
            return self._count(book, "not-used")  # older than the first change that waits
        self._waiting.drop(book)
        book.load(reading)
        last = change
        for held in later:
            book.apply(held)
            last = held.change
        problem = book.problem(last)
        if problem is not None:
            return self._lose(book, last, problem, watermark_ns)
        self._count(book, "snapshot")
        book.chained = book.chained and was_known
        book.standing = "known"
        if not was_known:
            book.cell = -1
        return self._publish(book, last.event_time_ns)

    # Changes that wait for a snapshot.

    def _wait(self, book: Book, reading: Reading) -> str:
        """Keep a change for the snapshot to come, where ids say how they join; return what became of it."""
        change = reading.change
        if change.last == -1 or change.check is not None:
            # Without ids they cannot be joined; venues with checksums send snapshots in their order.
            return "waiting"
        if book.waiting:
            newest = book.waiting[-1].change
            if change.last <= newest.last:
                return "repeat"
            if not chains(change, newest.last):
                self._waiting.drop(book)  # no snapshot can bridge what is missing
        self._waiting.keep(book, reading)
        return "waiting"

    # Events.

    def _lose(self, book: Book, change: BookChange, problem: Problem, watermark_ns: int) -> list[Event]:
        """Return the marker of a book that is not known any more, nothing where that was said before."""
        self.counts[book.instrument_id, problem] += 1
        was_known = book.standing == "known"
        book.clear()
        self._waiting.drop(book)
        if not was_known:
            return []
        book.standing = "lost"
        return [self._marker(book, change, problem, watermark_ns)]

    def _marker(self, book: Book, change: BookChange, why: str, watermark_ns: int) -> Depth:
        """Return the Depth that says that a book is not known."""
        time_ns = self._settled(book, change.event_time_ns)
        if time_ns:
            # Never late, and before whatever the next snapshot says.
            time_ns = max(time_ns, watermark_ns)
            book.time_ns = time_ns + 1
        return Depth(
            instrument_id=book.instrument_id,
            venue=book.venue,
            event_time_ns=time_ns,
            sequence=change.last,
            id=why,
            bid_prices=[],
            bid_sizes=[],
            ask_prices=[],
            ask_sizes=[],
        )

    def _believed(self, book: Book, event_time_ns: int) -> int:
        """Return the event time of the last change of a book, 0 where it is too far in the future."""
        return event_time_ns if event_time_ns <= book.heard_ns + self._rules.future_ns else 0

    def _settled(self, book: Book, event_time_ns: int) -> int:
        """Return the event time of a book after a change: it never falls back, 0 where none was heard."""
        book.time_ns = max(book.time_ns, self._believed(book, event_time_ns))
        return book.time_ns

    def _publish(self, book: Book, event_time_ns: int) -> list[Event]:
        """Return what a change of a known book says."""
        if event_time_ns == self._believed(book, event_time_ns):
            return self._news(book, self._settled(book, event_time_ns))
        told = book.cell, book.quoted
        refused = self._news(book, event_time_ns)
        book.cell, book.quoted = told
        return refused

    def _news(self, book: Book, time_ns: int) -> list[Event]:
        """Return what was not said of a book yet, and take it as said."""
        events: list[Event] = []
        cell = (time_ns or book.heard_ns) // GRID_NS
        if cell != book.cell:
            events.append(_depth(book, time_ns, "snapshot" if book.cell == -1 else ""))
            self.counts[book.instrument_id, "depth"] += 1
            book.cell = cell
        quote = self._changed_quote(book, time_ns)
        if quote is not None:
            events.append(quote)
            self.counts[book.instrument_id, "quote"] += 1
        return events

    def _changed_quote(self, book: Book, time_ns: int) -> Quote | None:
        """Return the best bid and ask where they changed and no ticker says them."""
        bids, asks = book.bids, book.asks
        if not (bids.keys and asks.keys):
            return None
        bid, ask = bids.keys[-1], -asks.keys[-1]
        best = (bid, bids.sizes[bid], ask, asks.sizes[ask])
        if best == book.quoted:
            return None
        book.quoted = best
        if self._tickers.get(book.instrument_id, -1) > book.heard_ns - self._rules.listing_ns:
            return None
        return Quote(
            instrument_id=book.instrument_id,
            venue=book.venue,
            event_time_ns=time_ns,
            sequence=book.last,
            bid_price=best[0],
            bid_size=base_size(book, best[1], best[0]),
            ask_price=best[2],
            ask_size=base_size(book, best[3], best[2]),
        )

    # Checkpoints.

    def state(self, received_ns: int) -> tuple[list[BookState], dict[str, int]]:
        """Return all books, and when tickers were heard, as of R."""
        self._forget(received_ns)
        books = sorted(self._books.values(), key=attrgetter("instrument_id"))
        # Where tickers come by columns, some of one stretch may stand behind younger ones.
        oldest_ns = received_ns - self._rules.listing_ns
        tickers = {name: heard_ns for name, heard_ns in sorted(self._tickers.items()) if heard_ns > oldest_ns}
        return [pack(book) for book in books], tickers

    def restore(self, states: Iterable[BookState], tickers: dict[str, int]) -> None:
        """Go on from a state; raises StateError where it cannot be read."""
        books = sorted((unpack(state) for state in states), key=attrgetter("heard_ns"))
        self._books = OrderedDict((book.instrument_id, book) for book in books)
        self._waiting = Waiting(books)
        self._tickers = OrderedDict(sorted(tickers.items(), key=itemgetter(1)))


def base_size(book: Book, size: float, price: float) -> float:
    """Return a size of a book in base units."""
    if book.contract_usd:
        return size * book.contract_usd / price
    return size * book.size_unit


def _depth(book: Book, time_ns: int, identity: str) -> Depth:
    bids, asks = book.bids.best(DEPTH_LEVELS), book.asks.best(DEPTH_LEVELS)
    return Depth(
        instrument_id=book.instrument_id,
        venue=book.venue,
        event_time_ns=time_ns,
        sequence=book.last,
        id=identity,
        bid_prices=[price for price, _ in bids],
        bid_sizes=[base_size(book, size, price) for price, size in bids],
        ask_prices=[price for price, _ in asks],
        ask_sizes=[base_size(book, size, price) for price, size in asks],
    )


def _is_shallower(book: Book, change: BookChange) -> bool:
    """Return whether a snapshot holds less than a book that its changes keep up."""
    return book.chained and change.limit > 0 and (book.limit == 0 or change.limit < book.limit)
