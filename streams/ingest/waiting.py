"""Changes that wait for the snapshots of their books: each for a while, and no more than fit. Pure."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count

from streams.ingest.book import Book, Reading, without_texts

WAITING_NS = 60_000_000_000
"""Changes that wait longer are dropped: whoever asks for a snapshot has it by then."""
WAITING_LEVELS = 20_000
"""Levels of changes that a book without a snapshot keeps: 15 s of the busiest recorded book."""
ALL_WAITING_LEVELS = 500_000
"""The same over all books of a raw partition: 8 MB in a checkpoint."""


class Waiting:
    """What waits in all books of one raw partition, which share one budget.

    A change that was heard at R - `WAITING_NS` or before, R being the greatest receive time so far, does
    not wait any more, whether its book was heard since or not: what the budget leaves to others follows
    from the records alone, and no book that fell silent keeps it.
    """

    def __init__(self, books: Iterable[Book] = ()) -> None:
        self._levels = 0
        self._numbers = count()
        """Tell books apart that began to wait at the same time."""
        self._queue: list[tuple[int, int, Book]] = []
        """A heap of the books with what waits, each by a time that is not after its first change."""
        self._queued: set[Book] = set()
        for book in books:
            if book.waiting:
                self._levels += book.waiting_levels
                self._queued.add(book)
                self._queue.append((book.waiting[0].heard_ns, next(self._numbers), book))
        heapify(self._queue)

    def expire(self, received_ns: int) -> None:
        """Drop what has waited too long at R."""
        oldest_ns = received_ns - WAITING_NS
        while self._queue and self._queue[0][0] <= oldest_ns:
            _, _, book = heappop(self._queue)
            while book.waiting and book.waiting[0].heard_ns <= oldest_ns:
                self._drop_first(book)
            self._queued.remove(book)
            self._enqueue(book)

    def keep(self, book: Book, reading: Reading) -> None:
        """Let a change of a book wait; the first ones of the same book make room for it."""
        book.waiting.append(without_texts(reading, book.heard_ns))
        book.waiting_levels += reading.size
        self._levels += reading.size
        while book.waiting_levels > WAITING_LEVELS or (book.waiting and self._levels > ALL_WAITING_LEVELS):
            self._drop_first(book)
        self._enqueue(book)

    def drop(self, book: Book) -> None:
        """Forget all that waits in a book."""
        self._levels -= book.waiting_levels
        book.waiting.clear()
        book.waiting_levels = 0

    def _drop_first(self, book: Book) -> None:
        size = book.waiting.popleft().size
        book.waiting_levels -= size
        self._levels -= size

    def _enqueue(self, book: Book) -> None:
        if book.waiting and book not in self._queued:
            self._queued.add(book)
            heappush(self._queue, (book.waiting[0].heard_ns, next(self._numbers), book))
