import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.poloniex import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "POLONIEX"
BOOK = {"symbol": "A_B", "createTime": 5, "asks": [["2", "1"]], "bids": [], "lastId": 6, "id": 7, "ts": 9}


def read_one(value):
    return decode(json.dumps(value).encode(), "poloniex")


def of(captures, channel):
    frames = [each.data for each in plain(captures, NAME) if not each.url]
    return [(each, row) for each in frames if each["channel"] == channel for row in each.get("data", ())]


def instrument(row):
    return f"poloniex:{row['symbol'].replace('_', '-')}"


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 294, "trade": 6}
    assert found.left_out == {"instrument-list": 1, "subscription": 2}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for _, row in of(captures, "trades"):
        side = 1 if row["takerSide"] == "buy" else -1
        expected[instrument(row)].append((Decimal(row["price"]), Decimal(row["quantity"]), side))
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording_without_a_gap(captures):
    books, last = defaultdict(PlainBook), {}
    for frame, row in of(captures, "book_lv2"):
        assert frame["action"] == "snapshot" or row["lastId"] == last[row["symbol"]]
        last[row["symbol"]] = row["id"]
        book = books[instrument(row)]
        (book.load if frame["action"] == "snapshot" else book.update)(row["bids"], row["asks"])
    assert len(books) == 11
    assert_books_are(read(captures, NAME), books)


def test_changes_join_by_the_id_before_them():
    (change,) = read_one({"channel": "book_lv2", "data": [BOOK], "action": "update"})
    assert (change.snapshot, change.previous, change.last, change.event_time_ns) == (False, 6, 7, 5_000_000)
    (whole,) = read_one({"channel": "book_lv2", "data": [BOOK], "action": "snapshot"})
    assert (whole.snapshot, whole.previous, whole.depth, whole.event_time_ns) == (True, -1, 20, 9_000_000)
    (few,) = read_one({"channel": "book", "data": [BOOK]})
    assert (few.snapshot, few.limit, few.depth) == (True, 1, 0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"event": "pong"}, "pong"),
        ({"event": "error", "message": "x"}, "error"),
        ({"channel": "ticker", "data": []}, "ticker"),
        ({"channel": "candles_minute_1", "data": []}, "candle"),
        ({"channel": "trades", "data": []}, "nothing-in-it"),
    ],
)
def test_what_is_not_read_is_named(value, kind):
    assert read_one(value) == LeftOut(kind)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"channel": "x"}, "$.channel: expected a channel of Poloniex, got 'x'"),
        ({"channel": "book_lv2", "data": [BOOK], "action": "x"}, "$.action: expected snapshot or update, got 'x'"),
        ({"channel": "book", "data": [BOOK | {"symbol": "AB"}]}, "$: expected a symbol of poloniex such as BTC_USDT"),
    ],
)
def test_errors(value, text):
    with pytest.raises(DecodeError) as caught:
        read_one(value)
    assert str(caught.value).startswith(text)
