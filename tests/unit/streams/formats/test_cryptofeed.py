import json

import pytest

from schemas import DecodeError, Derivative, LeftOut, Liquidation, Quote, Trade
from streams.formats.cryptofeed import decode

TRADE = {
    "exchange": "BINANCE_FUTURES",
    "symbol": "BTC-USDT-PERP",
    "side": "buy",
    "amount": 0.002,
    "price": 28145.1,
    "id": "3535186032",
    "type": None,
    "timestamp": 1680652700.452,
    "receipt_timestamp": 1680652700.441533,
}
TICKER = {
    "exchange": "COINBASE",
    "symbol": "BTC-USD",
    "bid": 100.0,
    "ask": 101.0,
    "timestamp": 1680652700.452,
    "receipt_timestamp": 1680652700.5,
}


def read(record):
    return decode(json.dumps(record).encode(), "cryptofeed")


def test_a_trade():
    assert read(TRADE) == [
        Trade(
            instrument_id="binance-usdm:BTC-USDT-PERP",
            venue="binance-usdm",
            event_time_ns=1680652700452000000,
            id="3535186032",
            price=28145.1,
            size=0.002,
            side=1,
        )
    ]


def test_numbers_may_be_texts_and_ids_numbers():
    assert read(TRADE | {"amount": "0.002", "price": "28145.1", "id": 3535186032}) == read(TRADE)


def test_a_timestamp_that_repeats_the_receipt_is_no_event_time():
    (event,) = read(TICKER | {"timestamp": TICKER["receipt_timestamp"]})
    assert event.event_time_ns == 0


def test_a_ticker_has_no_sizes():
    (event,) = read(TICKER)
    assert isinstance(event, Quote)
    assert (event.bid_price, event.ask_price) == (100.0, 101.0)
    assert event.bid_size != event.bid_size


def test_an_l1_book_of_inverse_contracts_is_told_in_base_units():
    record = {key: TICKER[key] for key in ("timestamp", "receipt_timestamp")} | {
        "exchange": "BINANCE_DELIVERY",
        "symbol": "BTC-USD-21Z31",
        "bid_price": 20000,
        "bid_size": 3,
        "ask_price": 20001,
        "ask_size": 2,
    }
    (event,) = read(record)
    assert event.instrument_id == "binance-coinm:BTC-USD-211231"
    assert (event.bid_size, event.ask_size) == (3 * 100 / 20000, 2 * 100 / 20001)


def test_funding():
    record = {
        "exchange": "OKX",
        "symbol": "BTC-USDT-PERP",
        "mark_price": None,
        "rate": 0.0001,
        "next_funding_time": 1680652800.0,
        "predicted_rate": None,
        "timestamp": 1680652700.452,
        "receipt_timestamp": 1680652700.5,
    }
    (event,) = read(record)
    assert isinstance(event, Derivative)
    assert (event.instrument_id, event.funding_rate) == ("okx:BTC-USDT-PERP", 0.0001)
    assert event.next_funding_time_ns == 1680652800000000000


def test_sizes_in_contracts_of_unknown_worth_are_not_made_up():
    assert read(TRADE | {"exchange": "OKX"}) == LeftOut("trade-in-contracts")
    (event,) = read(TICKER | {"exchange": "OKX", "symbol": "BTC-USD-PERP"})
    assert event.bid_price == 100.0


LIQUIDATION = {
    "exchange": "BINANCE_FUTURES",
    "symbol": "BTC-USDT-PERP",
    "side": "sell",
    "quantity": 0.5,
    "price": 28000.0,
    "id": None,
    "status": "filled",
    "timestamp": 1680652700.452,
    "receipt_timestamp": 1680652700.5,
}
CANDLE = {
    "exchange": "BINANCE_FUTURES",
    "symbol": "BTC-USDT-PERP",
    "start": 1680652680.0,
    "stop": 1680652739.999,
    "interval": "1m",
    "trades": 7,
    "open": 2.0,
    "close": 3.0,
    "high": 4.0,
    "low": 1.0,
    "volume": 9.0,
    "closed": True,
    "timestamp": 1680652740.1,
    "receipt_timestamp": 1680652740.2,
}
BOOK = {
    "exchange": "COINBASE",
    "symbol": "BTC-USD",
    "book": {"bid": {"100.5": 1.5, "99": "2"}, "ask": {"101": 3}},
    "timestamp": 1680652700.452,
    "receipt_timestamp": 1680652700.5,
}
STATE = {"exchange": "BINANCE_FUTURES", "symbol": "BTC-USDT-PERP", "timestamp": 1680652700.452}


