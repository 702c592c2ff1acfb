"""Metrics of ingest, brought up to date from what the Normalisers counted."""

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import get_args

from schemas.metrics import (
    BOOK_CHANGES,
    BOOK_GAPS,
    BOOKS,
    DEAD_LETTERS,
    EVENT_TIME_LAG,
    EVENTS_RECEIVED,
    FRAMES,
    LATE_EVENTS,
    SOURCE_LAST_EVENT,
    VENUE_CLOCK_AHEAD,
    WATERMARK,
)
from schemas.topics import FEEDS, RAW_EXCHANGE
from streams.ingest.book import Problem, Standing
from streams.ingest.books import OUTCOMES, Books
from streams.ingest.normaliser import STAGE, Normaliser, Tally
from streams.lag import Lag
from streams.metrics_server import Metrics

_MAX_VENUES = 100
"""Venues with a label of their own: hostile records may name any number of them."""


class Meters:
    """Adds what is new in a Normaliser's counts to the process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lag = Lag(metrics)
        self._venues: set[str] = set()
        self._books: dict[str, set[tuple[str, str]]] = {}
        self._heard: dict[tuple[str, int], set[str]] = {}
        """Venues by raw partition."""

    def update(self, topic: str, partition: int, normaliser: Normaliser, high_offset: int | None) -> None:
        """Report one raw partition. `high_offset`: that of its next record, None where it is not known."""
        tally, normaliser.tally = normaliser.tally, Tally()
        self._count(topic, tally)
        if topic == RAW_EXCHANGE:
            self._count_books(f"{topic}/{partition}", normaliser.books, normaliser.venue_times())
        metrics = self._metrics
        place = (topic, str(partition))
        metrics[WATERMARK].labels(STAGE, "/".join(place)).set(normaliser.watermark_ns / 1e9)
        if high_offset is not None:
            self._lag.tell((topic, partition), normaliser.next_offset, high_offset)
        if tally.last_event_time_ns:
            lag_ns = tally.last_receive_time_ns - tally.last_event_time_ns
            metrics[EVENT_TIME_LAG].labels(topic).set(lag_ns / 1e9)
            metrics[VENUE_CLOCK_AHEAD].labels(self._venue(tally.last_venue)).set(-lag_ns / 1e9)
        times = normaliser.venue_times()
        self._heard[topic, partition] = {self._venue(venue) for venue in times}
        for venue, time_ns in times.items():
            metrics[SOURCE_LAST_EVENT].labels(self._venue(venue), topic).set(time_ns / 1e9)

    def forget(self, topic: str, partition: int) -> None:
        """Report nothing more of a raw partition that another process has now."""
        self._lag.forget((topic, partition))
        self._metrics.forget(WATERMARK, STAGE, f"{topic}/{partition}")
        for venue, standing in self._books.pop(f"{topic}/{partition}", ()):
            self._metrics.forget(BOOKS, venue, standing, f"{topic}/{partition}")
        self._forget_venues(topic, self._heard.pop((topic, partition), set()))

    def _forget_venues(self, topic: str, gone: set[str]) -> None:
        """Tell nothing more of venues that no other raw partition of this process hears."""
        elsewhere = set[str]().union(*self._heard.values())
        beside = [heard for (name, _), heard in self._heard.items() if name == topic]
        for venue in gone - elsewhere:
            self._metrics.forget(VENUE_CLOCK_AHEAD, venue)
        for venue in gone - set[str]().union(*beside):
            self._metrics.forget(SOURCE_LAST_EVENT, venue, topic)
        if not beside:
            self._metrics.forget(EVENT_TIME_LAG, topic)

    def _count(self, topic: str, tally: Tally) -> None:
        outcomes = {f"left-out:{kind}": count for kind, count in tally.left_out.items()}
        outcomes |= {
            "decoded": tally.decoded,
            "heartbeat": tally.heartbeats,
            "dead-letter": tally.dead_letters.total(),
        }
        for outcome, count in outcomes.items():
            self._metrics[FRAMES].labels(topic, outcome).inc(count)
        for reason, count in tally.dead_letters.items():
            self._metrics[DEAD_LETTERS].labels(STAGE, reason).inc(count)
        for (venue, why), count in tally.late.items():
            self._metrics[LATE_EVENTS].labels(self._venue(venue), why).inc(count)
        self._metrics[EVENTS_RECEIVED].labels(FEEDS[topic]).inc(tally.events.total())

    def _count_books(self, partition: str, books: Books, heard: Iterable[str]) -> None:
        """Count what became of books; of a venue that is heard and has none, that it has none."""
        counts, books.counts = books.counts, Counter()
        for (instrument_id, what), count in counts.items():
            venue = self._venue(instrument_id.partition(":")[0])
            if what in OUTCOMES:
                self._metrics[BOOK_CHANGES].labels(venue, what).inc(count)
            elif what in get_args(Problem):
                self._metrics[BOOK_GAPS].labels(venue, what).inc(count)
        standings = Counter((self._venue(book.venue), book.standing) for book in books)
        venues = {self._venue(name) for name in heard} | {venue for venue, _ in standings}
        for venue, outcome in product(venues, OUTCOMES):
            self._metrics[BOOK_CHANGES].labels(venue, outcome)
        venues |= {venue for venue, _ in self._books.get(partition, ())}
        said = {(venue, standing) for venue in venues for standing in get_args(Standing)}
        for venue, standing in said:
            self._metrics[BOOKS].labels(venue, standing, partition).set(standings[venue, standing])
        self._books[partition] = said

    def _venue(self, name: str) -> str:
        if name not in self._venues and len(self._venues) >= _MAX_VENUES:
            return "other"
        self._venues.add(name)
        return name
