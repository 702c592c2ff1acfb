import gzip
import json
from collections import defaultdict
from decimal import Decimal

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.huobi_contracts import CONTRACT_SIZES, contract_usd
from streams.formats.huobi_swap import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "HUOBI_SWAP"


def read_one(value):
    return decode(gzip.compress(json.dumps(value).encode()), "huobi-swap")


def frame(channel, tick):
    return {"ch": channel, "ts": 1645289384843, "tick": tick}


def of(captures, channel):
    for each in plain(captures, NAME):
        name = each.data.get("ch", "")
        if not each.url and name.endswith(channel):
            yield f"huobi-swap:{name.split('.')[1]}-PERP", each.data["tick"]


def listed(captures):
    """Return contract to size, of both lists."""
    lists = [each.data["data"] for each in plain(captures, NAME) if each.url]
    return {each["contract_code"]: each["contract_size"] for found in lists for each in found}


def base_units(captures):
    """Return what converts contracts of an instrument at a price."""
    sizes = {f"huobi-swap:{code}-PERP": size for code, size in listed(captures).items()}
    return lambda name, price: sizes[name] / (price if name.endswith("-USD-PERP") else 1)


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 2_862, "trade": 25}
    assert found.left_out == {"instrument-list": 2, "subscription": 20, "ping": 12}


def test_contract_sizes_are_those_that_huobi_listed(captures):
    sizes = {code: float(size) for code, size in listed(captures).items()}
    assert len(sizes) == 171
    assert {code: contract_usd(code) or CONTRACT_SIZES[code] for code in sizes} == sizes


def test_trades_are_those_of_the_recording_counted_once(captures):
    expected, unit = defaultdict(list), base_units(captures)
    for name, tick in of(captures, "trade.detail"):
        for trade in tick["data"]:
            price = Decimal(trade["price"])
            assert trade["amount"] % 2 == 0  # both sides of each trade
            size = Decimal(trade["amount"]) / 2 * unit(name, price)
            expected[name].append((price, size, 1 if trade["direction"] == "buy" else -1))
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording_in_base_units(captures):
    books = defaultdict(PlainBook)
    for name, tick in of(captures, "depth.step0"):
        books[name].load(tick["bids"], tick["asks"])
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books, base_units(captures))


def test_best_prices_in_base_units():
    tick = {"mrid": 4, "ts": 1645289384842, "bid": [100, 5], "ask": [101, 6]}
    (linear,) = read_one(frame("market.ETH-USDT.bbo", tick))
    assert (linear.bid_size, linear.ask_size, linear.sequence) == (0.05, 0.06, 4)
    (inverse,) = read_one(frame("market.ETH-USD.bbo", tick))
    assert (inverse.bid_size, inverse.ask_size) == (0.5, 60 / 101)
    assert read_one(frame("market.ETH-USD.bbo", tick | {"bid": None})) == LeftOut("one-sided-quote")


def test_funding_and_liquidations_come_as_notices():
    rate = {"contract_code": "BTC-USD", "funding_rate": "0.0001", "settlement_time": "1645315200000"}
    notice = {"op": "notify", "topic": "public.BTC-USD.funding_rate", "ts": 1645289384843, "data": [rate]}
    (state,) = read_one(notice)
    assert (state.instrument_id, state.funding_rate) == ("huobi-swap:BTC-USD-PERP", 0.0001)
    assert state.next_funding_time_ns == 1645315200000000000
    order = {
        "contract_code": "ETH-USD",
        "direction": "sell",
        "volume": 231,
        "price": 200,
        "created_at": 1645289384843,
    }
    (forced,) = read_one(notice | {"topic": "public.*.liquidation_orders", "data": [order]})
    assert (forced.instrument_id, forced.side, forced.size) == ("huobi-swap:ETH-USD-PERP", -1, 11.55)
    unknown = [order | {"contract_code": "NEW-USDT"}]
    assert read_one(notice | {"topic": "public.*.liquidation_orders", "data": unknown}) == LeftOut(
        "contract-of-unknown-size"
    )
    assert read_one(notice | {"topic": "public.BTC-USD.contract_info"}) == LeftOut("notice")


def test_open_interest_counts_both_sides():
    interest = {"volume": 1711705.0, "amount": 17841.5, "symbol": "BTC", "contract_code": "BTC-USD"}
    (state,) = read_one({"ch": "market.BTC-USD.open_interest", "data": [interest], "ts": 1592904823141})
    assert (state.open_interest, state.event_time_ns) == (8920.75, 1592904823141000000)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (frame("market.BTC-USD.basis.1min.open", {}), "basis"),
        ({"op": "ping", "ts": "1"}, "ping"),
        ({"op": "sub", "topic": "public.*.funding_rate"}, "subscription"),
        (frame("market.BTC-USD.depth.step1", {}), "merged-depth"),
        (frame("market.BTC-USD.depth.size_20.high_freq", {}), "depth-changes"),
        (frame("market.BTC-USD.kline.1min", {}), "candle"),
        (frame("market.NEW-USDT.depth.step0", {"ts": 1, "mrid": 1}), "contract-of-unknown-size"),
    ],
)
def test_what_is_not_read_is_named(value, kind):
    if value.get("op") == "ping":
        value = {"op": "ping"}
    assert read_one(value) == LeftOut(kind)


def test_errors():
    with pytest.raises(DecodeError, match=r"^\$\.ch: expected a channel of Huobi's swaps, got 'market\.BTC-USD\.x'"):
        read_one(frame("market.BTC-USD.x", {}))
    with pytest.raises(DecodeError, match="expected a symbol of huobi-swap such as BTC-USDT, got 'BTC'"):
        read_one(frame("market.BTC.depth.step0", {"ts": 1, "mrid": 1}))