def test_a_liquidation():
    for record in (
        LIQUIDATION,
        {key: LIQUIDATION[key] for key in LIQUIDATION if key != "quantity"} | {"leaves_qty": 0.5},
    ):
        (forced,) = read(record)
        assert isinstance(forced, Liquidation)
        assert (forced.price, forced.size, forced.side, forced.id) == (28000.0, 0.5, -1, "")
    (inverse,) = read(
        LIQUIDATION | {"exchange": "BINANCE_DELIVERY", "symbol": "ETH-USD-PERP", "quantity": 5, "price": 50}
    )
    assert inverse.size == 1.0


def test_open_interest_and_index():
    (interest,) = read(STATE | {"open_interest": 5.0})
    assert (interest.open_interest, interest.instrument_id) == (5.0, "binance-usdm:BTC-USDT-PERP")
    (index,) = read(STATE | {"price": 7.0})
    assert (index.index_price, index.event_time_ns) == (7.0, 1680652700452000000)


def test_a_closed_candle():
    (bar,) = read(CANDLE)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count) == (2, 4, 1, 3, 9, 7)
    assert (bar.event_time_ns, bar.interval_ns) == (1680652739999999999, 60_000_000_000)


def test_a_book_and_what_changes_in_it():
    (whole,) = read(BOOK | {"sequence_number": 8})
    assert (whole.snapshot, whole.last, whole.event_time_ns) == (True, 8, 1680652700452000000)
    assert (whole.bids, whole.asks) == ([(100.5, 1.5), (99.0, 2.0)], [(101.0, 3.0)])
    delta = {key: BOOK[key] for key in BOOK if key != "book"} | {"delta": {"bid": [["99", 0]], "ask": []}}
    (change,) = read(delta)
    assert (change.snapshot, change.last, change.bids, change.asks) == (False, -1, [(99.0, 0.0)], [])
    (inverse,) = read(delta | {"exchange": "BINANCE_DELIVERY", "symbol": "BTC-USD-PERP"})
    assert inverse.contract_usd == 100.0


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (BOOK | {"exchange": "OKX", "symbol": "BTC-USD-PERP"}, "book-in-contracts"),
        (BOOK | {"book": None, "delta": None}, "nothing-in-it"),
        (CANDLE | {"closed": False}, "open-candle"),
        (CANDLE | {"closed": None}, "open-candle"),
        (CANDLE | {"exchange": "BINANCE_DELIVERY", "symbol": "BTC-USD-PERP"}, "candle-in-contracts"),
        (STATE | {"exchange": "OKX", "open_interest": 5.0}, "open-interest-in-contracts"),
        (STATE | {"symbol": "BTC-USD", "price": 5.0}, "index-of-no-derivative"),
        (LIQUIDATION | {"exchange": "OKX"}, "liquidation-in-contracts"),
    ],
)
def test_what_is_not_read_is_named(record, kind):
    assert read(record) == LeftOut(kind)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (TRADE | {"side": "bid"}, "$.side: invalid enum value 'bid'"),
        (TRADE | {"price": -1}, "$.price: expected `float` > 0.0, got -1"),
        (TRADE | {"amount": "nan"}, "$.amount: expected `float` > 0.0, got 'nan'"),
        (TRADE | {"symbol": "BTCUSDT"}, "$.symbol: expected a symbol such as BTC-USDT or BTC-USD-PERP, got 'BTCUSDT'"),
        (TRADE | {"exchange": "a:b"}, "$.exchange: expected a venue such as BINANCE_FUTURES, got 'a:b'"),
        (TRADE | {"timestamp": 1e18}, "$.timestamp: expected `float` <= 4102444800.0, got 1e+18"),
        (TICKER | {"bid": 102}, "$: expected a bid of at most the ask 101.0, got 102.0"),
        ({"exchange": "OKX"}, None),
        (BOOK | {"book": {"bid": {"-1": 1}, "ask": {}}}, None),
        (CANDLE | {"high": 2.5}, "$: expected low <= open, close <= high, got (2.0, 2.5, 1.0, 3.0)"),
        (LIQUIDATION | {"quantity": None}, "$: expected a quantity or a leaves_qty, got neither"),
        ([TRADE], "$: expected `object`, got `array`"),
    ],
)
def test_errors(record, text):
    with pytest.raises(DecodeError) as caught:
        read(record)
    assert text is None or str(caught.value) == text
