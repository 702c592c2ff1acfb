import json

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.tardis import decode

TIMES = {"timestamp": "2023-02-28T23:59:59.998Z", "localTimestamp": "2023-03-01T00:00:00.001Z"}
TIME_NS = 1677628799998000000
TRADE = TIMES | {
    "type": "trade",
    "symbol": "BTCUSDT",
    "exchange": "binance",
    "id": "3445374963",
    "price": 61130.98,
    "amount": 0.00145,
    "side": "sell",
}
BOOK = TIMES | {
    "type": "book_change",
    "symbol": "XBTUSD",
    "exchange": "bitmex",
    "isSnapshot": False,
    "bids": [{"price": 7985, "amount": 283318}],
    "asks": [{"price": 7986, "amount": 0}],
}
SNAPSHOT = (
    BOOK
    | {"type": "book_snapshot", "name": "book_snapshot_2_50ms", "depth": 2, "interval": 50}
    | {
        "bids": [{"price": 7633.5, "amount": 1906067}, {"price": 7633, "amount": 65319}],
        "asks": [{"price": 7634, "amount": 1467849}, {}],
    }
)
STATE = TIMES | {
    "type": "derivative_ticker",
    "symbol": "BTC-PERPETUAL",
    "exchange": "deribit",
    "lastPrice": 7987.5,
    "openInterest": 84129491,
    "fundingRate": -0.00001568,
    "fundingTimestamp": "2023-03-01T08:00:00.000Z",
    "indexPrice": 7989.28,
    "markPrice": 8000,
}
BAR = TIMES | {
    "type": "trade_bar",
    "symbol": "BTC-USDT-SWAP",
    "exchange": "okex-swap",
    "name": "trade_bar_10s",
    "interval": 10000,
    "kind": "time",
    "open": 3,
    "high": 4,
    "low": 1,
    "close": 2,
    "volume": 600,
    "trades": 13,
    "openTimestamp": "2023-02-28T23:59:51.800Z",
    "closeTimestamp": "2023-02-28T23:59:59.000Z",
}
OPTION = TIMES | {
    "type": "option_summary",
    "symbol": "BTC-27JUN25-100000-C",
    "exchange": "deribit",
    "optionType": "call",
    "strikePrice": 100000,
    "markIV": 54.2,
    "bestBidIV": 50,
    "delta": 0.5,
    "underlyingPrice": 61000.5,
    "openInterest": 12.5,
}


def read(message):
    return decode(json.dumps(message).encode(), "tardis")


def test_a_trade():
    (trade,) = read(TRADE)
    assert (trade.instrument_id, trade.venue, trade.event_time_ns) == ("binance:BTC-USDT", "binance", TIME_NS)
    assert (trade.price, trade.size, trade.side) == (61130.98, 0.00145, -1)
    assert (trade.sequence, trade.id) == (3445374963, "")
    (other,) = read(TRADE | {"id": "282a0445-0e3a"})
    assert (other.sequence, other.id) == (-1, "282a0445-0e3a")
    assert read(TRADE | {"side": "unknown"}) == LeftOut("trade-of-unknown-side")


def test_a_timestamp_that_repeats_the_local_one_is_no_event_time():
    (trade,) = read(TRADE | {"localTimestamp": TRADE["timestamp"]})
    assert trade.event_time_ns == 0


@pytest.mark.parametrize(
    ("exchange", "symbol", "instrument_id", "size"),
    [
        ("binance-futures", "BTCUSDT", "binance-usdm:BTC-USDT-PERP", 200),
        ("binance-delivery", "BTCUSD_240628", "binance-coinm:BTC-USD-240628", 200 * 100 / 50),
        ("binance-delivery", "DOTUSD_PERP", "binance-coinm:DOT-USD-PERP", 200 * 10 / 50),
        ("bitfinex", "BTCUSD", "bitfinex:BTC-USD", 200),
        ("bitget-futures", "BTCUSDT", "bitget:BTC-USDT-PERP", 200),
        ("bitmex", "XBTUSD", "bitmex:BTC-USD-PERP", 4),
        ("bitstamp", "BTCEUR", "bitstamp:BTC-EUR", 200),
        ("bybit", "BTCUSDT", "bybit:BTC-USDT-PERP", 200),
        ("bybit", "BTCUSD", "bybit:BTC-USD-PERP", 4),
        ("bybit-spot", "BTCUSDT", "bybit:BTC-USDT", 200),
        ("coinbase", "BTC-USD", "coinbase:BTC-USD", 200),
        ("cryptofacilities", "PI_XBTUSD", "kraken-futures:BTC-USD-PERP", 4),
        ("cryptofacilities", "FI_XBTUSD_210625", "kraken-futures:BTC-USD-210625", 4),
        ("deribit", "ETH-PERPETUAL", "deribit:ETH-USD-PERP", 4),
        ("deribit", "SOL_USDC-PERPETUAL", "deribit:SOL-USDC-PERP", 200),
        ("gate-io", "BTC_USDT", "gateio:BTC-USDT", 200),
        ("gate-io-futures", "BTC_USDT", "gateio-futures:BTC-USDT-PERP", 200 * 0.0001),
        ("huobi", "BTCHUSD", "huobi:BTC-HUSD", 200),
        ("kraken", "XBT/USD", "kraken:BTC-USD", 200),
        ("kucoin", "BTC-USDT", "kucoin:BTC-USDT", 200),
        ("okex", "BTC-USDT", "okx:BTC-USDT", 200),
        ("okex-swap", "BTC-USDT-SWAP", "okx:BTC-USDT-PERP", 2),
        ("upbit", "KRW-BTC", "upbit:BTC-KRW", 200),
    ],
)
def test_instruments_and_sizes_in_base_units(exchange, symbol, instrument_id, size):
    (trade,) = read(TRADE | {"exchange": exchange, "symbol": symbol, "price": 50, "amount": 200})
    assert (trade.instrument_id, trade.size) == (instrument_id, size)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (TRADE | {"exchange": "woo-x"}, "exchange-not-known"),
        (TRADE | {"exchange": "bitmex", "symbol": "ETHUSD"}, "contract-of-unknown-size"),
        (TRADE | {"exchange": "gate-io-futures", "symbol": "NEW_USDT"}, "contract-of-unknown-size"),
        (TRADE | {"exchange": "cryptofacilities", "symbol": "PF_XBTUSD"}, "contract-of-unknown-size"),
        (TRADE | {"exchange": "bybit", "symbol": "BTC-29MAR24"}, "contract-of-unknown-size"),
        ({"type": "disconnect", "exchange": "deribit", "localTimestamp": "2019-10-23T10:34:29.928Z"}, "disconnect"),
        ({"type": "error", "details": "x"}, "error"),
        (TRADE | {"type": "liquidation", "side": "unknown"}, "liquidation-of-unknown-side"),
        (SNAPSHOT | {"grouping": 10}, "merged-depth"),
        (BAR | {"kind": "volume"}, "bar-of-no-time"),
        (BAR | {"exchange": "bitmex", "symbol": "XBTUSD"}, "bar-in-dollars"),
        (OPTION | {"exchange": "binance", "symbol": "BTCUSDT"}, "option-of-unknown-units"),
    ],
)
def test_what_is_not_read_is_named(message, kind):
    assert read(message) == LeftOut(kind)


