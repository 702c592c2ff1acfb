import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut, Trade
from streams.formats.coinbase import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "COINBASE"
TRADE = {
    "product_id": "BTC-USD",
    "trade_id": "1068572090",
    "price": "65083.67",
    "size": "0.002186",
    "time": "2026-08-09T21:05:42.514318Z",
    "side": "SELL",
}


def framed(channel, **event):
    return json.dumps({"channel": channel, "timestamp": "2026-08-09T21:05:48.2Z", "events": [event]}).encode()


def events(captures, channel):
    return [
        event
        for frame in plain(captures, NAME)
        if not frame.url and frame.data["channel"] == channel
        for event in frame.data["events"]
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"trade": 79, "quote": 160, "book": 775}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for event in events(captures, "market_trades"):
        for trade in event["trades"] if event["type"] == "update" else ():
            # who buys at an ask takes it: the side told is that of the ask
            side = 1 if trade["side"] == "SELL" else -1
            expected[f"coinbase:{trade['product_id']}"].append((Decimal(trade["price"]), Decimal(trade["size"]), side))
    assert_trades_are(read(captures, NAME), expected)


def test_quotes_are_those_of_the_recording(captures):
    quotes = [quote for each in read(captures, NAME).events["quote"].values() for quote in each]
    names = ("best_bid", "best_bid_quantity", "best_ask", "best_ask_quantity")
    expected = [
        tuple(float(ticker[name]) for name in names)
        for event in events(captures, "ticker")
        for ticker in event["tickers"]
    ]
    assert sorted((q.bid_price, q.bid_size, q.ask_price, q.ask_size) for q in quotes) == sorted(expected)


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for event in events(captures, "l2_data"):
        book = books[f"coinbase:{event['product_id']}"]
        for level in event["updates"]:
            levels = [(level["price_level"], level["new_quantity"])]
            book.update(*((levels, []) if level["side"] == "bid" else ([], levels)))
    assert len(books) == 2
    assert_books_are(read(captures, NAME), books)


def test_the_side_of_a_trade_is_the_takers():
    (trade,) = decode(framed("market_trades", type="update", trades=[TRADE]), "coinbase")
    assert trade == Trade(
        instrument_id="coinbase:BTC-USD",
        venue="coinbase",
        event_time_ns=1786309542514318000,
        sequence=1068572090,
        price=65083.67,
        size=0.002186,
        side=1,
    )


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (framed("market_trades", type="snapshot", trades=[TRADE]), "trade-history"),
        (framed("market_trades", type="update", trades=[TRADE | {"product_id": "BIT-29NOV24-CDE"}]), "contracts"),
        (
            framed("ticker", tickers=[{"product_id": "A-B", "best_bid": "1", "best_bid_quantity": "1"}]),
            "one-sided-quote",
        ),
        (framed("heartbeats"), "heartbeat"),
        (framed("candles"), "candle"),
    ],
)
def test_what_is_left_out(frame, kind):
    assert decode(frame, "coinbase") == LeftOut(kind)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (framed("market_trades", type="update", trades=[TRADE | {"price": "0"}]), "expected `float` > 0.0"),
        (framed("market_trades", type="update", trades=[TRADE | {"time": "soon"}]), "expected a time (ISO 8601"),
        (
            framed("market_trades", type="update", trades=[TRADE | {"product_id": "BTCUSD"}]),
            "expected a product such as",
        ),
        (framed("level9"), "expected a channel of Coinbase, got 'level9'"),
    ],
)
def test_frames_that_cannot_be(frame, text):
    with pytest.raises(DecodeError) as caught:
        decode(frame, "coinbase")
    assert text in str(caught.value)
