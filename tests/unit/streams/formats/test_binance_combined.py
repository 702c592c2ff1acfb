"""Binance frames of all three markets, as Binance sends them and as it does not."""

import gzip
import json
from collections import Counter

import pytest

from schemas import Bar, DecodeError, Derivative, LeftOut, Liquidation, Quote, Trade
from streams.formats import AGGREGATE
from streams.formats.binance_combined import decode
from streams.formats.book import BookChange

TRADE = {
    "e": "trade",
    "E": 1680652700455,
    "T": 1680652700452,
    "s": "BTCUSDT",
    "t": 3535186032,
    "p": "28145.10",
    "q": "0.002",
    "X": "MARKET",
    "m": True,
}
QUOTE = {"u": 36090299876, "s": "BTCUSDT", "b": "28165.47", "B": "7.9868", "a": "28165.48", "A": "3.26888"}
MARK = {
    "e": "markPriceUpdate",
    "E": 1680652701000,
    "s": "BTCUSDT",
    "p": "28147.27373413",
    "P": "28142.15563565",
    "i": "28159.75642857",
    "r": "0.00002754",
    "T": 1680652800000,
}
CANDLE = {
    "t": 1633998240000,
    "T": 1633998299999,
    "s": "OMGBUSD",
    "i": "1m",
    "o": "13.7212",
    "c": "13.7664",
    "h": "13.8076",
    "l": "13.7212",
    "v": "536.51",
    "n": 14,
    "x": True,
    "q": "7391.5",
}


def frame(stream, data):
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def test_a_trade_has_the_transaction_time_and_the_side_of_the_aggressor():
    assert decode(frame("btcusdt@trade", TRADE), "binance-usdm") == [
        Trade(
            instrument_id="binance-usdm:BTC-USDT-PERP",
            venue="binance-usdm",
            event_time_ns=1680652700452000000,
            sequence=3535186032,
            price=28145.1,
            size=0.002,
            side=-1,
        )
    ]
    (buy,) = decode(frame("btcusdt@trade", TRADE | {"m": False}), "binance")
    assert (buy.instrument_id, buy.side) == ("binance:BTC-USDT", 1)


def test_an_aggregated_trade_says_that_it_is_one():
    data = {key: value for key, value in TRADE.items() if key != "t"} | {"e": "aggTrade", "a": 77}
    (event,) = decode(frame("btcusdt@aggTrade", data), "binance")
    assert (event.sequence, event.id) == (77, AGGREGATE)


def test_a_spot_quote_carries_no_event_time():
    assert decode(frame("btcusdt@bookTicker", QUOTE), "binance") == [
        Quote(
            instrument_id="binance:BTC-USDT",
            venue="binance",
            event_time_ns=0,
            sequence=36090299876,
            bid_price=28165.47,
            bid_size=7.9868,
            ask_price=28165.48,
            ask_size=3.26888,
        )
    ]


def test_a_futures_quote_has_the_transaction_time():
    data = QUOTE | {"e": "bookTicker", "T": 1680652700430, "E": 1680652700435}
    (event,) = decode(frame("btcusdt@bookTicker", data), "binance-usdm")
    assert event.event_time_ns == 1680652700430000000


def test_the_time_of_a_mark_price_is_e_because_t_is_the_next_funding():
    (event,) = decode(frame("btcusdt@markPrice@1s", MARK), "binance-usdm")
    assert event == Derivative(
        instrument_id="binance-usdm:BTC-USDT-PERP",
        venue="binance-usdm",
        event_time_ns=1680652701000000000,
        mark_price=28147.27373413,
        index_price=28159.75642857,
        funding_rate=0.00002754,
        next_funding_time_ns=1680652800000000000,
    )


def test_a_dated_contract_has_no_funding():
    data = {"e": "markPriceUpdate", "E": 1680652701000, "s": "BTCUSD_230630", "p": "28147.2", "r": "", "T": 0}
    (event,) = decode(frame("btcusd_230630@markPrice", data), "binance-coinm")
    assert event.instrument_id == "binance-coinm:BTC-USD-230630"
    assert (event.funding_rate != event.funding_rate, event.next_funding_time_ns) == (True, 0)


def test_all_symbols_in_one_frame_give_one_event_each():
    events = decode(frame("!markPrice@arr@1s", [MARK, MARK | {"s": "ETHUSDT"}]), "binance-usdm")
    assert [event.instrument_id for event in events] == [
        "binance-usdm:BTC-USDT-PERP",
        "binance-usdm:ETH-USDT-PERP",
    ]


