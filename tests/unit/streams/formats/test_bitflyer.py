import json
from collections import defaultdict
from datetime import datetime
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.bitflyer import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "BITFLYER"
EXECUTION = {"id": 7, "side": "BUY", "price": 2.0, "size": 0.5, "exec_date": "2021-12-12T23:05:29.9692063Z"}
TICKER = {
    "state": "RUNNING",
    "timestamp": "2021-12-12T23:05:30.1371457Z",
    "tick_id": 5,
    "best_bid": 1.0,
    "best_ask": 2.0,
    "best_bid_size": 3.0,
    "best_ask_size": 4.0,
}


def named(product):
    futures = {"BTCJPY17DEC2021": "BTC-JPY-211217", "BTCJPY24DEC2021": "BTC-JPY-211224", "FX_BTC_JPY": "BTC-JPY-PERP"}
    return f"bitflyer:{futures.get(product) or product.replace('_', '-')}"


def read_one(channel, message):
    frame = {"jsonrpc": "2.0", "method": "channelMessage", "params": {"channel": channel, "message": message}}
    return decode(json.dumps(frame).encode(), "bitflyer")


def stream(captures, kind):
    start = f"lightning_{kind}_"
    sent = (frame.data["params"] for frame in plain(captures, NAME) if not frame.url)
    return [
        (each["channel"].removeprefix(start), each["message"])
        for each in sent
        if each["channel"].startswith(start) and (kind != "board" or "snapshot" not in each["channel"])
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"trade": 162, "quote": 249, "book": 782}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    times = []
    for product, executions in stream(captures, "executions"):
        for each in executions:
            expected[named(product)].append((each["price"], each["size"], 1 if each["side"] == "BUY" else -1))
            times.append(datetime.fromisoformat(each["exec_date"]).timestamp())
    found = read(captures, NAME)
    assert_trades_are(found, expected)
    made = sorted(trade.event_time_ns / 1e9 for each in found.events["trade"].values() for trade in each)
    assert made == pytest.approx(sorted(times), abs=1e-6)


def test_quotes_are_those_of_the_recording(captures):
    quotes = [quote for each in read(captures, NAME).events["quote"].values() for quote in each]
    names = ("best_bid", "best_bid_size", "best_ask", "best_ask_size")
    expected = [tuple(float(each[name]) for name in names) for _, each in stream(captures, "ticker")]
    assert sorted((q.bid_price, q.bid_size, q.ask_price, q.ask_size) for q in quotes) == sorted(expected)


def test_books_are_those_of_the_recording(captures):
    books = {}
    for frame in plain(captures, NAME):
        channel = "" if frame.url else frame.data["params"]["channel"]
        _, _, product = channel.rpartition("board_snapshot_" if "board_snapshot_" in channel else "board_")
        if "board" in channel:
            message = frame.data["params"]["message"]
            sides = [[(level["price"], level["size"]) for level in message[side]] for side in ("bids", "asks")]
            if "snapshot" in channel:
                books.setdefault(named(product), PlainBook()).load(*sides)
            elif named(product) in books:
                books[named(product)].update(*sides)
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_market_orders_of_an_auction_are_no_level():
    levels = [{"price": 0.0, "size": 5.0}, {"price": 2.0, "size": 1.0}]
    (change,) = read_one("lightning_board_snapshot_BTC_JPY", {"mid_price": 1.0, "bids": levels, "asks": []})
    assert (change.bids, change.snapshot, change.limit) == ([(2.0, 1.0)], True, 300)


@pytest.mark.parametrize(
    ("channel", "message", "kind"),
    [
        ("lightning_executions_BTC_JPY", [EXECUTION | {"side": ""}], "auction-trade"),
        ("lightning_executions_BTC_JPY", [], "no-trades"),
        ("lightning_ticker_BTC_JPY", TICKER | {"state": "CLOSED"}, "ticker-without-trading"),
        ("lightning_ticker_BTC_JPY", TICKER | {"best_bid": 0.0}, "one-sided-quote"),
    ],
)
def test_what_is_left_out(channel, message, kind):
    assert read_one(channel, message) == LeftOut(kind)


@pytest.mark.parametrize(
    ("channel", "change", "text"),
    [
        ("lightning_executions_BTC_JPY", {"price": 0}, "expected `float` > 0.0"),
        ("lightning_executions_BTC_JPY", {"exec_date": "x"}, "exec_date: expected a time"),
        ("lightning_executions_BTCJPY31FEB", {}, "expected a product such as BTC_JPY"),
        ("lightning_x_BTC_JPY", {}, "$.params.channel: expected a channel of bitFlyer"),
    ],
)
def test_frames_that_cannot_be(channel, change, text):
    with pytest.raises(DecodeError) as caught:
        read_one(channel, [EXECUTION | change])
    assert text in str(caught.value)


def test_sizes_are_as_they_were_sent():
    (trade,) = read_one("lightning_executions_FX_BTC_JPY", [EXECUTION])
    assert (trade.instrument_id, trade.size, trade.sequence) == ("bitflyer:BTC-JPY-PERP", float(Decimal("0.5")), 7)
