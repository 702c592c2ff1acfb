"""Best prices of venues that send them as they are, also where a side is empty."""

from schemas import LeftOut, Quote


def quote(
    instrument_id: str,
    event_time_ns: int,
    bid: tuple[float, float],
    ask: tuple[float, float],
    sequence: int = -1,
) -> Quote | LeftOut:
    """Return the quote of two levels (price, size in base units), or why it is none.

    >>> quote("kucoin:BTC-USDT", 0, (0.0, 0.0), (2.0, 1.0))
    LeftOut(kind='one-sided-quote')
    """
    if 0.0 in {*bid, *ask}:
        return LeftOut("one-sided-quote")
    if bid[0] > ask[0]:
        return LeftOut("crossed-quote")
    return Quote(
        instrument_id=instrument_id,
        venue=instrument_id.partition(":")[0],
        event_time_ns=event_time_ns,
        sequence=sequence,
        bid_price=bid[0],
        bid_size=bid[1],
        ask_price=ask[0],
        ask_size=ask[1],
    )
