"""Closed candles of venues."""

from schemas import Bar, DecodeError
from streams.formats.fields import shown


def closed_bar(
    instrument_id: str,
    start_ns: int,
    interval_ns: int,
    prices: tuple[float, float, float, float],
    volume: float,
    path: str,
) -> Bar:
    """Return a bar of open, high, low, close and base volume; raises DecodeError where they cannot be.

    >>> closed_bar("okx:BTC-USDT", 60, 60, (1.0, 3.0, 1.0, 2.0), 5.0, "$").event_time_ns
    119
    """
    opened, high, low, close = prices
    if not low <= min(opened, close) <= max(opened, close) <= high:
        raise DecodeError(f"expected low <= open, close <= high, got {shown(prices)}", path=path)
    return Bar(
        instrument_id=instrument_id,
        venue=instrument_id.partition(":")[0],
        event_time_ns=start_ns + interval_ns - 1,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        interval_ns=interval_ns,
    )
