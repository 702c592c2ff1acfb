import json
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.gateio_contracts import CONTRACT_SIZES
from streams.formats.gateio_futures import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    counts,
    plain,
    read,
)

NAME = "GATEIO_FUTURES"


def frame(channel, result):
    return {"time": 1, "time_ms": 1684930165254, "channel": channel, "event": "update", "result": result}


def read_one(value):
    return decode(json.dumps(value).encode(), "gateio-futures")


def of(captures, channel):
    frames = [each.data for each in plain(captures, NAME) if not each.url]
    return [each["result"] for each in frames if each["channel"] == channel and each["event"] == "update"]


def multipliers(captures):
    (listed,) = (each.data for each in plain(captures, NAME) if each.url.endswith("/contracts"))
    return {each["name"]: Decimal(each["quanto_multiplier"]) for each in listed}


def instrument(contract):
    return f"gateio-futures:{contract.replace('_', '-')}-PERP"


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 362, "quote": 75}
    assert found.left_out == {"instrument-list": 1, "subscription": 22, "open-candle": 1}


def test_contract_sizes_are_those_that_gate_listed(captures):
    assert {name: float(size) for name, size in multipliers(captures).items()} == CONTRACT_SIZES


def test_quotes_are_those_of_the_recording_in_base_units(captures):
    sizes = multipliers(captures)
    expected = [
        (instrument(each["s"]), each["u"], float(each["b"]), float(each["a"]), float(each["B"] * sizes[each["s"]]))
        for each in of(captures, "futures.book_ticker")
    ]
    quotes = [quote for each in read(captures, NAME).events["quote"].values() for quote in each]
    made = [(q.instrument_id, q.sequence, q.bid_price, q.ask_price, q.bid_size) for q in quotes]
    assert sorted(made) == sorted(expected)


def test_books_join_the_rest_snapshot(captures):
    books, last = {}, {}
    for each in plain(captures, NAME):
        if "order_book" in each.url:
            name = each.url.partition("contract=")[2].partition("&")[0]
            last[name] = each.data["id"]
            books[name] = PlainBook()
            books[name].load(*([(level["p"], level["s"]) for level in each.data[side]] for side in ("bids", "asks")))
    for change in of(captures, "futures.order_book_update"):
        if change["u"] > last[change["s"]]:
            assert change["U"] <= last[change["s"]] + 1
            last[change["s"]] = change["u"]
            books[change["s"]].update(*([(level["p"], level["s"]) for level in change[side]] for side in ("b", "a")))
    assert len(books) == 10
    sizes = {instrument(name): size for name, size in multipliers(captures).items()}
    expected = {instrument(name): book for name, book in books.items()}
    assert_books_are(read(captures, NAME), expected, lambda name, _: sizes[name])


def test_a_trade_below_zero_was_sold_by_the_taker():
    trade = {"id": 7, "size": -3, "create_time_ms": 1684930165254, "price": "100", "contract": "BTC_USDT"}
    (sold, bought) = read_one(frame("futures.trades", [trade, trade | {"size": "2"}]))
    assert (sold.instrument_id, sold.side, sold.sequence) == ("gateio-futures:BTC-USDT-PERP", -1, 7)
    assert sold.size == 3 * 0.0001
    assert (bought.side, bought.size) == (1, 2e-4)


def test_a_ticker_tells_the_state_of_a_contract():
    ticker = {
        "contract": "BTC_USDT",
        "mark_price": "5",
        "index_price": "6",
        "funding_rate": "-0.01",
        "total_size": "30",
    }
    (state,) = read_one(frame("futures.tickers", [ticker]))
    assert (state.mark_price, state.index_price, state.funding_rate, state.open_interest) == (5, 6, -0.01, 0.003)
    (other,) = read_one(frame("futures.tickers", [ticker | {"contract": "NEW_USDT"}]))
    assert other.open_interest != other.open_interest


def test_a_closed_candle_counts_base_units():
    candle = {"t": 1684930140, "v": 20, "c": "2", "h": "4", "l": "1", "o": "3", "n": "5m_ETH_USDT", "w": True}
    (bar,) = read_one(frame("futures.candlesticks", [candle, candle | {"w": False}]))
    assert (bar.volume, bar.interval_ns, bar.event_time_ns) == (0.2, 300_000_000_000, 1684930439999999999)


@pytest.mark.parametrize(
    ("channel", "result"),
    [
        ("futures.trades", [{"id": 7, "size": 1, "create_time_ms": 1, "price": "1", "contract": "NEW_USDT"}]),
        ("futures.book_ticker", {"t": 1, "u": 1, "s": "NEW_USDT", "b": "1", "B": 1, "a": "2", "A": 1}),
        ("futures.order_book_update", {"t": 1, "U": 1, "u": 1, "s": "NEW_USDT", "b": [], "a": []}),
    ],
)
def test_sizes_of_contracts_that_are_not_known_are_not_made_up(channel, result):
    assert read_one(frame(channel, result)) == LeftOut("contract-of-unknown-size")


def test_errors():
    with pytest.raises(DecodeError, match=r"^\$\.channel: expected a channel of Gate's futures, got 'futures\.x'"):
        read_one(frame("futures.x", {}))
