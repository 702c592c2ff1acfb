"""What a frame says of a level-2 book: its levels, and how it joins what came before."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

TextLevel = tuple[str, str]
"""Price and size of a level as the venue wrote them; size zero removes it."""

NumberLevel = tuple[float, float]
"""The same as numbers that the format has checked: price above 0, size from 0."""

Levels = Sequence[TextLevel] | Sequence[NumberLevel]
"""Levels of one side, in any order. Texts are kept in the book, and in its checkpoints, for checksums:
a venue without them gives numbers, which cost a third."""

Check = Callable[[Sequence[Any], Sequence[Any]], bool]
"""Whether the best levels of a book (bids, asks; best first, as the format gave them) have a frame's
checksum. It gets up to `CHECKED_LEVELS` of each side and raises nothing."""

CHECKED_LEVELS = 25
"""The most that a venue takes into a checksum (OKX, Bitfinex, Bitget)."""


class BookChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A change of one book, or (`snapshot`) all of it. Ingest builds the book; it is no canonical event.

    `event_time_ns` is 0 where the frame carries none. Sizes are as written, in units of
    `size_unit`; `contract_usd` > 0: in contracts worth so many dollars each, as inverse contracts have.

    How a change joins the book, from its ids (-1: the venue sends none):
    * `last`: the update id of the book after it; one that is not above the book's own is a repeat.
    * `previous`: must be the book's own id (Binance `pu`, Deribit `prev_change_id`, OKX `prevSeqId`).
    * `first`: where `previous` is -1, or directly after a snapshot: at most the book's own id + 1
      (Binance `U`); a greater one is a gap.

    Changes without ids join whatever book there is. A change without levels that has a `check` is a
    checksum sent on its own.
    """

    instrument_id: str
    venue: str
    event_time_ns: int
    bids: Levels
    asks: Levels
    snapshot: bool = False
    first: int = -1
    last: int = -1
    previous: int = -1
    check: Check | None = None
    depth: int = 0
    """How many levels of a side the venue keeps; levels behind them are dropped. 0: all."""
    limit: int = 0
    """Of a snapshot: the most levels of a side that it may hold. A side of so many may go on behind
    its last level, which is then as far as the book is known. 0: a snapshot is the whole book."""
    size_unit: float = 1.0
    contract_usd: float = 0.0