@pytest.mark.parametrize(
    ("source", "symbol", "instrument_id"),
    [
        ("binance", "BTCUSDT", "binance:BTC-USDT"),
        ("binance", "BNBBTC", "binance:BNB-BTC"),
        ("binance", "1000SATSFDUSD", "binance:1000SATS-FDUSD"),
        ("binance-us", "BTCUSD", "binance-us:BTC-USD"),
        ("binance-usdm", "BTCUSDT_240628", "binance-usdm:BTC-USDT-240628"),
        ("binance-usdm", "ETHBTC", "binance-usdm:ETH-BTC-PERP"),
        ("binance-coinm", "BTCUSD_PERP", "binance-coinm:BTC-USD-PERP"),
        ("binance-coinm", "BTCUSD_240628", "binance-coinm:BTC-USD-240628"),
    ],
)
def test_symbols(source, symbol, instrument_id):
    (event,) = decode(frame("x@trade", TRADE | {"s": symbol}), source)
    assert event.instrument_id == instrument_id


@pytest.mark.parametrize(("symbol", "usd"), [("BTCUSD_PERP", 100), ("ETHUSD_PERP", 10)])
def test_coin_margined_contracts_are_told_in_base_units(symbol, usd):
    (trade,) = decode(frame("x@trade", TRADE | {"s": symbol, "p": "2000", "q": "3"}), "binance-coinm")
    assert trade.size == 3 * usd / 2000
    (quote,) = decode(frame("x@bookTicker", QUOTE | {"s": symbol, "b": "2000", "a": "2500"}), "binance-coinm")
    assert (quote.bid_size, quote.ask_size) == (7.9868 * usd / 2000, 3.26888 * usd / 2500)


def test_a_liquidation_has_the_side_and_the_average_price_of_its_order():
    order = {"s": "BTCUSDT", "S": "SELL", "q": "0.014", "p": "9910", "ap": "9920", "X": "FILLED", "T": 1568014460893}
    data = {"e": "forceOrder", "E": 1568014460893, "o": order}
    (event,) = decode(frame("btcusdt@forceOrder", data), "binance-usdm")
    assert event == Liquidation(
        instrument_id="binance-usdm:BTC-USDT-PERP",
        venue="binance-usdm",
        event_time_ns=1568014460893000000,
        price=9920.0,
        size=0.014,
        side=-1,
    )


def test_a_closed_kline_is_a_bar_and_an_open_one_is_left_out():
    data = {"e": "kline", "E": 1633998300001, "s": "OMGBUSD", "k": CANDLE}
    assert decode(frame("omgbusd@kline_1m", data), "binance-us") == [
        Bar(
            instrument_id="binance-us:OMG-BUSD",
            venue="binance-us",
            event_time_ns=1633998299999999999,
            open=13.7212,
            high=13.8076,
            low=13.7212,
            close=13.7664,
            volume=536.51,
            trade_count=14.0,
            interval_ns=60_000_000_000,
        )
    ]
    data["k"] = CANDLE | {"x": False}
    assert decode(frame("omgbusd@kline_1m", data), "binance-us") == LeftOut("open-kline")


def answer(url, data):
    return json.dumps({"url": url, "data": data}, separators=(",", ":")).encode()


DEPTH = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1.0", "0.0"]], "a": []}
SNAPSHOT = {"lastUpdateId": 5, "E": 1, "T": 1, "bids": [["1.0", "2.0"]], "asks": [["3.0", "1.0"]]}


def change(**fields):
    """A change of the book of BTCUSDT on spot."""
    basis = {"instrument_id": "binance:BTC-USDT", "venue": "binance", "event_time_ns": 0, "bids": [], "asks": []}
    return BookChange(**basis | fields)


def test_depth_of_spot_has_the_time_of_its_sending_and_joins_by_first_and_last():
    wanted = change(event_time_ns=1_000_000, bids=[(1.0, 0.0)], first=1, last=2)
    assert decode(frame("btcusdt@depth@100ms", DEPTH), "binance") == [wanted]
    assert decode(json.dumps(DEPTH).encode(), "binance") == [wanted]


def test_depth_of_futures_has_the_transaction_time_and_joins_by_the_update_before():
    (found,) = decode(frame("btcusdt@depth@0ms", DEPTH | {"T": 3, "pu": 0}), "binance-usdm")
    assert (found.instrument_id, found.event_time_ns) == ("binance-usdm:BTC-USDT-PERP", 3_000_000)
    assert (found.first, found.last, found.previous) == (1, 2, 0)


