import json
import math
import zlib
from collections import defaultdict
from decimal import Decimal
from itertools import zip_longest

import pytest

from schemas import Bar, DecodeError, Derivative, LeftOut, Liquidation, Option
from streams.formats import AGGREGATE
from streams.formats.book import BookChange
from streams.formats.okx import decode
from streams.formats.okx_contracts import instrument
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

NAME = "OKX"
INSTRUMENTS = {
    "BTC-USDT": ("okx:BTC-USDT", 0),
    "BTC-USD-220527": ("okx:BTC-USD-220527", 100),
    "UNI-USD-SWAP": ("okx:UNI-USD-PERP", 10),
}
"""Name here, and dollars a contract."""
TRADE = {"instId": "BTC-USDT", "tradeId": "130639474", "px": "42219.9", "sz": "0.12060306", "side": "buy"}
TRADE |= {"ts": "1630048897897"}


def read_one(channel, data, instrument_id="BTC-USDT-SWAP", **more):
    argument = {"channel": channel, "instId": instrument_id}
    return decode(json.dumps({"arg": argument, "data": [data], **more}).encode(), "okx")


def data(captures, channel):
    """Return (instrument, record, action) of a channel."""
    sent = (frame.data for frame in plain(captures, NAME) if not frame.url)
    return [
        (each["arg"]["instId"], record, each.get("action"))
        for each in sent
        if each.get("arg", {}).get("channel") == channel
        for record in each.get("data", ())
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"trade": 74, "book": 290}


def base_units(symbol, contracts, price):
    usd = INSTRUMENTS[symbol][1]
    return Decimal(contracts) * usd / Decimal(price) if usd else Decimal(contracts)


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for symbol, trade, _ in data(captures, "trades"):
        size = base_units(symbol, trade["sz"], trade["px"])
        expected[INSTRUMENTS[symbol][0]].append((Decimal(trade["px"]), size, 1 if trade["side"] == "buy" else -1))
    assert_trades_are(read(captures, NAME), expected)


def test_best_prices_are_told_one_by_one():
    record = {"bids": [["2.5", "3", "0", "1"]], "asks": [["2.6", "4", "0", "1"]], "ts": "5", "seqId": 9}
    (quote,) = read_one("bbo-tbt", record, "BTC-USDT")
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size) == (2.5, 3.0, 2.6, 4.0)
    assert (quote.event_time_ns, quote.sequence) == (5_000_000, 9)
    assert read_one("bbo-tbt", record | {"asks": []}, "BTC-USDT") == LeftOut("one-sided-quote")


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for symbol, book, action in data(captures, "books"):
        name = INSTRUMENTS[symbol][0]
        (books[name].load if action == "snapshot" else books[name].update)(book["bids"], book["asks"])
    dollars = dict(INSTRUMENTS.values())
    assert len(books) == 3
    assert_books_are(
        read(captures, NAME), books, lambda name, price: dollars[name] / price if dollars[name] else Decimal(1)
    )


def test_every_checksum_of_the_recording_is_that_of_a_book_kept_as_texts(captures):
    books, checked = defaultdict(lambda: ({}, {})), 0
    for message in messages(captures, NAME):
        made = decode(message.value, "okx")
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
            checked += 1
            assert change.check(bids[:25], asks[:25])
            assert not change.check(bids[1:25], asks[:25])
            assert not change.check(bids[:25], [(asks[0][0], asks[0][1] + "1"), *asks[1:25]])
    assert checked == 290


def test_a_side_that_is_shorter_leaves_its_turns_to_the_other():
    # the example of OKX's documentation: bid, ask, bid, ask, ask
    bids, asks = [("3366.1", "7"), ("3366", "6")], [("3366.8", "9"), ("3368", "8"), ("3372", "8")]
    text = "3366.1:7:3366.8:9:3366:6:3368:8:3372:8"
    signed = int.from_bytes(zlib.crc32(text.encode()).to_bytes(4, "big"), "big", signed=True)
    record = {"bids": bids, "asks": asks, "ts": "1", "checksum": signed}
    assert ":".join(part for turn in zip_longest(bids, asks, fillvalue=()) for level in turn for part in level) == text
    (change,) = read_one("books", record, action="snapshot")
    assert change.check(bids, asks)
    assert not change.check(asks, bids)


def test_contract_sizes_are_those_of_the_recorded_lists(captures):
    listed = [each for frame in plain(captures, NAME) if frame.url for each in frame.data["data"]]
    assert len(listed) > 5_000
    for each in listed:
        made = instrument(each["instId"])
        if each["instType"] == "SPOT":
            assert made == ("okx:" + each["instId"], 1.0, 0.0)
        elif each["ctType"] == "inverse":
            assert (made.unit, made.usd) == (1.0, float(each["ctVal"]) * float(each["ctMult"] or 1)), each["instId"]
        else:
            assert (made.unit, made.usd) == (float(each["ctVal"]) * float(each["ctMult"] or 1), 0.0), each["instId"]


def test_ids_of_newer_books_chain():
    record = {"bids": [], "asks": [], "ts": "1", "checksum": 0, "seqId": 8, "prevSeqId": 7}
    (change,) = read_one("books", record, action="update")
    assert (change.previous, change.last, change.check, change.snapshot) == (7, 8, None, False)
    (snapshot,) = read_one("books", record | {"prevSeqId": -1}, action="snapshot")
    assert (snapshot.previous, snapshot.last, snapshot.snapshot, snapshot.size_unit) == (-1, 8, True, 0.01)
    assert read_one("books5", record)[0].snapshot


