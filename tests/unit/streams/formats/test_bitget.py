import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.bitget import decode
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

NAME = "BITGET"


def read_one(value):
    return decode(value if isinstance(value, bytes) else json.dumps(value).encode(), "bitget")


def frame(channel, data, action="update", market="sp", name="BTCUSDT"):
    return {"action": action, "arg": {"instType": market, "channel": channel, "instId": name}, "data": data}


def instrument(argument):
    pair = argument["instId"].removesuffix("USDT")
    return f"bitget:{pair}-USDT" + ("-PERP" if argument["instType"] == "mc" else "")


def of(captures, channel):
    frames = [each.data for each in plain(captures, NAME) if not each.url]
    return [each for each in frames if "data" in each and each["arg"]["channel"] == channel]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 637, "derivative": 217, "trade": 55}
    assert found.left_out == {
        "instrument-list": 3,
        "subscription": 40,
        "trade-history": 10,
        "ticker": 128,
        "candle-history": 10,
        "candle": 60,
    }


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for each in of(captures, "trade"):
        for _, price, size, side in each["data"] if each["action"] == "update" else ():
            row = (Decimal(price), Decimal(size), 1 if side == "buy" else -1)
            expected[instrument(each["arg"])].append(row)
    assert_trades_are(read(captures, NAME), expected)


def test_tickers_of_contracts_tell_their_state(captures):
    (expected, *_) = (each for each in of(captures, "ticker") if each["arg"]["instType"] == "mc")
    (ticker,) = expected["data"]
    state = read(captures, NAME).events["derivative"][instrument(expected["arg"])][0]
    assert (state.mark_price, state.index_price) == (float(ticker["markPrice"]), float(ticker["indexPrice"]))
    assert (state.funding_rate, state.open_interest) == (float(ticker["capitalRate"]), float(ticker["holding"]))
    assert state.next_funding_time_ns == ticker["nextSettleTime"] * 1_000_000


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for each in of(captures, "books"):
        (data,) = each["data"]
        book = books[instrument(each["arg"])]
        (book.load if each["action"] == "snapshot" else book.update)(data["bids"], data["asks"])
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_every_book_has_the_checksum_that_bitget_sends(captures):
    found = read(captures, NAME)
    assert sum(book.check is not None for each in found.events["book"].values() for book in each) == 637
    assert not [what for _, what in found.books.counts if what in {"checksum", "gap", "crossed", "range"}]
    changed = next(
        m.value for m in messages(captures, NAME) if b'"action":"snapshot"' in m.value and b"books" in m.value
    )
    (book,) = decode(changed, "bitget")
    assert book.check(book.bids, book.asks)
    assert not book.check(book.bids[1:], book.asks)


def test_five_levels_are_a_whole_book():
    data = {"bids": [["1", "2"]], "asks": [["3", "4"]], "ts": "1649290077496", "checksum": 0}
    (book,) = read_one(frame("books5", [data], market="mc"))
    assert (book.instrument_id, book.snapshot, book.check, book.limit) == ("bitget:BTC-USDT-PERP", True, None, 5)


def test_inverse_contracts_are_told_in_base_units_as_well():
    ((book),) = read_one(
        frame("books", [{"bids": [], "asks": [], "ts": "1649290077496"}], "snapshot", market="mc", name="BTCUSD")
    )
    assert (book.instrument_id, book.contract_usd, book.size_unit) == ("bitget:BTC-USD-PERP", 0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"pong", "pong"),
        ({"event": "error", "code": 30001}, "error"),
        (frame("trade", []), "nothing-in-it"),
        ({"url": "https://api.bitget.com/other", "data": {}}, "rest-answer"),
    ],
)
def test_frames_without_data_are_named(value, kind):
    assert read_one(value) == LeftOut(kind)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (frame("x", []), "$.arg.channel: expected a channel of Bitget, got 'x'"),
        (frame("trade", [], action="x"), "$.action: expected snapshot or update, got 'x'"),
        (frame("trade", [], market="x"), "$.arg.instType: expected sp or mc, got 'x'"),
        (frame("trade", [], name="BTC"), "$: expected a symbol of bitget that ends in USDT, USDC"),
        (frame("books", [{"bids": [["1e5", "1"]], "asks": [], "ts": "1"}]), "$[0].bids[0][0]: expected `str` matching"),
    ],
)
def test_errors(value, text):
    with pytest.raises(DecodeError) as caught:
        read_one(value)
    assert str(caught.value).startswith(text)
