import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.gateio import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "GATEIO"
CANDLE = {"t": "1619093520", "v": "20.5", "c": "2", "h": "4", "l": "1", "o": "3", "n": "1m_A_B", "a": "9", "w": True}


def frame(channel, result):
    return {"time": 1619093533, "channel": channel, "event": "update", "result": result}


def read_one(value):
    return decode(json.dumps(value).encode(), "gateio")


def of(captures, channel):
    frames = [each.data for each in plain(captures, NAME) if not each.url]
    return [each["result"] for each in frames if each["channel"] == channel and each["event"] == "update"]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 182, "trade": 9}
    assert found.left_out == {"instrument-list": 1, "subscription": 22, "ticker": 22, "open-candle": 14}


def test_trades_are_those_of_the_recording(captures):
    expected, times = defaultdict(list), []
    for trade in of(captures, "spot.trades"):
        name = "gateio:" + trade["currency_pair"].replace("_", "-")
        side = {"buy": 1, "sell": -1}[trade["side"]]
        expected[name].append((Decimal(trade["price"]), Decimal(trade["amount"]), side))
        times.append((trade["id"], int(Decimal(trade["create_time_ms"]) * 1_000_000)))
    found = read(captures, NAME)
    assert_trades_are(found, expected)
    trades = [trade for each in found.events["trade"].values() for trade in each]
    assert sorted((trade.sequence, trade.event_time_ns) for trade in trades) == sorted(times)


def test_books_join_the_rest_snapshot(captures):
    books, last = {}, {}
    for each in plain(captures, NAME):
        if "order_book" in each.url:
            name = each.url.partition("currency_pair=")[2].partition("&")[0]
            last[name] = each.data["id"]
            books[name] = PlainBook()
            books[name].load(each.data["bids"], each.data["asks"])
    for change in of(captures, "spot.order_book_update"):
        if change["u"] > last[change["s"]]:
            assert change["U"] <= last[change["s"]] + 1
            last[change["s"]] = change["u"]
            books[change["s"]].update(change["b"], change["a"])
    assert len(books) == 10
    assert_books_are(read(captures, NAME), {f"gateio:{name.replace('_', '-')}": book for name, book in books.items()})


def test_a_candle_is_a_bar_where_gate_says_that_it_is_closed():
    (bar,) = read_one(frame("spot.candlesticks", CANDLE))
    assert (bar.instrument_id, bar.open, bar.high, bar.low, bar.close, bar.volume) == ("gateio:A-B", 3, 4, 1, 2, 9)
    assert (bar.event_time_ns, bar.interval_ns) == (1619093579999999999, 60_000_000_000)
    assert read_one(frame("spot.candlesticks", CANDLE | {"w": False})) == LeftOut("open-candle")
    assert read_one(frame("spot.candlesticks", CANDLE | {"a": None})) == LeftOut("candle-without-base-volume")


def test_best_prices():
    best = {"t": 1619093533000, "u": 5, "s": "A_B", "b": "1", "B": "2", "a": "3", "A": "4"}
    (quote,) = read_one(frame("spot.book_ticker", best))
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size, quote.sequence) == (1, 2, 3, 4, 5)
    assert read_one(frame("spot.book_ticker", best | {"b": "", "B": "0"} | {"b": "0"})) == LeftOut("one-sided-quote")


def test_a_book_of_few_levels_is_whole():
    depth = {"t": 1619093533000, "lastUpdateId": 7, "s": "A_B", "bids": [["1", "2"]], "asks": [["3", "4"]]}
    (book,) = read_one(frame("spot.order_book", depth))
    assert (book.snapshot, book.bids, book.asks) == (True, [(1.0, 2.0)], [(3.0, 4.0)])


def test_a_rest_book_that_no_change_can_join_is_left_out():
    url = "https://api.gateio.ws/api/v4/spot/order_book?currency_pair=A_B&limit=100"
    assert read_one({"url": url, "data": {"bids": [], "asks": []}}) == LeftOut("book-without-id")
    (book,) = read_one(
        {"url": url + "&with_id=true", "data": {"id": 9, "current": 1619093533000, "bids": [], "asks": []}}
    )
    assert (book.last, book.limit, book.event_time_ns) == (9, 100, 1619093533000000000)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"channel": "spot.pong", "event": ""}, "pong"),
        ({"channel": "spot.trades", "event": "subscribe", "error": {"code": 2}}, "error"),
        ({"channel": "spot.trades", "event": "unsubscribe"}, "subscription"),
    ],
)
def test_frames_without_data_are_named(value, kind):
    assert read_one(value) == LeftOut(kind)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (frame("spot.x", {}), "$.channel: expected a channel of Gate's spot market, got 'spot.x'"),
        (frame("spot.candlesticks", CANDLE | {"n": "1q_A_B"}), "$.interval: expected an interval such as 5m"),
        (frame("spot.candlesticks", CANDLE | {"h": "2"}), "$.result: expected low <= open, close <= high"),
        (frame("spot.trades", {"id": -1}), "$.id: expected `int` >= 0, got -1"),
    ],
)
def test_errors(value, text):
    with pytest.raises(DecodeError) as caught:
        read_one(value)
    assert str(caught.value).startswith(text)
