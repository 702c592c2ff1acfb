import json
from collections import defaultdict

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.crypto_com import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "CRYPTO.COM"
TRADE = {"dataTime": 6, "d": 7, "s": "SELL", "p": 2.0, "q": 0.5, "t": 5}


def read_one(channel, record, instrument="BTC_USDT", **more):
    result = {"instrument_name": instrument, "channel": channel, "data": [record], **more}
    return decode(json.dumps({"code": 0, "method": "subscribe", "result": result}).encode(), "crypto-com")


def stream(captures, channel):
    sent = (frame.data for frame in plain(captures, NAME) if not frame.url)
    return [
        (f"crypto-com:{each['result']['instrument_name'].replace('_', '-')}", record)
        for each in sent
        if each.get("result", {}).get("channel") == channel
        for record in each["result"]["data"]
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"trade": 1_143, "book": 1_525}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for name, trade in stream(captures, "trade"):
        expected[name].append((trade["p"], trade["q"], 1 if trade["s"] == "BUY" else -1))
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording(captures):
    books, times = {}, {}
    for name, book in stream(captures, "book"):
        # some come out of order: the younger one stays
        if book["t"] >= times.get(name, 0):
            times[name] = book["t"]
            books.setdefault(name, PlainBook()).load(book["bids"], book["asks"])
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_newer_tickers_say_their_sizes():
    (quote,) = read_one("ticker", {"b": "1.5", "bs": "2", "k": "2.5", "ks": "4", "a": "2", "t": 5})
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size) == (1.5, 2.0, 2.5, 4.0)


@pytest.mark.parametrize(
    ("channel", "record", "instrument", "kind"),
    [
        ("candlestick", {}, "BTC_USDT", "candle"),
        ("trade", TRADE, "BTCUSD-PERP", "contracts"),
        ("ticker", {"b": None, "k": 1.0, "bs": 0, "ks": 1, "t": 5}, "BTC_USDT", "one-sided-quote"),
        ("ticker", {"b": 1.0, "k": 2.0, "t": 5}, "BTC_USDT", "ticker-of-prices"),
        ("book.update", {}, "BTC_USDT", "book-update"),
    ],
)
def test_what_is_left_out(channel, record, instrument, kind):
    assert read_one(channel, record, instrument) == LeftOut(kind)


@pytest.mark.parametrize(
    ("change", "instrument", "text"),
    [
        ({"p": 0}, "BTC_USDT", "expected `float` > 0.0"),
        ({"s": "x"}, "BTC_USDT", "invalid enum value 'x'"),
        ({}, "BTC", "expected a symbol such as BTC_USDT, got 'BTC'"),
    ],
)
def test_frames_that_cannot_be(change, instrument, text):
    with pytest.raises(DecodeError) as caught:
        read_one("trade", TRADE | change, instrument)
    assert text in str(caught.value)