def test_changes_of_a_book():
    (change,) = read(BOOK)
    assert (change.snapshot, change.bids, change.asks) == (False, [(7985.0, 283318.0)], [(7986.0, 0.0)])
    assert (change.contract_usd, change.event_time_ns, change.last) == (1.0, TIME_NS, -1)
    (whole,) = read(BOOK | {"isSnapshot": True})
    assert (whole.snapshot, whole.limit) == (True, 0)


@pytest.mark.parametrize("name", ["book_snapshot", "book_snapshot_2_50ms"])
def test_a_snapshot_of_some_levels(name):
    (book,) = read(SNAPSHOT | {"type": name})
    assert (book.snapshot, book.limit, len(book.bids), len(book.asks)) == (True, 2, 2, 1)


def test_a_snapshot_of_one_level_is_a_quote():
    one = {side: SNAPSHOT[side][:1] for side in ("bids", "asks")}
    for name in ("book_snapshot", "quote", "quote_10s"):
        (quote,) = read(SNAPSHOT | one | {"type": name, "depth": 1})
        assert (quote.bid_price, quote.ask_price) == (7633.5, 7634.0)
        assert quote.bid_size == 1906067 / 7633.5
    assert read(SNAPSHOT | one | {"asks": [{}], "depth": 1}) == LeftOut("one-sided-quote")


def test_best_prices():
    best = TIMES | {"type": "book_ticker", "symbol": "BTC-USDT-SWAP", "exchange": "okex-swap"}
    sides = {"bidPrice": 50, "bidAmount": 200, "askPrice": 51, "askAmount": 300}
    (quote,) = read(best | sides)
    assert (quote.bid_size, quote.ask_size, quote.instrument_id) == (2.0, 3.0, "okx:BTC-USDT-PERP")
    assert read(best | {"bidPrice": 50, "bidAmount": 200}) == LeftOut("one-sided-quote")


def test_the_state_of_a_derivative():
    (state,) = read(STATE)
    assert (state.instrument_id, state.mark_price, state.index_price) == ("deribit:BTC-USD-PERP", 8000.0, 7989.28)
    assert (state.funding_rate, state.next_funding_time_ns) == (-0.00001568, 1677657600000000000)
    assert state.open_interest == 84129491 / 8000
    (bare,) = read({key: value for key, value in STATE.items() if not key.endswith("Price")})
    assert bare.open_interest != bare.open_interest  # dollars of an unknown price


def test_a_liquidation():
    (forced,) = read(TRADE | {"type": "liquidation"})
    assert (forced.side, forced.size, forced.price) == (-1, 0.00145, 61130.98)


def test_a_bar_covers_its_whole_interval():
    (bar,) = read(BAR)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count) == (3, 4, 1, 2, 6, 13)
    assert (bar.event_time_ns, bar.interval_ns) == (1677628799999999999, 10_000_000_000)


def test_an_option():
    (option,) = read(OPTION)
    assert (option.instrument_id, option.kind, option.strike) == ("deribit:BTC-USD-250627-100000-C", "call", 100000.0)
    assert (option.mark_volatility, option.bid_volatility) == (54.2 * 0.01, 0.5)
    assert (option.delta, option.open_interest, option.underlying_price) == (0.5, 12.5, 61000.5)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (TRADE | {"type": "x"}, "$.type: expected a type of Tardis's normalised data, got 'x'"),
        (TRADE | {"exchange": "a b"}, "$.exchange: expected an exchange such as binance-futures, got 'a b'"),
        (TRADE | {"timestamp": "2023-02-28 noon or so"}, "$.timestamp: expected a time"),
        (TRADE | {"price": None}, "$.price: expected `float`, got `null`"),
        (TRADE | {"symbol": "X"}, "$.s: expected a Binance symbol such as BTCUSDT, got 'X'"),
        (BAR | {"interval": 0.1}, "$.interval: expected an interval of 1 ms or more, got 0.1"),
        (BAR | {"high": 2}, "$: expected low <= open, close <= high"),
    ],
)
def test_errors(message, text):
    with pytest.raises(DecodeError) as caught:
        read(message)
    assert str(caught.value).startswith(text)
