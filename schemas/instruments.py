"""Instrument names and the partition that an asset lives in."""

from functools import lru_cache

from schemas.errors import DecodeError

ANY_ASSET = "*"
"""The asset of an event that concerns every instrument."""

_PARTS_OF_AN_OPTION = 4
"""Quote asset, day, strike, kind, behind the base asset."""
_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def venue_of(instrument_id: str) -> str:
    """Return the venue of an instrument.

    >>> venue_of("binance-usdm:BTC-USDT-PERP")
    'binance-usdm'
    """
    venue, colon, _ = instrument_id.partition(":")
    if not colon:
        raise DecodeError(f"expected venue:symbol, got {instrument_id!r}", path="$.instrument_id")
    return venue


def base_asset(instrument_id: str) -> str:
    """Return the base asset of an instrument; an asset is its own.

    >>> base_asset("binance:BTC-USDT"), base_asset("ETH")
    ('BTC', 'ETH')
    """
    return instrument_id.rpartition(":")[2].partition("-")[0]


@lru_cache(maxsize=65_536)
def is_option(instrument_id: str) -> bool:
    """Return whether an instrument is an option: its name ends in day, strike and C or P.

    >>> is_option("deribit:BTC-USD-210730-34000-C"), is_option("deribit:BTC-USD-210730")
    (True, False)
    """
    _, *rest = instrument_id.rpartition(":")[2].split("-")
    return len(rest) == _PARTS_OF_AN_OPTION and rest[-1] in ("C", "P")


def murmur2(key: bytes) -> int:
    """Return Kafka's murmur2 of `key` as an unsigned 32-bit number.

    Source: org.apache.kafka.common.utils.Utils.murmur2 (Appleby's MurmurHash2 with Kafka's seed).

    >>> murmur2(b"21") - (1 << 32)
    -973932308
    """
    length = len(key)
    h = _SEED ^ length
    for start in range(0, length - 3, 4):
        k = int.from_bytes(key[start : start + 4], "little") * _MULTIPLIER & _MASK
        k ^= k >> 24
        h = (h * _MULTIPLIER & _MASK) ^ (k * _MULTIPLIER & _MASK)
    tail = key[length & ~3 :]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = h * _MULTIPLIER & _MASK
    h ^= h >> 13
    h = h * _MULTIPLIER & _MASK
    return h ^ (h >> 15)


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=65_536)
def partition_of(asset: str, partitions: int) -> int:
    """Return the canonical partition of a base asset.

    >>> partition_of("BTC", 4), partition_of("ETH", 4)
    (2, 1)
    """
    return partition_of_key(asset.encode(), partitions)
