"""Books as they stand in a checkpoint: small, and read back bit for bit."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import DecodeError, StateError
from streams.formats.book import BookChange, NumberLevel, TextLevel
from streams.ingest.book import Book, Reading, Side, Standing, read_change
from streams.ingest.checkpoints import ANEW
from streams.ingest.decimals import pack_decimals, unpack_decimals


class SideState(msgspec.Struct, frozen=True, array_like=True):
    """Levels of one side, the worst first: as numbers, or as texts with a line for each number."""

    numbers: bytes
    texts: str = ""
    known_from: float | None = None
    """The worst key that is known; None: all are."""


class WaitingState(msgspec.Struct, frozen=True, array_like=True):
    """A change that waits for a snapshot."""

    bids: bytes
    asks: bytes
    first: int
    last: int
    previous: int
    event_time_ns: int
    heard_ns: int
    depth: int
    size_unit: float
    contract_usd: float


class BookState(msgspec.Struct, frozen=True, array_like=True):
    """All that is known of one book."""

    instrument_id: str
    venue: str
    standing: Standing
    bids: SideState
    asks: SideState
    last: int
    fresh: bool
    chained: bool
    limit: int
    depth: int
    size_unit: float
    contract_usd: float
    time_ns: int
    heard_ns: int
    cell: int
    quoted: tuple[float, float, float, float] | None
    waiting: list[WaitingState]


_PLAIN = (
    *("instrument_id", "venue", "standing", "last", "fresh", "chained", "limit", "depth", "size_unit"),
    *("contract_usd", "time_ns", "heard_ns", "cell", "quoted"),
)
"""What a book and its state hold alike."""


def pack(book: Book) -> BookState:
    """Return the state of a book."""
    return BookState(
        **{name: getattr(book, name) for name in _PLAIN},
        bids=_pack_side(book.bids),
        asks=_pack_side(book.asks),
        waiting=[_pack_waiting(reading) for reading in book.waiting],
    )


def unpack(state: BookState) -> Book:
    """Return the book of a state; raises StateError."""
    book = Book(state.instrument_id, state.venue)
    for name in _PLAIN:
        setattr(book, name, getattr(state, name))
    try:
        _unpack_side(book.bids, state.bids)
        _unpack_side(book.asks, state.asks)
        book.waiting.extend(_unpack_waiting(waiting, state) for waiting in state.waiting)
    except (ValueError, DecodeError) as error:
        what = f"the book of {state.instrument_id} in a checkpoint of ingest is damaged"
        raise StateError(f"{what}: {error}; {ANEW}") from None
    book.waiting_levels = sum(reading.size for reading in book.waiting)
    return book


def _pack_side(side: Side) -> SideState:
    known_from = side.known_from if side.known_from > -np.inf else None
    if side.texts:
        prices = [side.sign * key for key in side.keys]
        return SideState(b"", "\n".join(text for price in prices for text in side.texts[price]), known_from)
    # Sorted here again, by numpy: a look-up for each level would take three times as long.
    numbers = np.fromiter(side.sizes, np.float64, len(side.sizes))
    sizes = np.fromiter(side.sizes.values(), np.float64, len(side.sizes))
    order = np.argsort(side.sign * numbers)
    return SideState(_packed(numbers[order], sizes[order]), known_from=known_from)


def _unpack_side(side: Side, state: SideState) -> None:
    if state.texts:
        lines = state.texts.split("\n")
        written: list[TextLevel] = list(zip(lines[::2], lines[1::2], strict=True))
        change = BookChange(instrument_id="", venue="", event_time_ns=0, bids=written, asks=[])
        side.load(read_change(change).bids, written, 0)
    else:
        levels = _levels(state.numbers)
        side.load(levels, levels, 0)
    if state.known_from is not None:
        side.known_from = state.known_from


def _pack_waiting(reading: Reading) -> WaitingState:
    change = reading.change
    return WaitingState(
        _bytes(reading.bids),
        _bytes(reading.asks),
        change.first,
        change.last,
        change.previous,
        change.event_time_ns,
        reading.heard_ns,
        change.depth,
        change.size_unit,
        change.contract_usd,
    )


def _unpack_waiting(waiting: WaitingState, state: BookState) -> Reading:
    bids, asks = _levels(waiting.bids), _levels(waiting.asks)
    change = BookChange(
        instrument_id=state.instrument_id,
        venue=state.venue,
        event_time_ns=waiting.event_time_ns,
        bids=bids,
        asks=asks,
        first=waiting.first,
        last=waiting.last,
        previous=waiting.previous,
        depth=waiting.depth,
        size_unit=waiting.size_unit,
        contract_usd=waiting.contract_usd,
    )
    return Reading(change, bids, asks, waiting.heard_ns)


def _bytes(levels: Sequence[NumberLevel]) -> bytes:
    numbers = np.array(levels, dtype=np.float64).reshape(-1, 2)
    return _packed(numbers[:, 0], numbers[:, 1])


def _packed(prices: NDArray[np.float64], sizes: NDArray[np.float64]) -> bytes:
    """Return the prices, as steps from one to the next, and behind them the sizes."""
    packed = pack_decimals(prices, steps=True)
    return len(packed).to_bytes(4) + packed + pack_decimals(sizes)


def _levels(packed: bytes) -> list[NumberLevel]:
    end = 4 + int.from_bytes(packed[:4])
    prices = unpack_decimals(packed[4:end], steps=True).tolist()
    return list(zip(prices, unpack_decimals(packed[end:]).tolist(), strict=True))
