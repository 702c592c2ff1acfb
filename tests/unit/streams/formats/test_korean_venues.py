"""Upbit and Bithumb."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats import bithumb, upbit
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

UNIT = {"ap": 2.0, "bp": 1.0, "as": 3.0, "bs": 4.0}


def decimals(*numbers):
    return [Decimal(number) for number in numbers]


def frames(captures, name):
    return [each.data for each in plain(captures, name) if not each.url]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, "UPBIT")
    assert_all_is_accounted_for(found)
    assert (counts(found), found.left_out) == ({"trade": 304, "book": 145}, {"instrument-list": 1})
    found = read(captures, "BITHUMB")
    assert_all_is_accounted_for(found)
    assert (counts(found), found.left_out) == ({"trade": 7}, {"instrument-list": 2, "subscription": 2})


def test_upbit_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for each in frames(captures, "UPBIT"):
        if each["ty"] == "trade":
            quoted, base = each["cd"].split("-")
            row = (*decimals(each["tp"], each["tv"]), 1 if each["ab"] == "BID" else -1)
            expected[f"upbit:{base}-{quoted}"].append(row)
    assert_trades_are(read(captures, "UPBIT"), expected)


def test_upbit_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for each in frames(captures, "UPBIT"):
        if each["ty"] == "orderbook":
            quoted, base = each["cd"].split("-")
            bids, asks = ([decimals(unit[f"{side}p"], unit[f"{side}s"]) for unit in each["obu"]] for side in "ba")
            books[f"upbit:{base}-{quoted}"].load(bids, asks)
    assert len(books) == 5
    assert_books_are(read(captures, "UPBIT"), books)


def test_a_side_of_upbits_book_may_end_first():
    frame = {"ty": "orderbook", "cd": "KRW-BTC", "tms": 5, "obu": [UNIT, {"ap": 3.0, "bp": 0.0, "as": 1.0, "bs": 0.0}]}
    (book,) = upbit.decode(json.dumps(frame).encode(), "upbit")
    assert (book.instrument_id, book.bids, book.asks) == ("upbit:BTC-KRW", [(1.0, 4.0)], [(2.0, 3.0), (3.0, 1.0)])


def test_bithumb_trades_are_those_of_the_recording_in_korean_time(captures):
    expected, times = defaultdict(list), []
    for each in frames(captures, "BITHUMB"):
        for trade in each.get("content", {}).get("list", ()):
            row = (*decimals(trade["contPrice"], trade["contQty"]), 1 if trade["buySellGb"] == "2" else -1)
            expected["bithumb:" + trade["symbol"].replace("_", "-")].append(row)
            seoul = datetime.strptime(trade["contDtm"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
            times.append(round(seoul.timestamp() * 1_000_000) * 1_000 - 9 * 3_600_000_000_000)
    found = read(captures, "BITHUMB")
    assert_trades_are(found, expected)
    trades = [trade for each in found.events["trade"].values() for trade in each]
    assert sorted(trade.event_time_ns for trade in trades) == sorted(times)


@pytest.mark.parametrize(
    ("form", "value", "kind"),
    [
        (upbit, {"status": "UP"}, "status"),
        (upbit, {"error": {"name": "WRONG_FORMAT"}}, "error"),
        (upbit, {"ty": "ticker"}, "ticker"),
        (upbit, {"ty": "candle.1s"}, "candle"),
        (bithumb, {"type": "orderbookdepth", "content": {}}, "book"),
        (bithumb, {"type": "ticker", "content": {}}, "ticker"),
        (bithumb, {"status": "5100", "resmsg": "Invalid Filter Syntax"}, "error"),
        (bithumb, {"type": "transaction", "content": {"list": []}}, "nothing-in-it"),
    ],
)
def test_what_is_not_read_is_named(form, value, kind):
    assert form.decode(json.dumps(value).encode(), "x") == LeftOut(kind)


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (upbit, {"type": "trade"}, "$.ty: expected a trade or an orderbook of Upbit's SIMPLE format, got ''"),
        (
            upbit,
            {"ty": "orderbook", "cd": "BTC", "tms": 5, "obu": []},
            "$: expected a symbol of upbit such as BTC-USDT",
        ),
        (bithumb, {"type": "x"}, "$.type: expected a transaction of Bithumb, got 'x'"),
    ],
)
def test_errors(form, value, text):
    with pytest.raises(DecodeError) as caught:
        form.decode(json.dumps(value).encode(), "x")
    assert str(caught.value).startswith(text)
