"""Bar files: Parquet with `date` (start, UTC) and open, high, low, close, volume.

The name says the rest: `binance_spot_BTC_5m.parquet`. Files of funding rates and mark prices have
the same columns; they are left out.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import DecodeError
from schemas.rules import DAY_NS, HOUR_NS, MINUTE_NS
from schemas.topics import RAW_EXCHANGE
from streams.sources import RawMessage
from streams.sources.captures.capture import Capture

NAME = "bars (<venue>_<spot|futures>_<asset>_<interval>.parquet)"
FORMAT = "bars"
RECEIVE_DELAY_NS = 50_000_000
"""A bar counts as received so long after its end: what a feed of closed bars takes."""

_NAME = re.compile(r"([a-z]+)_([a-z_]+)_([A-Z0-9]+)_([0-9]+)([mhd])\.parquet")
_UNIT_NS = {"m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}
_MARKETS = {"spot": ("", "-USDT"), "futures": ("-usdm", "-USDT-PERP")}
"""Market to the ends of its venue's and its instruments' names."""
_PRICES = ("open", "high", "low", "close", "volume")
_ROWS = 8_192
_MS = 1_000_000


class _Bar(msgspec.Struct):
    """A raw bar: `interval` as in "5m", volume in base units; NaN is written as null."""

    instrument_id: str
    interval: str
    start_time_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def recognise(path: Path) -> Capture | str | None:
    """Return the capture that `path` is, or why it is left out; its name says what it holds."""
    if path.suffix != ".parquet":
        return None
    named = _NAME.fullmatch(path.name)
    if named is None:
        return None
    exchange, market, asset, count, unit = named.groups()
    if market not in _MARKETS:
        return f"{market} files are not read, only bars of {' and '.join(_MARKETS)}"
    venue_end, instrument_end = _MARKETS[market]
    source = exchange + venue_end
    interval_ms = int(count) * _UNIT_NS[unit] // _MS
    read = partial(_read, path, f"{source}:{asset}{instrument_end}", count + unit, interval_ms)
    return Capture(path, NAME, source, read)


def _read(path: Path, instrument_id: str, interval: str, interval_ms: int) -> Iterator[RawMessage]:
    source = instrument_id.partition(":")[0]
    key = f"{source}/{instrument_id.partition(':')[2]}/{interval}".encode()
    encoder = msgspec.json.Encoder()
    for starts, prices in _columns(path):
        for start, *values in zip(starts, *prices, strict=True):
            value = encoder.encode(_Bar(instrument_id, interval, start * _MS, *values))
            received = (start + interval_ms) * _MS + RECEIVE_DELAY_NS
            yield RawMessage(RAW_EXCHANGE, key, value, source, FORMAT, received)


def _columns(path: Path) -> Iterator[tuple[list[int], list[list[float]]]]:
    """Yield the start times (ms) and the price columns, some thousand rows at a time."""
    row = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(_ROWS, columns=["date", *_PRICES]):
            starts = batch.column("date").cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
            yield starts.to_pylist(), [batch.column(name).to_pylist() for name in _PRICES]
            row += batch.num_rows
    except (OSError, KeyError, pa.ArrowException) as problem:
        raise DecodeError(
            f"not a whole bar file with date, {', '.join(_PRICES)}: {problem}", where=f"{path}:{row}"
        ) from problem