def test_depth_of_inverse_contracts_says_what_one_is_worth():
    for symbol, usd in (("BTCUSD_PERP", 100.0), ("ETHUSD_210924", 10.0)):
        (found,) = decode(frame("x@depth", DEPTH | {"s": symbol}), "binance-coinm")
        assert found.contract_usd == usd


def test_a_snapshot_is_of_the_symbol_that_was_asked_for():
    url = "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    wanted = change(event_time_ns=1_000_000, bids=[(1.0, 2.0)], asks=[(3.0, 1.0)], snapshot=True, last=5)
    assert decode(answer(url, SNAPSHOT), "binance") == [wanted]
    inverse = answer("https://dapi.binance.com/dapi/v1/depth", SNAPSHOT | {"symbol": "ETHUSD_PERP"})
    assert decode(inverse, "binance-coinm")[0].instrument_id == "binance-coinm:ETH-USD-PERP"
    with pytest.raises(DecodeError, match=r"\$\.data\.symbol: expected a book of 'BTCUSDT', got 'ETHUSDT'"):
        decode(answer(url, SNAPSHOT | {"symbol": "ETHUSDT"}), "binance")


def test_partial_depth_is_a_snapshot_of_so_many_levels():
    # Five levels of bids: more may lie behind. Three of asks: these are all.
    levels = {"bids": [[str(price), "1"] for price in (9, 8, 7, 6, 5)], "asks": [["10", "1"], ["11", "1"], ["12", "1"]]}
    (spot,) = decode(frame("btcusdt@depth5@100ms", {"lastUpdateId": 7} | levels), "binance")
    assert (spot.instrument_id, spot.snapshot, spot.limit, spot.last) == ("binance:BTC-USDT", True, 5, 7)
    usdm = DEPTH | {"b": levels["bids"], "a": levels["asks"], "pu": 1}
    (futures,) = decode(frame("btcusdt@depth5@100ms", usdm), "binance-usdm")
    assert (futures.snapshot, futures.limit, futures.last, len(futures.bids)) == (True, 5, 2, 5)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (json.dumps(SNAPSHOT).encode(), "depthSnapshot-of-no-symbol"),
        (answer("https://x/fapi/v1/exchangeInfo", {"symbols": []}), "exchangeInfo"),
        (answer("https://x/fapi/v1/time", {"serverTime": 1}), "other-answer"),
        (b'{"result":null,"id":1}', "subscription"),
        (b'{"error":{"code":2,"msg":"Invalid request"},"id":1}', "error"),
        (b'{"code":-1121,"msg":"Invalid symbol."}', "error"),
        (b'{"timezone":"UTC","serverTime":1,"symbols":[{"symbol":"BTCUSDT"}]}', "exchangeInfo"),
        (frame("!miniTicker@arr", [{"e": "24hrMiniTicker", "s": "BTCUSDT"}]), "24hrMiniTicker"),
        (frame("btcusdt@ticker", {"e": "24hrTicker", "s": "BTCUSDT"}), "24hrTicker"),
        (frame("x@trade", TRADE | {"p": "0", "q": "0", "X": "NA"}), "empty-trade"),
        (frame("x@trade", TRADE | {"X": "INSURANCE_FUND"}), "off-market-trade"),
        (frame("x@trade", TRADE | {"X": "ADL"}), "off-market-trade"),
        (frame("x@bookTicker", QUOTE | {"b": "0.0", "B": "0.0"}), "one-sided-bookTicker"),
    ],
)
def test_what_is_known_and_not_read_is_left_out_by_its_kind(value, kind):
    assert decode(value, "binance-usdm") == LeftOut(kind)


