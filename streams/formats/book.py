"""What a frame says of a level-2 book: its levels, and how it joins what came before."""

from collections.abc import Callable, Sequence

import msgspec

TextLevel = tuple[str, str]
"""Price and size of a level as the venue wrote them; size zero removes it."""

Check = Callable[[Sequence[TextLevel], Sequence[TextLevel]], bool]
"""Whether the best levels of a book (bids, asks; best first, as written) have a frame's checksum."""


class BookChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A change of one book, or (`snapshot`) all of it. Ingest builds the book; it is no canonical event.

    `event_time_ns` is 0 where the frame carries none. Sizes are as written, in units of
    `size_unit`; `contract_usd` > 0: in contracts worth so many dollars each, as inverse contracts have.

    How a change joins the book, from its ids (-1: the venue sends none):
    * `last`: the update id of the book after it; one that is not above the book's own is a repeat.
    * `previous`: must be the book's own id (Binance `pu`, Deribit `prev_change_id`, OKX `prevSeqId`).
    * `first`: where `previous` is -1, or directly after a snapshot: at most the book's own id + 1
      (Binance `U`); a greater one is a gap.
    """

    instrument_id: str
    venue: str
    event_time_ns: int
    bids: Sequence[TextLevel]
    asks: Sequence[TextLevel]
    snapshot: bool = False
    first: int = -1
    last: int = -1
    previous: int = -1
    check: Check | None = None
    depth: int = 0
    """How many levels of a side the venue keeps; levels behind them are dropped. 0: all."""
    size_unit: float = 1.0
    contract_usd: float = 0.0
