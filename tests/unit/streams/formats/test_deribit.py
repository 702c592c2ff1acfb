import json
import math
from collections import defaultdict

import pytest

from schemas import DecodeError, LeftOut, Liquidation, Option
from streams.formats.deribit import decode
from streams.formats.deribit_names import instrument
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    counts,
    plain,
    read,
)

NAME = "DERIBIT"
MONTHS = {"JUL": "07", "AUG": "08", "SEP": "09", "DEC": "12", "MAR": "03", "JUN": "06"}


def read_one(channel, data):
    frame = {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}
    return decode(json.dumps(frame).encode(), "deribit")


def named(name):
    base, day, *rest = name.split("-")
    return "-".join([f"deribit:{base}-USD", f"{day[-2:]}{MONTHS[day[-5:-2]]}{day[:-5]:0>2}", *rest])


def data(captures, channel):
    sent = (frame.data for frame in plain(captures, NAME) if not frame.url)
    return [
        each["params"]["data"]
        for each in sent
        if "params" in each and each["params"]["channel"].startswith(f"{channel}.")
    ]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"option": 89, "book": 46}


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    last = {}
    for book in data(captures, "book"):
        name = named(book["instrument_name"])
        if book["type"] == "change":
            assert book["prev_change_id"] == last[name]
        last[name] = book["change_id"]
        sides = (
            [(price, 0 if action == "delete" else amount) for action, price, amount in book[side]]
            for side in ("bids", "asks")
        )
        books[name].update(*sides)
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_option_summaries_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for each in data(captures, "ticker"):
        volatilities = [each[name] / 100 if each[name] else None for name in ("mark_iv", "bid_iv", "ask_iv")]
        rest = [each["greeks"]["delta"], each["underlying_price"], each["open_interest"]]
        told = [math.nan if number is None else float(number) for number in volatilities + rest]
        expected[named(each["instrument_name"])].append([each["timestamp"] * 10**6, *told])
    found = read(captures, NAME).events["option"]
    assert found.keys() == expected.keys()
    fields = ("mark_volatility", "bid_volatility", "ask_volatility", "delta", "underlying_price", "open_interest")
    for name, summaries in found.items():
        for summary, wanted in zip(summaries, expected[name], strict=True):
            made = [getattr(summary, field) for field in fields]
            assert [summary.event_time_ns, *made] == pytest.approx(wanted, rel=1e-12, nan_ok=True)


def test_names_strikes_and_days_are_those_of_the_recorded_lists(captures):
    listed = [each for frame in plain(captures, NAME) if frame.url for each in frame.data["result"]]
    assert len(listed) > 1_000
    for each in listed:
        made = instrument(each["instrument_name"])
        parts = made.instrument_id.removeprefix("deribit:").split("-")
        assert parts[0] == each["base_currency"]
        assert made.option == (each["kind"] == "option")
        # USD futures count dollars, options and USDC futures the base asset
        assert made.inverse == (each["kind"] == "future" and each["quote_currency"] == "USD")
        if made.option:
            (summary,) = read_one("ticker.x", {"timestamp": 1, "instrument_name": each["instrument_name"]})
            assert (summary.strike, summary.kind) == (float(each["strike"]), each["option_type"])
            assert summary.expiry_ns == each["expiration_timestamp"] * 10**6


# Frames of channels that are not recorded, as Deribit's documentation shows them.
TRADE = {
    "trade_seq": 30289442,
    "trade_id": "48079269",
    "timestamp": 1590484512188,
    "tick_direction": 2,
    "price": 8950,
    "mark_price": 8948.9,
    "instrument_name": "BTC-PERPETUAL",
    "index_price": 8955.88,
    "direction": "sell",
    "amount": 10,
}
TICKER = {
    "timestamp": 1623059681955,
    "state": "open",
    "settlement_price": 36169.49,
    "open_interest": 502097590,
    "min_price": 35898.37,
    "max_price": 36991.72,
    "mark_price": 36446.51,
    "last_price": 36457.5,
    "instrument_name": "BTC-PERPETUAL",
    "index_price": 36441.64,
    "funding_8h": 0.0000211,
    "current_funding": 0.0000123,
    "best_bid_price": 36442.5,
    "best_bid_amount": 5000,
    "best_ask_price": 36443,
    "best_ask_amount": 100,
}
OPTION = {
    "timestamp": 1623060194301,
    "instrument_name": "BTC-25JUN21-40000-P",
    "underlying_price": 36510.5,
    "open_interest": 1.5,
    "mark_iv": 80.0,
    "bid_iv": 0.0,
    "ask_iv": 85.5,
    "greeks": {"vega": 1.0, "delta": -0.75},
}


