import json
from collections import defaultdict

import pytest

from schemas import DecodeError, LeftOut, Liquidation
from streams.formats.kraken_futures import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "KRAKEN_FUTURES"
TRADE = {
    "feed": "trade",
    "product_id": "PI_XBTUSD",
    "uid": "45ee9737-1877-4682-bc68-e4ef818ef88a",
    "side": "sell",
    "type": "fill",
    "seq": 655508,
    "time": 1612269657781,
    "qty": 440.0,
    "price": 34893.0,
}
TICKER = {
    "time": 1676393235406,
    "product_id": "PI_XBTUSD",
    "funding_rate": -6.2604214e-11,
    "relative_funding_rate": -1.33535937499999e-06,
    "next_funding_rate_time": 1676394000000,
    "feed": "ticker",
    "bid": 21978.5,
    "ask": 21987.0,
    "bid_size": 2536.0,
    "ask_size": 13948.0,
    "index": 21984.54,
    "markPrice": 21979.68641534714,
    "openInterest": 30072580.0,
}


def read_one(frame):
    return decode(json.dumps(frame).encode(), "kraken-futures")


def named(product):
    kind, pair, *day = product.replace("XBT", "BTC").split("_")
    assert (kind == "FI") == bool(day)
    return f"kraken-futures:{pair[:-3]}-USD-{day[0] if day else 'PERP'}"


def feed(captures, name):
    sent = (frame.data for frame in plain(captures, NAME) if not frame.url)
    return [each for each in sent if each.get("feed") == name and "event" not in each]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"trade": 3, "book": 7_024}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for trade in feed(captures, "trade"):
        side = 1 if trade["side"] == "buy" else -1
        expected[named(trade["product_id"])].append((trade["price"], trade["qty"] / trade["price"], side))
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for snapshot in feed(captures, "book_snapshot"):
        sides = ([(level["price"], level["qty"]) for level in snapshot[side]] for side in ("bids", "asks"))
        books[named(snapshot["product_id"])].load(*sides)
    for change in feed(captures, "book"):
        levels = [(change["price"], change["qty"])]
        books[named(change["product_id"])].update(*((levels, []) if change["side"] == "buy" else ([], levels)))
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books, unit=lambda _name, price: 1 / price)


def test_the_contract_size_is_that_of_the_recorded_list(captures):
    (instruments,) = [frame.data["instruments"] for frame in plain(captures, NAME) if frame.url]
    sizes = {each["contractSize"] for each in instruments if each["type"] == "futures_inverse"}
    assert sizes == {1}


def test_a_change_follows_the_one_before_it():
    change = {
        "feed": "book",
        "product_id": "PI_XBTUSD",
        "side": "sell",
        "seq": 7,
        "price": 2.0,
        "qty": 0,
        "timestamp": 9,
    }
    (made,) = read_one(change)
    assert (made.first, made.last, made.asks, made.contract_usd) == (7, 7, [(2.0, 0.0)], 1.0)


def test_a_liquidation_is_a_trade_too():
    trade, forced = read_one(TRADE | {"type": "liquidation"})
    assert (trade.size, trade.side) == (440 / 34893, -1)
    assert isinstance(forced, Liquidation)
    assert (forced.size, forced.side, forced.price) == (440 / 34893, -1, 34893.0)


def test_a_ticker_tells_the_state_of_the_contract():
    (state,) = read_one(TICKER)
    assert (state.mark_price, state.index_price, state.funding_rate) == (
        21979.68641534714,
        21984.54,
        -1.33535937499999e-06,
    )
    assert state.open_interest == 30072580 / 21979.68641534714
    assert state.next_funding_time_ns == 1676394000000000000
    # older frames say how long until then
    (state,) = read_one(TICKER | {"next_funding_rate_time": 764594})
    assert state.next_funding_time_ns == 1676394000000000000


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (TRADE | {"type": "block"}, "block-trade"),
        (TRADE | {"type": "assignment"}, "trade-assignment"),
        (TRADE | {"product_id": "PF_XBTUSD"}, "contract-of-unknown-size"),
        ({"feed": "trade_snapshot", "product_id": "PI_XBTUSD", "trades": [TRADE]}, "trade-history"),
        ({"feed": "ticker_lite", "product_id": "PI_XBTUSD", "bid": 1.0, "ask": 2.0}, "ticker-of-prices"),
        ({"event": "subscribed", "feed": "trade"}, "subscription"),
    ],
)
def test_what_is_left_out(frame, kind):
    assert read_one(frame) == LeftOut(kind)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"qty": 0}, "$.qty: expected `float` > 0.0, got 0"),
        ({"price": 5e-324}, "expected a size of at most 1e+18 of the base asset"),
        ({"product_id": "XBTUSD"}, "$.product_id: expected a product such as PI_XBTUSD, got 'XBTUSD'"),
        ({"product_id": "PI_XBTUSD_210924"}, "expected a product such as PI_XBTUSD"),
        ({"side": "b"}, "$.side: invalid enum value 'b'"),
        ({"feed": "x"}, "$.feed: expected a feed of Kraken, got 'x'"),
    ],
)
def test_frames_that_cannot_be(change, text):
    with pytest.raises(DecodeError) as caught:
        read_one(TRADE | change)
    assert text in str(caught.value)
