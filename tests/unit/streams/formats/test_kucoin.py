import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.kucoin import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "KUCOIN"
TICKER = {
    "data": {
        "sequence": "1612844051653",
        "bestAsk": "0.00028717",
        "bestAskSize": "14.04274325",
        "bestBid": "0.00028678",
        "bestBidSize": "3.70422021",
        "time": 1619378326323,
    },
    "subject": "trade.ticker",
    "topic": "/market/ticker:SNX-BTC",
    "type": "message",
}
CANDLE = {
    "data": {"symbol": "A-B", "candles": ["1619378280", "3", "2", "4", "1", "9", "0"], "time": 1619378340000000000},
    "subject": "trade.candles.update",
    "topic": "/market/candles:A-B_1min",
    "type": "message",
}


def read_one(frame):
    return decode(json.dumps(frame).encode(), "kucoin")


def of(captures, subject):
    return [frame.data["data"] for frame in plain(captures, NAME) if frame.data.get("subject") == subject]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"quote": 830, "book": 3_862, "trade": 18, "bar": 2}
    assert found.left_out == {"instrument-list": 1, "welcome": 1, "ack": 13, "open-candle": 4}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for trade in of(captures, "trade.l3match"):
        side = 1 if trade["side"] == "buy" else -1
        expected[f"kucoin:{trade['symbol']}"].append((Decimal(trade["price"]), Decimal(trade["size"]), side))
    assert_trades_are(read(captures, NAME), expected)


def test_quotes_are_those_of_the_recording(captures):
    quotes = [quote for each in read(captures, NAME).events["quote"].values() for quote in each]
    expected = [
        (float(each["bestBid"]), float(each["bestBidSize"]), float(each["bestAsk"]), float(each["bestAskSize"]))
        for each in of(captures, "trade.ticker")
    ]
    assert sorted((q.bid_price, q.bid_size, q.ask_price, q.ask_size) for q in quotes) == sorted(expected)


def test_books_join_the_rest_snapshot(captures):
    snapshots = {
        frame.url.rpartition("=")[2]: frame.data["data"]
        for frame in plain(captures, NAME)
        if "orderbook/level2" in frame.url
    }
    books = {f"kucoin:{name}": PlainBook() for name in snapshots}
    for name, snapshot in snapshots.items():
        books[f"kucoin:{name}"].load(snapshot["bids"], snapshot["asks"])
    for change in of(captures, "trade.l2update"):
        last = int(snapshots[change["symbol"]]["sequence"])
        sides = [
            [level[:2] for level in change["changes"][side] if int(level[2]) > last and Decimal(level[0])]
            for side in ("bids", "asks")
        ]
        books[f"kucoin:{change['symbol']}"].update(*sides)
    assert len(books) == 9
    assert_books_are(read(captures, NAME), books)


def test_a_candle_is_a_bar_once_its_time_is_over():
    (bar,) = read_one(CANDLE)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (3.0, 4.0, 1.0, 2.0, 9.0)
    assert (bar.event_time_ns, bar.interval_ns) == (1619378339999999999, 60_000_000_000)
    before = CANDLE | {"data": CANDLE["data"] | {"time": 1619378339999999999}}
    assert read_one(before) == LeftOut("open-candle")


def test_tickers_of_all_symbols_name_theirs_in_the_subject():
    (quote,) = read_one(TICKER | {"topic": "/market/ticker:all", "subject": "ETH-BTC"})
    assert quote.instrument_id == "kucoin:ETH-BTC"


def test_an_empty_side_is_no_quote():
    for empty in ({"bestBid": "0", "bestBidSize": "0"}, {"bestAsk": None, "bestAskSize": None}):
        assert read_one(TICKER | {"data": TICKER["data"] | empty}) == LeftOut("one-sided-quote")
    crossed = TICKER["data"] | {"bestBid": "0.00028718"}
    assert read_one(TICKER | {"data": crossed}) == LeftOut("crossed-quote")


def test_five_levels_are_a_whole_book():
    data = {"asks": [["2", "1"]], "bids": [["1", "3"]], "timestamp": 1619378326323}
    (book,) = read_one({"data": data, "topic": "/spotMarket/level2Depth5:A-B", "subject": "level2", "type": "message"})
    assert (book.snapshot, book.last, book.bids, book.asks) == (True, -1, [(1.0, 3.0)], [(2.0, 1.0)])


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ({"type": "message", "topic": "/x:A-B"}, "$.topic: expected a topic of KuCoin's spot market, got '/x:A-B'"),
        ({"type": "x"}, "$.type: expected a message or one of"),
        (TICKER | {"topic": "/market/ticker:SNXBTC"}, "$: expected a symbol of kucoin such as BTC-USDT, got 'SNXBTC'"),
        (CANDLE | {"topic": "/market/candles:A-B_1x"}, "$.topic: expected an interval such as 1min in the topic"),
        (
            CANDLE | {"data": CANDLE["data"] | {"candles": ["1619378280", "5", "2", "4", "1", "9", "0"]}},
            "$.data.candles: expected low <= open, close <= high",
        ),
    ],
)
def test_errors(frame, text):
    with pytest.raises(DecodeError) as caught:
        read_one(frame)
    assert str(caught.value).startswith(text)
