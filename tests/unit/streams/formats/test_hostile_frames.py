"""Recorded frames of venues, cut, flipped, and with strange values in every place: an answer or a DecodeError."""

import importlib
import json
import math
import random
import re

import msgspec
import pytest

from schemas import DecodeError, Event, LeftOut
from streams.formats.book import BookChange
from streams.formats.gzipped import unpacked
from streams.ingest.book import read_change
from tests.unit.streams.formats.recorded import messages

VENUES = (
    *("BITGET", "BITHUMB", "GATEIO", "GATEIO_FUTURES", "HUOBI"),
    *("HUOBI_SWAP", "KUCOIN", "PHEMEX", "POLONIEX", "UPBIT"),
    *("BITFINEX", "BITFLYER", "BITSTAMP", "BYBIT", "COINBASE", "CRYPTO.COM", "DERIBIT", "GEMINI"),
    *("INDEPENDENT_RESERVE", "KRAKEN", "KRAKEN_FUTURES", "OKX"),
)
MOST_FRAMES = 2_000
"""As many frames of a venue are damaged, spread over its recording."""
STRANGE = (None, True, -1, 0, 2**63, 10**400, 1e308, 5e-324, "0", "1e999", "NaN", "", "\x00", [], [[]], {})
MOST_KINDS = 40
MOST_BYTES = 4_000
"""Longer frames are damaged in their first levels as well, and cost more time than they show."""


def answers(form, value):
    """Return what a format says, after a look at whether it can be sent."""
    try:
        made = form.decode(value, form.FORMAT.removesuffix("-websocket"))
    except DecodeError:
        return None
    if not isinstance(made, LeftOut):
        assert made
        for each in made:
            assert_is_sound(each)
    return made


def assert_is_sound(made):
    assert isinstance(made, Event | BookChange)
    assert 0 <= made.event_time_ns < 2**63
    assert -1 <= (made.last if isinstance(made, BookChange) else made.sequence) < 2**63
    if isinstance(made, BookChange):
        try:
            reading = read_change(made)
        except DecodeError:  # a text without a number above 0: the record goes to the dead letters
            return
        assert all(price > 0 <= size < math.inf for levels in (reading.bids, reading.asks) for price, size in levels)
        return
    for field, number in msgspec.structs.asdict(made).items():
        if field in {"price", "open", "high", "low", "close", "bid_price", "ask_price"}:
            assert 0 < number < math.inf
        if field in {"size", "volume", "bid_size", "ask_size"}:
            assert math.isnan(number) or 0 <= number < math.inf


def frames(captures, name):
    """Return the form, and the frames of a capture as they are before packing."""
    form = importlib.import_module(f"streams.formats.{name.lower().replace('.', '_')}")
    return form, [unpacked(message.value) for message in messages(captures, name)]


@pytest.mark.parametrize("name", VENUES)
def test_damaged_frames(captures, name):
    form, found = frames(captures, name)
    chance = random.Random(name)
    for value in found[:: 1 + len(found) // MOST_FRAMES]:
        short = value[:MOST_BYTES] if len(value) > 50 * MOST_BYTES else value
        place = chance.randrange(min(len(short), MOST_BYTES))
        answers(form, short[:place])
        answers(form, short[:place] + bytes([short[place] ^ 1 << chance.randrange(8)]) + short[place + 1 :])


@pytest.mark.parametrize("name", VENUES)
def test_packed_frames_that_are_damaged(captures, name):
    if not name.startswith("HUOBI"):
        return
    form = importlib.import_module(f"streams.formats.{name.lower()}")
    chance = random.Random(name)
    for message in messages(captures, name)[:400]:
        place = chance.randrange(len(message.value))
        answers(form, message.value[:place])
        answers(form, message.value[:place] + bytes([chance.randrange(256)]) + message.value[place + 1 :])


def kind_of(value):
    """Return what tells kinds of frames apart: their keys, and the words in them and one level below."""
    keys = sorted(value) if isinstance(value, dict) else [len(value)] if isinstance(value, list) else []
    top = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    texts = [*top, *(each for inner in top if isinstance(inner, dict) for each in inner.values())]
    words = [re.match(r"[a-z_]*", each)[0] for each in texts if isinstance(each, str) and len(each) < 50]
    return (*keys, *(word for word in words if word and word != "https"))


def shortened(value):
    """Return a JSON value with the first six of each list."""
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    return [shortened(item) for item in value[:6]] if isinstance(value, list) else value


def paths(value, path=()):
    """Yield places in a JSON value, the first four of each list."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from paths(item, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("name", VENUES)
def test_strange_values_in_every_place(captures, name):
    form, found = frames(captures, name)
    kinds = {}
    for value in found:
        if len(value) < 20 * MOST_BYTES:
            parsed = json.loads(value)
            kinds.setdefault(kind_of(parsed), shortened(parsed))
    read = 0
    for frame in list(kinds.values())[:MOST_KINDS]:
        for path in list(paths(frame))[:40]:
            for strange in STRANGE:
                read += answers(form, json.dumps(replaced(frame, path, strange)).encode()) is not None
    assert read
