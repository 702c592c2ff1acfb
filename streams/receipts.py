"""From an id to the record of a forecast, and from its receipt to the rows behind it."""

from collections.abc import Iterator

import numpy as np

from schemas.errors import DecodeError, ForeshockError, SettingsError, StateError
from schemas.forecasts import Forecast, decode_json
from schemas.instruments import base_asset, partition_of
from schemas.rows import Rows, decode_rows
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW, FORECAST
from streams.reading import LogReader
from streams.stage import Message

_SCANNED = 2_000
"""So few records are read through rather than halved again."""
_DISORDER_NS = 60 * SECOND_NS
"""Repeats of a restart stand behind later forecasts; further than this none is searched."""
_MOST_ROWS = 100_000
"""Row messages that a receipt may name: far above any window, with all its repeats."""


def parse_id(forecast_id: str) -> tuple[str, int]:
    """Return the instrument and the origin time of an id.

    >>> parse_id("binance:BTC-USDT@1767226016000000000")
    ('binance:BTC-USDT', 1767226016000000000)
    """
    instrument, _, origin = forecast_id.rpartition("@")
    # Nanoseconds have 19 digits; of 4,300 Python makes no number.
    if not instrument or not origin.isascii() or not origin.isdecimal() or len(origin) > 19:  # noqa: PLR2004
        raise SettingsError(f"{forecast_id[:80]!r}: expected instrument_id@origin_time_ns, as a forecast's `id`")
    return instrument, int(origin)


def find_forecast(reader: LogReader, instrument: str, origin_ns: int) -> Forecast:
    """Return the first record of a forecast; raises StateError where there is none."""
    forecast_id = f"{instrument}@{origin_ns}"
    count = reader.partitions(FORECAST)
    if not count:
        raise StateError(f"{FORECAST}: there is no such topic; `foreshock run` creates it")
    partition = partition_of(base_asset(instrument), count)
    low, high = reader.bounds(FORECAST, partition)
    begin = low
    while high - begin > _SCANNED:
        middle = (begin + high) // 2
        if _origin_at(reader, partition, middle) < origin_ns - _DISORDER_NS:
            begin = middle
        else:
            high = middle
    return _scan(reader, partition, begin, forecast_id, origin_ns)


def _scan(reader: LogReader, partition: int, begin: int, forecast_id: str, origin_ns: int) -> Forecast:
    first = None
    for message in reader.read(FORECAST, partition, begin):
        forecast = _decoded(message)
        if forecast is None:
            continue
        first = first or forecast
        if forecast.id == forecast_id:
            return forecast
        if forecast.origin_time_ns > origin_ns + _DISORDER_NS:
            break
    if first is None or origin_ns >= first.origin_time_ns:
        why = "no such forecast was made"
    else:
        why = f"the topic begins with {first.id}: it is expired, or never was"
    raise StateError(f"{forecast_id}: not on {FORECAST}[{partition}]; {why}")


def _origin_at(reader: LogReader, partition: int, offset: int) -> int:
    for message in reader.read(FORECAST, partition, offset):
        forecast = _decoded(message)
        if forecast is not None:
            return forecast.origin_time_ns
    return np.iinfo(np.int64).max


def _decoded(message: Message) -> Forecast | None:
    try:
        return None if message.value is None else decode_json(message.value, Forecast)
    except ForeshockError:
        return None


def place_of(forecast: Forecast) -> tuple[int, int, int]:
    """Return the partition, first and last offset of the row messages that a receipt names; raises StateError."""
    rows = forecast.receipt.rows
    if len(rows) != 1 or rows[0][0] != FEATURE_ROW or not 0 <= rows[0][2] <= rows[0][3] < rows[0][2] + _MOST_ROWS:
        raise StateError(f"{forecast.id}: its receipt names no rows of {FEATURE_ROW}: {rows!r:.120}")
    return rows[0][1:]


def rows_behind(reader: LogReader, forecast: Forecast, more: int = 0) -> Iterator[tuple[int, Rows]]:
    """Yield the row messages of a receipt by offset, and about `more` intervals before them.

    What cannot be read is left out, as infer leaves it out. Raises StateError where the log has forgotten some.
    """
    partition, first, last = place_of(forecast)
    # Repeats of a restart take offsets too.
    for message in row_messages(reader, forecast.id, (partition, first, last), before=2 * more):
        try:
            yield message.offset, decode_rows(message.value or b"")
        except DecodeError:
            continue


def row_messages(
    reader: LogReader, forecast_id: str, place: tuple[int, int, int], *, before: int = 0, ahead: int = 0
) -> Iterator[Message]:
    """Yield the messages of rows by partition, first and last offset, up to `before` before and `ahead` behind them.

    Raises StateError where the log has forgotten some, or has none so far.
    """
    partition, first, last = place
    where = f"{FEATURE_ROW}[{partition}]"
    if not 0 <= partition < reader.partitions(FEATURE_ROW):
        raise StateError(f"{forecast_id}: there is no {where}; is this the log that it is from?")
    low, high = reader.bounds(FEATURE_ROW, partition)
    if low > first:
        raise StateError(f"{forecast_id}: its rows are expired; {where} begins at {low}, they at {first}")
    if last >= high:
        raise StateError(f"{forecast_id}: {where} ends at {high}, its rows at {last}; is this the log that it is from?")
    yield from reader.read(FEATURE_ROW, partition, max(low, first - before), last + 1 + ahead)
