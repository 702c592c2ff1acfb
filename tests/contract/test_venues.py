"""The recordings of all venues, replayed: each message is accounted for, and the document names what is not read."""

import re
import sys
from collections import Counter
from functools import cache

import pytest

from deploy.cache import CHECKOUT
from schemas import TICKS, LeftOut
from schemas.topics import RAW_EXCHANGE
from streams.formats import formats
from streams.formats.book import BookChange
from streams.ingest.book import read_change
from streams.ingest.books import Books
from streams.ingest.normaliser import Normaliser
from streams.sources.captures import find_captures
from tests.unit.streams.formats.recorded import PlainBook

DOCUMENT = CHECKOUT / "deploy" / "docs" / "venues.md"
PROBLEMS = {"gap", "checksum", "crossed", "range"}
NO_BOOKS = {"bitfinex", "bithumb", "independent-reserve"}
"""Venues of which the document says why no book can be made."""


@cache
def replayed(folder):
    """Return by venue what ingest made of its recording: the tally, and what became of its books."""
    found = {}
    for capture in find_captures([folder / "ws_captures_cryptofeed"]).files:
        normaliser = Normaliser(RAW_EXCHANGE, 0, TICKS)
        for offset, message in enumerate(capture.read()):
            normaliser.feed(offset, message.key, message.value, message.headers())
            normaliser.ready()
        normaliser.flush()
        found[capture.source] = (normaliser.tally, normaliser.books)
    return found


@cache
def document():
    """Return what the document names: the kinds of every venue, and by venue (its cells, its kinds)."""
    of_all, rows = set(), {}
    venues = ()
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 2:
            of_all.update(re.findall(r"`([^`]+)`", cells[0]))
        elif len(cells) == 4 and cells[0] != "venue" and not cells[0].startswith("---"):
            venues = cells[0].split(", ") if cells[0] else venues
            for venue in venues:
                rows.setdefault(venue, ([], set()))[0].append(cells)
                rows[venue][1].update(re.findall(r"`([^`]+)`", cells[2]))
    return of_all, rows


def account(found):
    """Return a table of what became of the messages of each venue."""
    lines = [f"{'venue':20} {'messages':>8}  decoded into | left out | dead letters"]
    for venue, (tally, _) in found.items():
        parts = [
            ", ".join(f"{number} {name}" for name, number in each.items()) or "-"
            for each in (tally.events, tally.left_out)
        ]
        lines.append(f"{venue:20} {tally.frames:8}  {' | '.join(parts)} | {tally.dead_letters.total()}")
    return "\n".join(["", *lines, ""])


def test_every_recorded_message_is_accounted_for(captures, capsys):
    found = replayed(captures)
    with capsys.disabled():
        sys.stdout.write(account(found))
    assert len(found) == 26
    assert sum(tally.frames for tally, _ in found.values()) == 44_519
    for venue, (tally, _) in found.items():
        assert not tally.dead_letters, venue
        assert tally.frames == tally.decoded + tally.left_out.total(), venue


def test_whatever_occurs_and_is_not_read_is_in_the_document_with_its_reason(captures):
    of_all, rows = document()
    missing = {
        (venue, kind)
        for venue, (tally, _) in replayed(captures).items()
        for kind in tally.left_out
        if kind not in of_all | rows[venue][1]
    }
    assert not missing
    assert all(cells[1] or not cells[0] for each, _ in rows.values() for cells in each)
    assert all(cells[3] for each, _ in rows.values() for cells in each if cells[2])


def test_every_venue_of_a_format_is_in_the_document(captures):
    _, rows = document()
    native = {name.removesuffix("-websocket") for name in formats() if name.endswith("-websocket")}
    assert native | replayed(captures).keys() == rows.keys()


def test_every_kind_in_the_document_is_one_that_a_format_knows():
    of_all, rows = document()
    sources = "".join(path.read_text() for path in (CHECKOUT / "streams").rglob("*.py"))
    kinds = of_all.union(*(kinds for _, kinds in rows.values()))
    assert not {kind for kind in kinds if not re.search(rf"\b{re.escape(kind)}\b", sources)}


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_no_recorded_book_is_damaged(captures, problem):
    counts = Counter()
    for venue, (_, books) in replayed(captures).items():
        counts[venue] += sum(number for (_, what), number in books.counts.items() if what == problem)
    assert not +counts


def test_every_venue_with_books_has_them(captures):
    without = {venue for venue, (_, books) in replayed(captures).items() if not list(books)}
    assert without == NO_BOOKS
    for venue, (_, books) in replayed(captures).items():
        standing = Counter(book.standing for book in books)
        assert standing["known"] >= sum(standing.values()) - 1, venue


def busiest_book(folder, name):
    """Return the changes of the instrument whose book changes most, with their receive times."""
    found = {}
    for message in find_captures([folder / "ws_captures_cryptofeed" / f"{name}.jsonl.zst"]).messages():
        made = formats()[message.format](message.value, message.source)
        for change in () if isinstance(made, LeftOut) else made:
            if isinstance(change, BookChange):
                found.setdefault(change.instrument_id, []).append((change, message.receive_time_ns))
    return max(found.values(), key=len)


def a_change_that_counts(changes):
    """Return the place of a change of the ten best levels that the one behind it does not undo."""
    book = PlainBook()
    for place, (change, _) in enumerate(changes[:-1]):
        before = book.best(10)
        (book.load if change.snapshot else book.update)(change.bids, change.asks)
        prices = {float(price) for price, _ in (*change.bids, *change.asks)}
        behind = {float(price) for price, _ in (*changes[place + 1][0].bids, *changes[place + 1][0].asks)}
        if place > 3 and before != book.best(10) and not prices & behind:
            return place
    raise AssertionError("no such change")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *[("KRAKEN", "checksum"), ("OKX", "checksum"), ("KRAKEN_FUTURES", "gap")],
        *[("BYBIT", "gap"), ("DERIBIT", "gap"), ("KUCOIN", "gap"), ("GATEIO_FUTURES", "gap"), ("POLONIEX", "gap")],
    ],
)
def test_a_lost_frame_is_told_by_the_one_behind_it(captures, name, problem):
    changes = busiest_book(captures, name)
    lost = a_change_that_counts(changes) if problem == "checksum" else len(changes) - 2
    books = Books(TICKS)
    for place, (change, received_ns) in enumerate(changes[: lost + 2]):
        if place != lost:
            books.apply(read_change(change), received_ns, 0)
    (book,) = books
    assert book.standing == "lost"
    assert books.counts[book.instrument_id, problem] == 1
