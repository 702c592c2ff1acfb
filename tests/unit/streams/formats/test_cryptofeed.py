import json

import pytest

from schemas import DecodeError, Derivative, LeftOut, Quote, Trade
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


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (TICKER | {"book": {"bid": {}, "ask": {}}}, "book"),
        (TICKER | {"delta": None, "book": {}}, "book"),
        (TRADE | {"open": 1.0}, "candle"),
        ({"exchange": "OKX", "symbol": "BTC-USDT-PERP", "open_interest": 5.0}, "open_interest"),
        (TRADE | {"leaves_qty": 1.0}, "liquidation"),
        (TRADE | {"quantity": 1.0, "status": "filled"}, "liquidation"),
    ],
)
def test_other_records_are_left_out(record, kind):
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
        ([TRADE], "$: expected `object`, got `array`"),
    ],
)
def test_errors(record, text):
    with pytest.raises(DecodeError) as caught:
        read(record)
    assert text is None or str(caught.value) == text
