import json
import math
from collections import defaultdict
from decimal import Decimal

import pytest
import zstandard

from schemas import DecodeError, LeftOut, Liquidation
from streams.formats.bybit import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "BYBIT"
TRADE = {"T": 1672304486865, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "i": "20f43950", "BT": False}


def read_one(topic, data, source="bybit", **more):
    return decode(json.dumps({"topic": topic, "ts": 1672304486868, "data": data, **more}).encode(), source)


def data(captures, topic):
    """Return (instrument, record) of a topic; the connection says which market it is of."""
    path = captures / "ws_captures_cryptofeed" / f"{NAME}.jsonl.zst"
    lines = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().splitlines()
    sent = [json.loads(line) for line in lines]
    spot = {line["conn"] for line in sent if line["t"] == "connect" and line["addr"].endswith("/spot")}
    assert len(spot) == 1
    for line in sorted((line for line in sent if line["t"] == "recv"), key=lambda line: line["ts"]):
        frame = json.loads(line["data"], parse_float=Decimal)
        name, _, rest = frame.get("topic", "").partition(".")
        symbol = rest.rpartition(".")[2]
        if name == topic:
            yield f"bybit:{symbol[:-4]}-USDT{'' if line['conn'] in spot else '-PERP'}", frame


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"derivative": 156, "book": 2_148, "trade": 347, "bar": 6}


def test_trades_are_those_of_the_recording(captures):
    expected = defaultdict(list)
    for name, frame in data(captures, "publicTrade"):
        for trade in frame["data"]:
            expected[name].append((Decimal(trade["p"]), Decimal(trade["v"]), 1 if trade["S"] == "Buy" else -1))
    assert {"bybit:BTC-USDT", "bybit:BTC-USDT-PERP"} <= expected.keys()
    assert_trades_are(read(captures, NAME), expected)


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for name, frame in data(captures, "orderbook"):
        (books[name].load if frame["type"] == "snapshot" else books[name].update)(
            frame["data"]["b"], frame["data"]["a"]
        )
    assert len(books) == 6
    assert_books_are(read(captures, NAME), books)


def test_the_state_of_contracts_is_that_of_the_recording(captures):
    fields = {"markPrice": "mark_price", "indexPrice": "index_price", "fundingRate": "funding_rate"}
    fields |= {"openInterest": "open_interest"}
    expected = defaultdict(list)
    for name, frame in data(captures, "tickers"):
        told = {mine: float(frame["data"][theirs]) for theirs, mine in fields.items() if frame["data"].get(theirs)}
        if told or frame["data"].get("nextFundingTime"):
            expected[name].append(told)
    found = read(captures, NAME).events["derivative"]
    assert found.keys() == expected.keys()
    for name, states in found.items():
        made = [{field: getattr(state, field) for field in fields.values()} for state in states]
        assert [{field: n for field, n in each.items() if not math.isnan(n)} for each in made] == expected[name]


def test_bars_are_the_closed_candles_of_the_recording(captures):
    expected = {
        name: [float(candle[field]) for field in ("open", "high", "low", "close", "volume")]
        for name, frame in data(captures, "kline")
        for candle in frame["data"]
        if candle["confirm"]
    }
    found = read(captures, NAME).events["bar"]
    assert {name: [b.open, b.high, b.low, b.close, b.volume] for name, (b,) in found.items()} == expected


def test_symbols_are_named_as_the_recorded_lists_split_them(captures):
    lists = {"category=spot" in frame.url: frame.data["result"]["list"] for frame in plain(captures, NAME) if frame.url}
    for spot, listed in lists.items():
        assert len(listed) > 500
        for each in listed:
            (made,) = read_one(f"publicTrade.{each['symbol']}", [TRADE], "bybit-spot" if spot else "bybit")
            parts = made.instrument_id.removeprefix("bybit:").split("-")
            assert parts[:2] == [each["baseCoin"], each["quoteCoin"]], each["symbol"]
            assert len(parts) == (2 if spot else 3)
            assert spot or (parts[2] == "PERP") == (each["contractType"] == "LinearPerpetual")


@pytest.mark.parametrize(
    ("symbol", "name", "size"),
    [
        ("BTCUSD", "bybit:BTC-USD-PERP", 0.001 / 16578.5),
        ("BTCPERP", "bybit:BTC-USDC-PERP", 0.001),
        ("BTC-27JUN25", "bybit:BTC-USDC-250627", 0.001),
        ("BTCUSDT-5SEP25", "bybit:BTC-USDT-250905", 0.001),
    ],
)
def test_names_and_sizes_of_contracts(symbol, name, size):
    (trade,) = read_one(f"publicTrade.{symbol}", [TRADE])
    assert (trade.instrument_id, trade.size, trade.side) == (name, size, 1)


def test_a_bought_position_is_closed_by_a_forced_sale():
    liquidation = {"T": 1739502302929, "s": "ROSEUSDT", "S": "Buy", "v": "20000", "p": "0.04499"}
    assert read_one("allLiquidation.ROSEUSDT", [liquidation]) == [
        Liquidation(
            instrument_id="bybit:ROSE-USDT-PERP",
            venue="bybit",
            event_time_ns=1739502302929000000,
            price=0.04499,
            size=20000.0,
            side=-1,
        )
    ]


@pytest.mark.parametrize(
    ("topic", "record", "kind"),
    [
        ("publicTrade.BTCUSDT", [TRADE | {"BT": True}], "block-trade"),
        ("publicTrade.BTCUSDH26", [TRADE], "other-contract"),
        ("publicTrade.BTC-27JUN25-100000-C", [TRADE], "other-contract"),
        ("tickers.BTCUSDT", {"symbol": "BTCUSDT", "bid1Price": "1", "bid1Size": "2"}, "ticker-of-prices"),
        ("liquidation.BTCUSDT", {}, "liquidation"),
    ],
)
def test_what_is_left_out(topic, record, kind):
    assert read_one(topic, record) == LeftOut(kind)


@pytest.mark.parametrize(
    ("topic", "record", "text"),
    [
        ("publicTrade.BTCUSDT", [TRADE | {"p": "0"}], "expected `float` > 0.0"),
        ("publicTrade.BTCUSD", [TRADE | {"p": "5e-324"}], "expected a size of at most 1e+18"),
        ("publicTrade.BTC", [TRADE], "expected a symbol of Bybit such as BTCUSDT, got 'BTC'"),
        ("orderbook.7.BTCUSDT", {"s": "BTCUSDT", "b": [], "a": [], "u": 1}, "expected a topic such as orderbook.50"),
        ("x.BTCUSDT", {}, "expected a topic of Bybit, got 'x.BTCUSDT'"),
    ],
)
def test_frames_that_cannot_be(topic, record, text):
    with pytest.raises(DecodeError) as caught:
        read_one(topic, record)
    assert text in str(caught.value)


def test_the_source_says_which_stream_it_is():
    with pytest.raises(DecodeError, match=r"headers\.source: expected one of bybit, bybit-spot, got 'x'"):
        read_one("publicTrade.BTCUSDT", [TRADE], "x")
