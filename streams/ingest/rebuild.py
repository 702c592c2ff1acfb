"""All books of recorded messages, rebuilt as ingest builds them and held against the venue's own best quotes."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

import msgspec

from schemas import DecodeError, LeftOut, Quote, Rules
from streams.formats import formats
from streams.formats.binance_symbols import MARKETS
from streams.formats.book import BookChange
from streams.ingest.book import Book, Standing, read_change
from streams.ingest.books import Books, base_size
from streams.sources import RawMessage

NUMBERED_ALIKE = frozenset(MARKETS)
"""Venues whose tickers bear the update id of the book that they are of."""
_REMEMBERED = 20_000
"""Tickers and best levels of an instrument that wait for their counterpart: minutes of any stream."""

_Best = tuple[float, float, float, float]


class Account(msgspec.Struct, kw_only=True):
    """What became of the depth frames of one instrument, and how its best levels compare.

    frames = snapshots + changes + repeats + waiting + not_used + gaps + resets + checksums + crossed + ranges.
    """

    venue: str
    instrument_id: str
    frames: int = 0
    """Changes and snapshots of its book, each with an instrument of its own in a frame."""
    snapshots: int = 0
    changes: int = 0
    repeats: int = 0
    waiting: int = 0
    """Changes that came while no book was known; a snapshot takes in those that join it."""
    not_used: int = 0
    """Snapshots that were too old, or too short, to be of use."""
    gaps: int = 0
    resets: int = 0
    checksums: int = 0
    crossed: int = 0
    ranges: int = 0
    depths: int = 0
    """Depth events, markers not counted."""
    standing: Standing = "unknown"
    """What was known of the book after its last frame; later it may be forgotten."""
    comparable: int = 0
    """Tickers at whose update id the book stood."""
    equal: int = 0
    different: int = 0


class Rebuilt(msgspec.Struct):
    """The books of some messages, by instrument, and the frames that nobody could read, by venue."""

    accounts: list[Account]
    unreadable: dict[str, int]


def rebuild(messages: Iterable[RawMessage], rules: Rules) -> Rebuilt:
    """Return the account of each book in `messages`, which are in the order of receive time."""
    books, decoders, comparison = Books(rules), formats(), _Comparison()
    accounts: dict[tuple[str, str], Account] = {}
    unreadable: Counter[str] = Counter()
    received_ns = 0
    for message in messages:
        received_ns = max(received_ns, message.receive_time_ns)
        try:
            decoded = decoders[message.format](message.value, message.source)
            read = [] if isinstance(decoded, LeftOut) else decoded
            changes = [read_change(each) for each in read if isinstance(each, BookChange)]
        except DecodeError:
            unreadable[message.source] += 1
            continue
        for change in changes:
            books.apply(change, received_ns, 0)
            venue, name = change.change.venue, change.change.instrument_id
            account = accounts.setdefault((venue, name), Account(venue=venue, instrument_id=name))
            account.frames += 1
            book = books.get(name)
            if book is not None:
                account.standing = book.standing
                comparison.take_book(book)
        for each in read:
            if isinstance(each, Quote):
                books.hear_ticker(each.instrument_id, received_ns)
                comparison.take_ticker(each)
    for account in accounts.values():
        _count(account, books, comparison)
    return Rebuilt([account for _, account in sorted(accounts.items())], dict(unreadable))


class _Comparison:
    """Best levels at update ids: what the book says against what the ticker says."""

    def __init__(self) -> None:
        self._books: dict[str, dict[int, _Best]] = {}
        self._tickers: dict[str, dict[int, _Best]] = {}
        self.counts: Counter[tuple[str, bool]] = Counter()
        """How many were compared, by instrument and whether they were equal."""

    def take_book(self, book: Book) -> None:
        """Take the best levels of a book at the update id that it stands at."""
        if book.venue not in NUMBERED_ALIKE or book.standing != "known":
            return
        bids, asks = book.bids.best(1), book.asks.best(1)
        if bids and asks:
            (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
            best = (bid, base_size(book, bid_size, bid), ask, base_size(book, ask_size, ask))
            self._meet(book.instrument_id, book.last, best, self._books, self._tickers)

    def take_ticker(self, quote: Quote) -> None:
        """Take what the venue says of the best levels at an update id."""
        if quote.venue in NUMBERED_ALIKE and quote.sequence >= 0:
            best = (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)
            self._meet(quote.instrument_id, quote.sequence, best, self._tickers, self._books)

    def _meet(
        self,
        instrument_id: str,
        update: int,
        best: _Best,
        mine: dict[str, dict[int, _Best]],
        others: dict[str, dict[int, _Best]],
    ) -> None:
        """Compare with the other stream where it has said its word on `update`, or wait for it."""
        said = mine.setdefault(instrument_id, {})
        if update in said:
            return
        said[update] = best
        if len(said) > _REMEMBERED:
            for old in list(islice(said, _REMEMBERED // 2)):
                del said[old]
        other = others.get(instrument_id, {}).get(update)
        if other is not None:
            self.counts[instrument_id, best == other] += 1


_OUTCOMES = {
    "snapshots": "snapshot",
    "changes": "change",
    "repeats": "repeat",
    "waiting": "waiting",
    "not_used": "not-used",
    "gaps": "gap",
    "resets": "reset",
    "checksums": "checksum",
    "crossed": "crossed",
    "ranges": "range",
    "depths": "depth",
}


def _count(account: Account, books: Books, comparison: _Comparison) -> None:
    """Put the counts of the books and of the comparison into an account."""
    name = account.instrument_id
    for field, outcome in _OUTCOMES.items():
        setattr(account, field, books.counts[name, outcome])
    account.equal, account.different = comparison.counts[name, True], comparison.counts[name, False]
    account.comparable = account.equal + account.different
