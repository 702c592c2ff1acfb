"""Recorded frames of a venue, read twice: by its format and the books, and plainly by the tests."""

import base64
import gzip
import importlib
import json
from collections import Counter, defaultdict
from decimal import Decimal
from functools import cache
from typing import NamedTuple

import zstandard

from schemas import TICKS, LeftOut
from schemas.topics import RAW_EXCHANGE
from streams.formats.book import BookChange
from streams.ingest.books import base_size
from streams.ingest.normaliser import Normaliser
from streams.sources.captures import find_captures


class Plain(NamedTuple):
    """What a venue sent, as JSON with decimals; `url` of a REST answer."""

    time: float
    url: str
    data: object


class Read(NamedTuple):
    """What the format and the books made of the same."""

    frames: int
    left_out: dict
    events: dict
    """Events by record and instrument."""
    tally: object
    books: object


@cache
def plain(folder, name):
    """Return all that a venue sent, in order."""
    path = folder / "ws_captures_cryptofeed" / f"{name}.jsonl.zst"
    text = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode()
    lines = [json.loads(line) for line in text.splitlines()]
    sent = sorted((line for line in lines if line["t"] in {"recv", "http"}), key=lambda line: line["ts"])
    return [Plain(line["ts"], line.get("url", ""), _decimals(line)) for line in sent]


def _decimals(line):
    packed = base64.b64decode(line.get("b64", ""))
    text = gzip.decompress(packed).decode() if packed.startswith(b"\x1f\x8b") else packed.decode() or line["data"]
    return json.loads(text, parse_float=Decimal)


@cache
def messages(folder, name):
    """Return a capture's messages as replay puts them."""
    return list(find_captures([folder / "ws_captures_cryptofeed" / f"{name}.jsonl.zst"]).messages())


@cache
def read(folder, name):
    """Return what ingest makes of a capture."""
    form = importlib.import_module(f"streams.formats.{name.lower().replace('.', '_')}")
    left_out, events = Counter(), defaultdict(lambda: defaultdict(list))
    normaliser = Normaliser(RAW_EXCHANGE, 0, TICKS, decoders={form.FORMAT: form.decode})
    found = messages(folder, name)
    for offset, message in enumerate(found):
        made = form.decode(message.value, message.source)
        if isinstance(made, LeftOut):
            left_out[made.kind] += 1
        else:
            for event in made:
                record = "book" if isinstance(event, BookChange) else event.record
                events[record][event.instrument_id].append(event)
        headers = {"source": message.source, "format": message.format, "receive_time_ns": message.receive_time_ns}
        normaliser.feed(
            offset, message.key, message.value, [(key, str(each).encode()) for key, each in headers.items()]
        )
    return Read(len(found), dict(left_out), events, normaliser.tally, normaliser.books)


def counts(found):
    """Return the number of events by record."""
    return {record: sum(map(len, by_name.values())) for record, by_name in found.events.items()}


def assert_all_is_accounted_for(found):
    tally = found.tally
    assert not tally.dead_letters
    assert tally.left_out == found.left_out
    assert tally.frames == found.frames == tally.decoded + tally.left_out.total()


def assert_trades_are(found, expected):
    """`expected`: instrument to (price, size, side) as decimals, in order."""
    assert found.events["trade"].keys() == expected.keys()
    for name, trades in found.events["trade"].items():
        assert len(trades) == len(expected[name])
        volume = sum(size for _, size, _ in expected[name])
        assert abs(Decimal(sum(trade.size for trade in trades)) / volume - 1) < Decimal("1e-12")
        assert [(trade.price, trade.side) for trade in trades] == [
            (float(price), side) for price, _, side in expected[name]
        ]


class PlainBook:
    """A book as plain as can be: prices to sizes as decimals."""

    def __init__(self):
        self.sides = {"bids": {}, "asks": {}}

    def load(self, bids, asks):
        self.sides = {"bids": {}, "asks": {}}
        self.update(bids, asks)

    def update(self, bids, asks):
        for side, levels in (("bids", bids), ("asks", asks)):
            for level in levels:
                price, size = Decimal(level[0]), Decimal(level[1])
                if size:
                    self.sides[side][price] = size
                else:
                    self.sides[side].pop(price, None)

    def best(self, count):
        bids, asks = (sorted(self.sides[side].items(), reverse=side == "bids") for side in ("bids", "asks"))
        return bids[:count], asks[:count]


def assert_books_are(found, expected, unit=None):
    """`expected`: instrument to PlainBook; `unit(instrument, price)`: base units of a size of one."""
    assert {book.instrument_id for book in found.books} == expected.keys()
    for book in found.books:
        name = book.instrument_id
        assert book.standing == "known", name
        for side, levels in zip((book.bids, book.asks), expected[name].best(10), strict=True):
            made = [(price, base_size(book, size, price)) for price, size in side.best(10)]
            factors = [Decimal(1) if unit is None else unit(name, price) for price, _ in levels]
            wanted = [
                (float(price), float(size * factor)) for (price, size), factor in zip(levels, factors, strict=True)
            ]
            assert [price for price, _ in made] == [price for price, _ in wanted], name
            assert all(abs(one[1] / other[1] - 1) < 1e-12 for one, other in zip(made, wanted, strict=True)), name
