import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.phemex import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "PHEMEX"
SPOT = Decimal(10) ** 8
CONTRACT = Decimal(10) ** 4


def read_one(value):
    return decode(json.dumps(value).encode(), "phemex")


def scales(captures):
    """Return symbol to instrument, scale of prices and base units of one of size, from the venue's list."""
    (listed,) = (each.data["data"]["products"] for each in plain(captures, NAME) if each.url)
    found = {}
    for product in listed:
        symbol = product["symbol"]
        if product["type"] == "Spot":
            found[symbol] = (f"phemex:{product['baseCurrency']}-{product['quoteCurrency']}", SPOT, 1 / SPOT)
        elif product["settleCurrency"] == "USD":
            found[symbol] = (f"phemex:{symbol[:-3]}-USD-PERP", CONTRACT, Decimal(str(product["contractSize"])))
    return found


def of(captures, kind):
    return [each.data for each in plain(captures, NAME) if not each.url and kind in each.data]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 1_337, "trade": 25, "bar": 5}
    assert found.left_out == {
        "instrument-list": 1,
        "subscription": 30,
        "trade-history": 10,
        "candle-history": 10,
        "open-candle": 32,
    }


def test_trades_are_those_of_the_recording(captures):
    expected, known = defaultdict(list), scales(captures)
    for frame in of(captures, "trades"):
        name, scale, unit = known[frame["symbol"]]
        for _, side, price, size in frame["trades"] if frame["type"] == "incremental" else ():
            expected[name].append((price / scale, size * unit, 1 if side == "Buy" else -1))
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording(captures):
    books, known = defaultdict(PlainBook), scales(captures)
    for frame in of(captures, "book"):
        name, scale, unit = known[frame["symbol"]]
        sides = [[(price / scale, size * unit) for price, size in frame["book"][side]] for side in ("bids", "asks")]
        before = {side: dict(levels) for side, levels in books[name].sides.items()}
        (books[name].load if frame["type"] == "snapshot" else books[name].update)(*sides)
        if before["bids"] and frame["type"] == "snapshot":
            assert books[name].sides == before  # the minute's snapshot says what the changes said
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_the_window_of_thirty_levels_is_kept_by_the_venue(captures):
    for book in read(captures, NAME).books:
        assert (len(book.bids.keys), len(book.asks.keys)) == (30, 30)


def test_every_perpetual_of_the_list_has_its_size(captures):
    for symbol, (name, scale, unit) in scales(captures).items():
        frame = {"sequence": 1, "symbol": symbol, "trades": [[5, "Sell", 20_000, 300]], "type": "incremental"}
        (trade,) = read_one(frame)
        assert (trade.instrument_id, trade.price, trade.side) == (name, float(20_000 / scale), -1)
        assert trade.size == pytest.approx(float(300 * unit), rel=1e-12)


def test_an_inverse_contract_is_a_dollar():
    frame = {"sequence": 1, "symbol": "BTCUSD", "trades": [[5, "Buy", 400_000_000, 8_000]], "type": "incremental"}
    (trade,) = read_one(frame)
    assert (trade.instrument_id, trade.price, trade.size) == ("phemex:BTC-USD-PERP", 40_000.0, 0.2)
    book = {"book": {"asks": [], "bids": [[400_000_000, 8_000]]}, "depth": 30, "sequence": 1, "timestamp": 7}
    (change,) = read_one(book | {"symbol": "BTCUSD", "type": "incremental"})
    assert (change.contract_usd, change.bids, change.event_time_ns) == (1.0, [(40_000.0, 8_000.0)], 7)
    (snapshot,) = read_one(book | {"symbol": "BTCUSD", "type": "snapshot"})
    assert snapshot.event_time_ns == 0


def test_trades_of_one_frame_are_told_apart():
    rows = [[5, "Buy", 20_000, 1], [5, "Buy", 20_000, 1]]
    made = read_one({"sequence": 9, "symbol": "XRPUSD", "trades": rows, "type": "incremental"})
    assert [(trade.sequence, trade.id) for trade in made] == [(9, "0"), (9, "1")]


def test_a_candle_is_closed_when_a_newer_one_stands_beside_it():
    rows = [[1625342220, 60, 1, 3, 4, 1, 2, 9, 1], [1625342160, 60, 1, 30_000, 40_000, 10_000, 20_000, 90, 1]]
    frame = {"kline": rows, "sequence": 1, "symbol": "XRPUSD", "type": "incremental"}
    (bar,) = read_one(frame)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (3.0, 4.0, 1.0, 2.0, 450.0)
    assert (bar.event_time_ns, bar.interval_ns, bar.id) == (1625342219999999999, 60_000_000_000, "60s")
    assert read_one(frame | {"kline": rows[:1]}) == LeftOut("open-candle")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"error": {"code": 6001}, "id": 1, "result": None}, "error"),
        ({"market24h": {}, "timestamp": 5}, "ticker"),
        ({"symbol": "NEWUSD", "type": "incremental", "trades": []}, "contract-of-unknown-size"),
        ({"symbol": "XRPUSD", "type": "incremental", "trades": []}, "nothing-in-it"),
    ],
)
def test_what_is_not_read_is_named(value, kind):
    assert read_one(value) == LeftOut(kind)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"symbol": "XRPUSD", "type": "x"}, "$.type: expected snapshot or incremental, got 'x'"),
        ({"symbol": "XRPUSD", "type": "snapshot"}, "$: expected a book, trades or a kline, got none of them"),
        ({"symbol": "x", "type": "snapshot"}, "$: expected a symbol of phemex that ends in USD, got 'x'"),
        (
            {
                "symbol": "XRPUSD",
                "type": "incremental",
                "kline": [[60, 60, 1, 3, 2, 1, 2, 9, 1], [120, 60, 1, 3, 4, 1, 2, 9, 1]],
            },
            "$.kline: expected low <= open, close <= high",
        ),
    ],
)
def test_errors(value, text):
    with pytest.raises(DecodeError) as caught:
        read_one(value)
    assert str(caught.value).startswith(text)