def test_trades_that_sum_up_several_are_told_apart():
    (single,) = read_one("trades-all", TRADE, "BTC-USDT")
    (aggregate,) = read_one("trades", TRADE | {"count": "3"}, "BTC-USDT")
    assert (single.id, single.sequence, aggregate.id) == ("", 130639474, AGGREGATE)


# Frames of channels that are not recorded, as OKX's documentation shows them.
FUNDING = {"fundingRate": "0.0001875391284828", "fundingTime": "1700726400000", "ts": "1700724675402", "instId": "X"}
LIQUIDATION = {
    "details": [
        {"bkLoss": "0", "bkPx": "0.5", "ccy": "", "posSide": "short", "side": "buy", "sz": "13", "ts": "1692266434010"}
    ],
    "instId": "BTC-USDT-SWAP",
}
SUMMARY = {
    "instId": "BTC-USD-200103-5500-C",
    "ts": "1597026383085",
    "deltaBS": "0.4",
    "bidVol": "",
    "askVol": "1.63",
    "markVol": "1.5",
    "fwdPx": "7000.5",
}
CANDLE = ["1597026360000", "8533.02", "8553.74", "8527.17", "8548.26", "45247", "529.5858061", "5529.5858061", "1"]


def test_the_state_of_a_contract():
    (funding,) = read_one("funding-rate", FUNDING)
    assert isinstance(funding, Derivative)
    assert (funding.funding_rate, funding.next_funding_time_ns) == (0.0001875391284828, 1700726400000000000)
    assert math.isnan(funding.mark_price)
    (mark,) = read_one("mark-price", {"instId": "X", "markPx": "42310.6", "ts": "1630049139746"})
    assert (mark.mark_price, mark.event_time_ns) == (42310.6, 1630049139746000000)
    (interest,) = read_one("open-interest", {"oi": "2216113", "oiCcy": "22161.13", "ts": "1743041250440"})
    assert interest.open_interest == 22161.13


def test_a_liquidation_is_told_by_the_side_of_its_order():
    assert read_one("liquidation-orders", LIQUIDATION) == [
        Liquidation(
            instrument_id="okx:BTC-USDT-PERP",
            venue="okx",
            event_time_ns=1692266434010000000,
            price=0.5,
            size=0.13,
            side=1,
        )
    ]


def test_a_summary_of_an_option():
    (summary,) = read_one("opt-summary", SUMMARY)
    assert isinstance(summary, Option)
    assert (summary.instrument_id, summary.kind, summary.strike) == ("okx:BTC-USD-200103-5500-C", "call", 5500.0)
    assert (summary.expiry_ns, summary.delta, summary.mark_volatility) == (1578038400000000000, 0.4, 1.5)
    assert math.isnan(summary.bid_volatility)


def test_a_closed_candle_is_a_bar():
    (bar,) = read_one("candle1m", CANDLE)
    assert isinstance(bar, Bar)
    assert (bar.event_time_ns, bar.interval_ns) == (1597026419999999999, 60_000_000_000)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (8533.02, 8553.74, 8527.17, 8548.26, 529.5858061)
    (spot,) = read_one("candle1m", CANDLE, "BTC-USDT")
    assert spot.volume == 45247


@pytest.mark.parametrize(
    ("channel", "record", "symbol", "kind"),
    [
        ("candle1m", [*CANDLE[:-1], "0"], "BTC-USDT", "open-candle"),
        ("candle1D", CANDLE, "BTC-USDT", "candle-of-local-days"),
        ("mark-price-candle1m", CANDLE[:6], "BTC-USDT", "candle-of-no-trades"),
        (
            "tickers",
            {"ts": "1", "askPx": "1", "askSz": "1", "bidPx": "1", "bidSz": "1"},
            "BTC-USDT",
            "ticker-of-prices",
        ),
        ("trades", TRADE, "NEW-USDT-SWAP", "contract-of-unknown-size"),
        ("opt-summary", SUMMARY | {"instId": "XRP-USD-200103-1-C"}, "", "contract-of-unknown-size"),
        ("funding-rate", FUNDING | {"fundingRate": ""}, "BTC-USDT-SWAP", "no-funding-rate"),
    ],
)
def test_what_is_left_out(channel, record, symbol, kind):
    assert read_one(channel, record, symbol) == LeftOut(kind)


def test_the_connections_own_words_are_left_out():
    assert decode(b"pong", "okx") == LeftOut("heartbeat")
    assert decode(b'{"event":"subscribe","arg":{"channel":"x"}}', "okx") == LeftOut("subscription")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"px": "-1"}, "expected `float` > 0.0"),
        ({"ts": "1e40"}, "$[...].ts: expected"),
        ({"side": "b"}, "invalid enum value 'b'"),
    ],
)
def test_frames_that_cannot_be(change, text):
    with pytest.raises(DecodeError) as caught:
        read_one("trades", TRADE | change, "BTC-USDT")
    assert text.removeprefix("$[...].ts: ") in str(caught.value)


def test_what_okx_does_not_send():
    with pytest.raises(DecodeError, match="expected a channel of OKX, got 'x'"):
        read_one("x", {})
    with pytest.raises(DecodeError, match="expected an instrument such as BTC-USDT-SWAP, got 'BTC'"):
        read_one("trades", TRADE, "BTC")