def test_other_spellings_of_the_same_frame_say_the_same():
    wanted = decode(frame("btcusdt@trade", TRADE), "binance")
    assert decode(json.dumps({"data": TRADE, "stream": "btcusdt@trade"}, indent=1).encode(), "binance") == wanted
    assert decode(json.dumps(TRADE).encode(), "binance") == wanted
    quote = decode(frame("btcusdt@bookTicker", QUOTE), "binance")
    assert decode(frame("!bookTicker", QUOTE), "binance") == quote


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (TRADE | {"p": "-1.0"}, "$.data.p: expected `float` > 0.0, got '-1.0'"),
        (TRADE | {"p": "0"}, "$.data.p: expected `float` > 0.0, got '0'"),
        (TRADE | {"p": "nan"}, "$.data.p: expected `float` > 0.0, got 'nan'"),
        (TRADE | {"q": "Infinity"}, "$.data.q: expected `float` <= 1e+18, got 'Infinity'"),
        (TRADE | {"q": "1e400"}, "$.data.q: number out of range, got '1e400'"),
        (TRADE | {"p": "1.0.0"}, "$.data.p: expected `float`, got `str`"),
        (TRADE | {"p": [1]}, "$.data.p: expected `float`, got `array`"),
        (TRADE | {"T": 0}, "$.data.T: expected `int` >= 1, got 0"),
        (TRADE | {"T": 10**30}, "$.data.T: expected `int` <= 4102444800000, got 1000000000000000000000000000000"),
        (TRADE | {"t": -1}, "$.data.t: expected `int` >= 0, got -1"),
        (TRADE | {"m": "perhaps"}, "$.data.m: expected `bool`, got `str`"),
        (TRADE | {"s": "BTC/USDT"}, "$.data.s: expected a Binance symbol such as BTCUSDT, got 'BTC/USDT'"),
        (TRADE | {"s": "BTCUSDT_240628"}, "$.data.s: expected a symbol of binance, got 'BTCUSDT_240628'"),
        (TRADE | {"e": "tread"}, "$.data.e: expected a kind of record that Binance sends, got 'tread'"),
        ({"e": "trade"}, "$.data: object missing required field `s`"),
        (DEPTH | {"b": [["x", "1"]]}, "$.data.b[0][0]: expected `float`, got `str`"),
        (DEPTH | {"b": [["0", "1"]]}, "$.data.b[0][0]: expected `float` > 0.0, got '0'"),
        (DEPTH | {"U": 3}, "$.data.u: expected a last update of at least the first 3, got 2"),
        (42, "$: expected `object`, got `int`"),
    ],
)
def test_an_error_names_the_field_and_what_stood_there(data, text):
    with pytest.raises(DecodeError) as caught:
        decode(frame("btcusdt@trade", data), "binance")
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", "$: expected JSON, got b'': Input data was truncated"),
        (b"42", "$: expected `object`, got `int`"),
        (b"{}", "$: expected a frame with stream and data, a record with e or an answer, got b'{}'"),
        (frame("x@trade", TRADE)[:-1], None),
        (frame("x@trade", TRADE) + b"}", None),
        (b"\xff\xfe" + frame("x@trade", TRADE), None),
        (b'{"stream":"x@trade","data":' + b"[" * 100_000, "$: expected a frame, got one nested too deeply to read"),
        (b" " * 8_388_609, "$: expected at most 8388608 bytes, got 8388609"),
        (
            frame("x@bookTicker", QUOTE | {"b": "28165.49"}),
            "$.data.b: expected a bid of at most the ask 28165.48, got 28165.49",
        ),
        (frame("x@bookTicker", QUOTE | {"b": "0"}), "$.data.b: expected `float` > 0.0, got '0'"),
        (frame("x@trade", TRADE | {"p": "0", "X": "NA"}), "$.data.p: expected `float` > 0.0, got '0'"),
        (
            frame("!markPrice@arr", [MARK, TRADE]),
            "$.data: expected records of one kind, got ['markPriceUpdate', 'trade']",
        ),
        (frame("!markPrice@arr", [MARK, MARK | {"i": 0}]), "$.data[1].i: expected `float` > 0.0, got 0"),
        (frame("!markPrice@arr", []), "$.data: expected records of one kind, got []"),
        (frame("x@kline_1m", {"e": "kline", "s": "BTCUSDT", "k": CANDLE | {"h": "1"}}), None),
        (frame("x@kline_1m", {"e": "kline", "s": "BTCUSDT", "k": CANDLE | {"T": 1}}), None),
    ],
)
def test_what_is_no_frame_is_an_error(value, text):
    with pytest.raises(DecodeError) as caught:
        decode(value, "binance")
    assert text is None or str(caught.value) == text


def test_a_source_that_is_no_binance_venue_is_an_error():
    with pytest.raises(DecodeError, match=r"headers\.source: expected one of binance, .*, got 'okx'"):
        decode(frame("btcusdt@trade", TRADE), "okx")


def test_every_real_frame_decodes_or_is_left_out(captures):
    found = Counter()
    folder = captures / "ticks_binance_hftbacktest"
    for path in sorted(folder.glob("*/*.gz")):
        source = {"spot": "binance", "usdm": "binance-usdm"}[path.parent.name]
        with gzip.open(path, "rb") as lines:
            for line in lines:
                made = decode(line.rstrip().partition(b" ")[2], source)
                found[made.kind if isinstance(made, LeftOut) else type(made[0]).__name__] += 1
    assert found == {
        "Trade": 40434,
        "off-market-trade": 1,
        "Quote": 151808,
        "Derivative": 514,
        "BookChange": 37990,
        "depthSnapshot-of-no-symbol": 3,
    }
