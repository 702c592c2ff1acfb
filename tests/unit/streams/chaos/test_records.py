"""Which faults must leave no trace in the rows depends on what records carry."""

import pytest

from streams.chaos.records import has_event_times, is_named
from streams.sources import RawMessage

SPOT = b'{"stream":"btcusdt@%b","data":%b}'
TRADE = b'{"e":"trade","E":1767225603119,"T":1767225603118,"s":"BTCUSDT","t":271862224,"p":"5.0","q":"0.1","m":true}'
TICKER = b'{"u":2718622227,"s":"BTCUSDT","b":"59996.6","B":"0.03","a":"59996.7","A":"0.07"}'
KRAKEN = b'{"exchange":"KRAKEN","symbol":"ETH-USD","bid":3000.00,"ask":3000.01,"timestamp":1767225600.2}'


@pytest.mark.parametrize(
    ("source", "form", "value", "timed", "named"),
    [
        ("binance", "binance-combined", SPOT % (b"trade", TRADE), True, True),
        ("binance", "binance-combined", SPOT % (b"bookTicker", TICKER), False, False),
        ("kraken", "cryptofeed", KRAKEN, True, False),
        ("kraken", "cryptofeed", b"damaged", False, False),
    ],
)
def test_what_a_record_carries(source, form, value, timed, named):
    message = RawMessage("raw.exchange.v1", b"key", value, source, form, 1_767_225_604_000_000_000)
    assert (has_event_times(message), is_named(message)) == (timed, named)