def test_amounts_of_inverse_contracts_are_dollars():
    (trade,) = read_one("trades.BTC-PERPETUAL.raw", [TRADE])
    assert (trade.instrument_id, trade.size, trade.side) == ("deribit:BTC-USD-PERP", 10 / 8950, -1)
    assert (trade.id, trade.sequence, trade.event_time_ns) == ("48079269", 30289442, 1590484512188000000)
    (trade,) = read_one("trades.x", [TRADE | {"instrument_name": "BTC_USDC-PERPETUAL"}])
    assert (trade.instrument_id, trade.size) == ("deribit:BTC-USDC-PERP", 10.0)
    book = {"timestamp": 1, "instrument_name": "BTC-PERPETUAL", "change_id": 2, "bids": [["new", 5.0, 1]], "asks": []}
    (change,) = read_one("book.BTC-PERPETUAL.raw", book | {"type": "change", "prev_change_id": 1})
    assert (change.previous, change.last, change.contract_usd, change.snapshot) == (1, 2, 1.0, False)
    (whole,) = read_one("book.BTC-PERPETUAL.none.10.100ms", book)
    assert whole.snapshot


@pytest.mark.parametrize(("who", "sides"), [("T", [-1]), ("M", [1]), ("MT", [-1, 1])])
def test_liquidations_are_of_the_side_that_was_forced(who, sides):
    _, *forced = read_one("trades.x", [TRADE | {"liquidation": who}])
    assert all(isinstance(each, Liquidation) for each in forced)
    assert [each.side for each in forced] == sides
    assert len({each.id for each in forced}) == len(forced)


def test_a_ticker_tells_best_prices_and_the_state_of_the_contract():
    quote, state = read_one("ticker.BTC-PERPETUAL.raw", TICKER)
    assert (quote.bid_price, quote.bid_size, quote.ask_size) == (36442.5, 5000 / 36442.5, 100 / 36443)
    assert (state.mark_price, state.index_price, state.funding_rate) == (36446.51, 36441.64, 0.0000123)
    assert state.open_interest == 502097590 / 36446.51
    (state,) = read_one("ticker.x", TICKER | {"best_bid_price": None, "best_bid_amount": None})
    assert state.record == "derivative"


def test_the_ticker_of_an_option_is_its_summary():
    (summary,) = read_one("ticker.BTC-25JUN21-40000-P.100ms", OPTION)
    assert isinstance(summary, Option)
    assert (summary.instrument_id, summary.kind, summary.strike) == ("deribit:BTC-USD-210625-40000-P", "put", 40000.0)
    assert (summary.mark_volatility, summary.ask_volatility, summary.delta) == (0.8, 0.855, -0.75)
    assert (summary.underlying_price, summary.open_interest) == (36510.5, 1.5)
    assert math.isnan(summary.bid_volatility)  # 0: nobody bids
    assert summary.expiry_ns == 1624608000000000000


@pytest.mark.parametrize(
    ("channel", "record", "kind"),
    [
        ("trades.x", [TRADE | {"block_trade_id": "1"}], "block-trade"),
        ("quote.x", TICKER | {"best_ask_price": 0, "best_ask_amount": 0}, "one-sided-quote"),
        ("deribit_price_index.btc_usd", {}, "deribit_price_index"),
    ],
)
def test_what_is_left_out(channel, record, kind):
    assert read_one(channel, record) == LeftOut(kind)


def test_answers_and_heartbeats_are_left_out():
    assert decode(b'{"jsonrpc":"2.0","id":1,"result":[]}', "deribit") == LeftOut("answer")
    assert decode(b'{"method":"heartbeat","params":{"type":"test_request"}}', "deribit") == LeftOut("heartbeat")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"price": -1}, "expected `float` > 0.0"),
        ({"price": 5e-324}, "expected a size of at most 1e+18"),
        ({"instrument_name": "BTC-31FEB21"}, "expected a day such as 240607, got '210231'"),
        ({"instrument_name": "BTC"}, "expected an instrument such as BTC-27JUN25-100000-C, got 'BTC'"),
        ({"direction": "x"}, "invalid enum value 'x'"),
    ],
)
def test_frames_that_cannot_be(change, text):
    with pytest.raises(DecodeError) as caught:
        read_one("trades.x", [TRADE | change])
    assert text in str(caught.value)
