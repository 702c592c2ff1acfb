import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.book import BookChange
from streams.formats.kraken import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    messages,
    plain,
    read,
)

NAME = "KRAKEN"


def named(pair):
    return f"kraken:{pair.replace('XBT', 'BTC').replace('/', '-')}"


def data(captures, channel):
    return [
        frame.data
        for frame in plain(captures, NAME)
        if isinstance(frame.data, list) and frame.data[-2].partition("-")[0] == channel
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"trade": 10, "book": 4_279}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    times = []
    for _, trades, _, pair in data(captures, "trade"):
        for price, volume, time, side, *_ in trades:
            expected[named(pair)].append((Decimal(price), Decimal(volume), 1 if side == "b" else -1))
            times.append(int(Decimal(time) * 10**9))
    found = read(captures, NAME)
    assert_trades_are(found, expected)
    assert sorted(trade.event_time_ns for each in found.events["trade"].values() for trade in each) == sorted(times)


def sides(frame):
    """Return the levels of a frame as they are written, bids and asks."""
    parts = frame[1:-2]
    return [
        [level for part in parts for key in keys for level in part.get(key, ())] for keys in (("bs", "b"), ("as", "a"))
    ]


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for frame in data(captures, "book"):
        books[named(frame[-1])].update(*sides(frame))
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_every_checksum_of_the_recording_is_that_of_a_book_kept_as_texts(captures):
    books, checked = defaultdict(lambda: ({}, {})), 0
    for message in messages(captures, NAME):
        made = decode(message.value, "kraken")
        for change in made if isinstance(made, list) else ():
            if not isinstance(change, BookChange):
                continue
            book = books[change.instrument_id]
            for side, levels in zip(book, (change.bids, change.asks), strict=True):
                for price, size in levels:
                    side.pop(price, None)
                    if Decimal(size):
                        side[price] = (price, size)
            bids, asks = (sorted(side.values(), key=lambda level: Decimal(level[0])) for side in book)
            bids = bids[::-1]
            if change.check is not None:
                checked += 1
                assert change.check(bids, asks)
                # one level less, or another size: it is seen
                assert not change.check(bids[1:], asks)
                assert not change.check(bids, [(asks[0][0], asks[0][1] + "1"), *asks[1:]])
    assert checked == 4_269


def test_a_trade_names_bitcoin_as_all_do():
    (trade,) = decode(b'[0,[["5541.2","0.1585","1534614057.321597","s","l",""]],"trade","XBT/USD"]', "kraken")
    assert (trade.instrument_id, trade.side, trade.event_time_ns) == ("kraken:BTC-USD", -1, 1534614057321597000)
    assert (trade.id, trade.sequence) == ("", -1)


def test_a_spread_is_a_quote_with_a_time():
    frame = b'[0,["5698.40","5700.00","1542057299.545897","1.01234567","0.98765432"],"spread","XBT/USD"]'
    (quote,) = decode(frame, "kraken")
    assert (quote.bid_price, quote.bid_size, quote.ask_size) == (5698.4, 1.01234567, 0.98765432)
    assert quote.event_time_ns == 1542057299545897000


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"event": "heartbeat"}, "heartbeat"),
        ({"event": "systemStatus"}, "status"),
        ([42, ["1542057314.748456"], "ohlc-5", "XBT/USD"], "candle"),
        ([0, {"a": ["2", 1, "1"], "b": ["1", 1, "1"]}, "ticker", "XBT/USD"], "ticker-of-prices"),
        ([0, ["0", "2", "1542057299.545897", "0", "1"], "spread", "XBT/USD"], "one-sided-quote"),
    ],
)
def test_what_is_left_out(frame, kind):
    assert decode(json.dumps(frame).encode(), "kraken") == LeftOut(kind)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ([0, {"a": [["1.0", "-1", "1534614248.765567"]]}, "book-10", "XBT/USD"], "matching regex"),
        ([0, {"a": [["1.0", "1", "1534614248.765567"]]}, "book-7", "XBT/USD"], "expected a book of 10, 25, 100, 500"),
        ([0, {}, "book-10", "XBT/USD"], "expected levels of a book, got none"),
        ([0, {}, "book-10", "XBTUSD"], "expected a pair such as XBT/USD, got 'XBTUSD'"),
        ([0, {}, "depth", "XBT/USD"], "expected a channel of Kraken, got 'depth'"),
        ([0, [["1", "1", "9618678139.773315", "b"]], "trade", "XBT/USD"], "expected a time between 1970 and 2100"),
        ({"event": "x"}, "expected an event of Kraken, got 'x'"),
    ],
)
def test_frames_that_cannot_be(frame, text):
    with pytest.raises(DecodeError) as caught:
        decode(json.dumps(frame).encode(), "kraken")
    assert text in str(caught.value)
