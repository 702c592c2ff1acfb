import pytest

from schemas import DecodeError, base_asset, partition_of, venue_of
from schemas.instruments import murmur2


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # from Kafka's own UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafka(key, signed):
    assert (murmur2(key) ^ 1 << 31) - (1 << 31) == signed


@pytest.mark.parametrize(
    ("instrument", "venue", "asset"),
    [
        ("binance:BTC-USDT", "binance", "BTC"),
        ("binance-usdm:ETH-USDT-PERP", "binance-usdm", "ETH"),
        ("binance-coinm:BTC-USD-PERP", "binance-coinm", "BTC"),
    ],
)
def test_an_instrument_names_its_venue_and_asset(instrument, venue, asset):
    assert (venue_of(instrument), base_asset(instrument)) == (venue, asset)


def test_all_instruments_of_an_asset_share_a_partition():
    names = ("binance:BTC-USDT", "binance-usdm:BTC-USDT-PERP", "kraken:BTC-USD")
    assert len({partition_of(base_asset(name), 4) for name in names}) == 1


def test_a_name_without_a_venue_is_refused():
    with pytest.raises(DecodeError, match=r"\$.instrument_id: expected venue:symbol, got 'BTC'"):
        venue_of("BTC")
