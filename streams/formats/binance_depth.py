"""Binance's depth streams and snapshots as changes of books.

A change holds the updates `U` to `u`. USD-M and COIN-M number the updates of all symbols together and
chain them by `pu`; spot numbers each symbol's from 1 to the next.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

import re

from schemas import DecodeError
from streams.formats.binance_records import DepthData, Snapshot
from streams.formats.binance_symbols import contract_usd, instrument
from streams.formats.book import BookChange
from streams.formats.fields import shown

_MS = 1_000_000
_LIMITS = frozenset({5, 10, 20, 50, 100, 500, 1000, 5000})
"""What a snapshot may be limited to: one with as many levels may go on behind the last."""
_PARTIAL = re.compile(r"@depth(5|10|20)(@[0-9]+ms)?")


def book_change(data: DepthData, source: str, path: str) -> BookChange:
    """Return the change of one depthUpdate; raises DecodeError."""
    if data.u < data.U:
        raise DecodeError(f"expected a last update of at least the first {data.U}, got {data.u}", path=f"{path}.u")
    return BookChange(
        instrument_id=instrument(source, data.s, path),
        venue=source,
        event_time_ns=(data.T or data.E or 0) * _MS,
        bids=data.b,
        asks=data.a,
        first=data.U,
        last=data.u,
        previous=data.pu,
        contract_usd=contract_usd(source, data.s),
    )


def book_snapshot(data: Snapshot, symbol: str, source: str, path: str) -> BookChange:
    """Return the book of `symbol` as REST and the partial streams of spot give it; raises DecodeError."""
    name = symbol.upper()
    if data.symbol not in {None, name}:
        raise DecodeError(f"expected a book of {shown(name)}, got {shown(data.symbol)}", path=f"{path}.symbol")
    levels = max(len(data.bids), len(data.asks))
    return BookChange(
        instrument_id=instrument(source, name, path),
        venue=source,
        event_time_ns=(data.T or data.E or 0) * _MS,
        bids=data.bids,
        asks=data.asks,
        snapshot=True,
        last=data.lastUpdateId,
        limit=levels if levels in _LIMITS else 0,
        contract_usd=contract_usd(source, name),
    )


def is_partial(stream: str) -> bool:
    """Return whether each record of a stream is the best levels of a book as a whole.

    >>> is_partial("btcusdt@depth20@100ms"), is_partial("btcusdt@depth@100ms")
    (True, False)
    """
    return _PARTIAL.search(stream) is not None


def symbol_of(stream: str) -> str:
    """Return the symbol that a stream is of, "" where its name has none.

    >>> symbol_of("btcusdt@depth5")
    'btcusdt'
    """
    symbol, at, _ = stream.partition("@")
    return symbol if at else ""
