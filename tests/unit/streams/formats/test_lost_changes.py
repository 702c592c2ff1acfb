"""A change of a recorded book that is lost on its way: the venue's own rules show it."""

import pytest

from schemas import TICKS
from streams.ingest.book import read_change
from streams.ingest.books import Books
from tests.unit.streams.formats.recorded import read


def joined(changes):
    """Return the books after changes of one instrument, and the events that were published."""
    books = Books(TICKS)
    events = []
    received = max(change.event_time_ns for change in changes)
    for change in changes:
        events += books.apply(read_change(change), received, received - 1)
    (book,) = books
    return book, books.counts, events


@pytest.mark.parametrize(
    ("name", "instrument_id", "problem"),
    [
        ("BITGET", "bitget:UNI-USDT-PERP", "checksum"),
        ("GATEIO", "gateio:OMG-USDT", "gap"),
        ("GATEIO_FUTURES", "gateio-futures:OMG-USDT-PERP", "gap"),
        ("KUCOIN", "kucoin:ANKR-BTC", "gap"),
        ("POLONIEX", "poloniex:BTC-USDT", "gap"),
    ],
)
def test_a_lost_change_ends_the_book_with_a_marker(captures, name, instrument_id, problem):
    changes = read(captures, name).events["book"][instrument_id]
    middle = len(changes) // 2
    book, counts, events = joined(changes)
    assert (book.standing, counts[instrument_id, problem]) == ("known", 0)
    book, counts, events = joined(changes[:middle] + changes[middle + 1 :])
    assert (book.standing, counts[instrument_id, problem]) == ("lost", 1)
    markers = [event.id for event in events if event.record == "depth" and not event.bid_prices]
    # The connection begins with changes that wait for their snapshot, at some venues.
    assert [why for why in markers if why != "missing"] == [problem]
    assert markers[-1] == problem


@pytest.mark.parametrize(
    ("name", "instrument_id"),
    [("GATEIO", "gateio:OMG-USDT"), ("KUCOIN", "kucoin:ANKR-BTC"), ("POLONIEX", "poloniex:BTC-USDT")],
)
def test_changes_that_come_twice_change_nothing(captures, name, instrument_id):
    changes = read(captures, name).events["book"][instrument_id]
    once, _, _ = joined(changes)
    twice, _, _ = joined([change for change in changes for _ in range(2)])
    assert twice.standing == "known"
    assert (twice.bids.best(10), twice.asks.best(10)) == (once.bids.best(10), once.asks.best(10))
