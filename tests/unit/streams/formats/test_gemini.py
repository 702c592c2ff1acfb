import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.gemini import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "GEMINI"
TRADE = {"type": "trade", "symbol": "BTCUSD", "tid": 7, "price": "2.5", "quantity": "1", "side": "sell", "timestamp": 5}


def read_one(frame):
    return decode(json.dumps(frame).encode(), "gemini")


@pytest.fixture(scope="module")
def names(captures):
    """The symbols of the recorded list, in our names."""
    listed = [frame.data for frame in plain(captures, NAME) if "/details/" in frame.url]
    return {
        each["symbol"]: "-".join(
            [f"gemini:{each['base_currency']}-{each['quote_currency']}", *(["PERP"] * (each["product_type"] == "swap"))]
        )
        for each in listed
    }


def stream(captures, kind):
    return [frame.data for frame in plain(captures, NAME) if not frame.url and frame.data["type"] == kind]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 559, "trade": 2}


def test_every_symbol_of_the_recorded_list_has_its_name(names):
    assert len(names) > 300
    for symbol, name in names.items():
        assert read_one(TRADE | {"symbol": symbol})[0].instrument_id == name


def test_trades_are_those_of_the_recording(captures, names):
    expected = defaultdict(list)
    for trade in stream(captures, "trade"):
        side = 1 if trade["side"] == "buy" else -1
        expected[names[trade["symbol"]]].append((Decimal(trade["price"]), Decimal(trade["quantity"]), side))
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording(captures, names):
    books = defaultdict(PlainBook)
    for frame in stream(captures, "l2_updates"):
        sides = ([level[1:] for level in frame["changes"] if level[0] == side] for side in ("buy", "sell"))
        books[names[frame["symbol"]]].update(*sides)
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_the_first_frame_is_the_whole_book():
    frame = {"type": "l2_updates", "symbol": "BTCUSD", "changes": [["buy", "1.5", "2"], ["sell", "2", "0"]]}
    (change,) = read_one(frame)
    (first,) = read_one(frame | {"trades": [TRADE], "auction_events": []})
    assert (change.snapshot, first.snapshot) == (False, True)
    assert (change.bids, change.asks, change.event_time_ns) == ([(1.5, 2.0)], [(2.0, 0.0)], 0)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"type": "heartbeat", "timestamp": 1}, "heartbeat"),
        ({"type": "candles_1m_updates", "changes": []}, "candle"),
        ({"type": "auction_indicative"}, "auction"),
        ({"result": "error", "reason": "x"}, "error"),
    ],
)
def test_what_is_left_out(frame, kind):
    assert read_one(frame) == LeftOut(kind)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"price": "0"}, "$.price: expected `float` > 0.0"),
        ({"side": "x"}, "$.side: invalid enum value 'x'"),
        ({"symbol": "BTC"}, "$.symbol: expected a symbol such as BTCUSD, got 'BTC'"),
        ({"type": "x"}, "$.type: expected a frame of Gemini, got 'x'"),
    ],
)
def test_frames_that_cannot_be(change, text):
    with pytest.raises(DecodeError) as caught:
        read_one(TRADE | change)
    assert text in str(caught.value)
