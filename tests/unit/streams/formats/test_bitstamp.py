import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.bitstamp import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "BITSTAMP"
BOOK = {"timestamp": "1", "microtimestamp": "1641343691355099", "bids": [["2.0", "1"]], "asks": [["3.0", "0"]]}


def read_one(channel, data, event="data"):
    return decode(json.dumps({"event": event, "channel": channel, "data": data}).encode(), "bitstamp")


@pytest.fixture(scope="module")
def names(captures):
    """The pairs of the recorded list, in our names."""
    (pairs,) = [frame.data for frame in plain(captures, NAME) if "trading-pairs-info" in frame.url]
    return {pair["url_symbol"]: f"bitstamp:{pair['name'].replace('/', '-')}" for pair in pairs}


def stream(captures, channel):
    sent = (frame.data for frame in plain(captures, NAME) if not frame.url)
    return [
        (each["channel"].rpartition("_")[2], each["data"])
        for each in sent
        if each["channel"].startswith(channel) and each["event"] in {"data", "trade"}
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 727, "trade": 10}


def test_every_pair_of_the_recorded_list_has_its_name(names):
    assert len(names) == 140
    for pair, name in names.items():
        assert read_one(f"diff_order_book_{pair}", BOOK)[0].instrument_id == name


def test_trades_are_those_of_the_recording(captures, names):
    expected = defaultdict(list)
    for pair, trade in stream(captures, "live_trades"):
        side = {0: 1, 1: -1}[trade["type"]]
        expected[names[pair]].append((Decimal(trade["price_str"]), Decimal(trade["amount_str"]), side))
    assert_trades_are(read(captures, NAME), expected)


def test_books_join_the_rest_snapshot(captures, names):
    snapshots = {
        frame.url.rpartition("/")[2]: frame.data for frame in plain(captures, NAME) if "/order_book/" in frame.url
    }
    books = {names[pair]: PlainBook() for pair in snapshots}
    for pair, snapshot in snapshots.items():
        books[names[pair]].load(snapshot["bids"], snapshot["asks"])
    for pair, change in stream(captures, "diff_order_book"):
        if int(change["microtimestamp"]) > int(snapshots[pair]["microtimestamp"]):
            books[names[pair]].update(change["bids"], change["asks"])
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_the_best_hundred_levels_are_a_book_that_may_go_on():
    (change,) = read_one("order_book_btcusd", BOOK)
    assert (change.snapshot, change.limit, change.last) == (True, 100, 1641343691355099)


@pytest.mark.parametrize(
    ("channel", "event", "kind"),
    [
        ("live_trades_btcusd", "bts:subscription_succeeded", "subscription"),
        ("", "bts:request_reconnect", "notice"),
        ("live_orders_btcusd", "order_created", "live_orders"),
    ],
)
def test_what_is_left_out(channel, event, kind):
    assert read_one(channel, {}, event) == LeftOut(kind)


@pytest.mark.parametrize(
    ("channel", "change", "text"),
    [
        ("diff_order_book_btcusd", {"bids": [["0", "1"]]}, "expected `float` > 0.0"),
        ("diff_order_book_btcusd", {"microtimestamp": "0"}, "expected `int` >= 1"),
        ("diff_order_book_btc", {}, "expected a pair such as btcusd, got 'btc'"),
        ("x_btcusd", {}, "expected a channel of Bitstamp, got 'x_btcusd'"),
    ],
)
def test_frames_that_cannot_be(channel, change, text):
    with pytest.raises(DecodeError) as caught:
        read_one(channel, BOOK | change)
    assert text in str(caught.value)
