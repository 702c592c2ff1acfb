"""The state of an engine as bytes: msgpack in zstd, no code in it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from featurestore.books import BookStates
from featurestore.layout import Starts
from featurestore.parts import MarketBook
from featurestore.progress import TopicState
from featurestore.spaces import Space
from featurestore.tiles import SPAN_TILES, Series
from schemas import StateError
from schemas.forecasts import Announcement

_MAGIC = b"FSCP1"
_MOST_BYTES = 1 << 30
_DTYPES = {"f": np.dtype("<f8"), "i": np.dtype("<i8")}


class ArrayState(msgspec.Struct, frozen=True):
    """An array: "f" for float64 or "i" for int64, its shape, its values little-endian."""

    kind: str
    shape: tuple[int, int]
    values: bytes


class SpaceState(msgspec.Struct, frozen=True):
    """Entities of one home, the tails of their rings by series and level, and what is carried."""

    names: list[str]
    first_tile: ArrayState
    series: dict[str, list[ArrayState]]
    lasts: dict[str, list[ArrayState]]
    carries: dict[str, tuple[ArrayState, ArrayState]]
    books: tuple[ArrayState, ArrayState] | None = None
    """Whether each book is unknown, by tile, and the tile from which on it is carried; None: no book was heard."""
    forgotten: dict[str, tuple[str, int]] = {}
    """Entities that nothing is kept of but the record types of their events and the tile of the first."""


class ClosedState(msgspec.Struct, frozen=True):
    """What there is once tiles close.

    `closed`: the first open tile; `row_border_ns`: rows up to here are written;
    `first_row_ns`: the border of the first row.
    """

    closed: int
    row_border_ns: int
    first_row_ns: int
    last_event_tile: int
    starts: Starts
    spaces: dict[str, SpaceState]
    book: MarketBook
    market: dict[str, list[ArrayState]]


class EngineState(msgspec.Struct, frozen=True):
    """All that an engine knows."""

    partition: int
    rules_id: str
    announcement: Announcement
    topics: dict[str, TopicState]
    market_resume: int
    tiles: ClosedState | None


def encode_state(state: EngineState) -> bytes:
    """Return a state as bytes; equal states give equal bytes."""
    packed = msgspec.msgpack.encode(state)
    return _MAGIC + zstandard.ZstdCompressor(level=1, write_checksum=True).compress(packed)


def decode_state(blob: bytes, rules_id: str, partition: int) -> EngineState:
    """Return the state in `blob`; raises StateError where it is damaged or another log's."""
    if not blob.startswith(_MAGIC):
        raise StateError(f"expected a checkpoint that begins with {_MAGIC!r}, got {blob[:8]!r}: delete it and rebuild")
    try:
        frame = blob[len(_MAGIC) :]
        if zstandard.frame_content_size(frame) > _MOST_BYTES:
            raise StateError(f"expected a checkpoint of at most {_MOST_BYTES} bytes: delete it and rebuild")
        packed = zstandard.ZstdDecompressor().decompress(frame, max_output_size=_MOST_BYTES)
        state = msgspec.msgpack.decode(packed, type=EngineState)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"the checkpoint of partition {partition} is damaged ({error}): delete it and rebuild"
        raise StateError(problem) from None
    if state.rules_id != rules_id:
        raise StateError(
            f"the checkpoint was made under rules {state.rules_id}, this worker has {rules_id}: "
            "let the workers of the old rules drain the topics, then start with new topics"
        )
    if state.partition != partition:
        problem = f"expected a checkpoint of partition {partition}, got one of {state.partition}"
        raise StateError(f"{problem}: delete it and rebuild")
    return state


def pack(array: NDArray[Any]) -> ArrayState:
    """Return a two-dimensional (or flat) array of float64 or int64 as plain data."""
    kind = array.dtype.kind
    rows = array if array.ndim == 2 else array[None, :]  # noqa: PLR2004  # rows and columns
    return ArrayState(kind, (rows.shape[0], rows.shape[1]), np.ascontiguousarray(rows, _DTYPES[kind]).tobytes())


def unpack(state: ArrayState, kind: str, rows: int) -> NDArray[Any]:
    """Return the array; raises StateError where it is not `rows` rows of `kind`."""
    if state.kind != kind or state.shape[0] != rows or len(state.values) != 8 * state.shape[0] * state.shape[1]:
        raise StateError(f"expected {rows} rows of {kind}, got {state.shape} of {state.kind}: delete the checkpoint")
    return np.frombuffer(state.values, _DTYPES[kind]).reshape(state.shape).astype(_DTYPES[kind].newbyteorder("="))


def pack_series(series: Series, waiting_tiles: int) -> list[ArrayState]:
    """Return what a series keeps, at each level, for rows that wait `waiting_tiles` back."""
    states, spare = [], SPAN_TILES - waiting_tiles
    for level, ring in enumerate(series.levels):
        states.append(pack(ring.view(ring.head - ring.keep + max(spare, 0), ring.head)))
        spare = spare // series.factors[level] if level < len(series.factors) else 0
    return states


def unpack_series(states: Sequence[ArrayState], series: Series, rows: int, kind: str) -> None:
    """Fill an empty series; raises StateError where the shapes are others."""
    if len(states) != len(series.levels):
        raise StateError(f"expected {len(series.levels)} levels of tiles, got {len(states)}: delete the checkpoint")
    for ring, state in zip(series.levels, states, strict=True):
        block = unpack(state, kind, rows)
        if block.shape[1] > ring.keep:
            raise StateError(f"expected at most {ring.keep} tiles, got {block.shape[1]}: delete the checkpoint")
        ring.load(block)


def pack_space(space: Space, waiting_tiles: int) -> SpaceState:
    """Return the state of one space."""
    return SpaceState(
        list(space.names),
        pack(space.first_tile),
        {name: pack_series(series, waiting_tiles) for name, series in sorted(space.series.items())},
        {name: pack_series(series, waiting_tiles) for name, series in sorted(space.lasts.items())},
        {name: (pack(value), pack(index)) for name, (value, index) in sorted(space.carries.items())},
        _pack_books(space.books, waiting_tiles),
        dict(sorted(space.forgotten.items())),
    )


def unpack_space(state: SpaceState, space: Space) -> None:
    """Fill a fresh space that has the series of the same feature set."""
    if state.names != sorted(set(state.names)):
        raise StateError("expected sorted entities: delete the checkpoint")
    if set(state.series) != set(space.series) or set(state.lasts) != set(space.lasts):
        raise StateError("the checkpoint holds other series than its feature set needs: delete it and rebuild")
    space.admit(state.names)
    rows = len(state.names)
    if space.names != state.names or set(state.carries) != set(space.carries):
        raise StateError("the checkpoint holds other entities than its log: delete it and rebuild")
    space.first_tile = unpack(state.first_tile, "i", 1)[0]
    for name, series in space.series.items():
        unpack_series(state.series[name], series, rows, "f")
    for record, series in space.lasts.items():
        unpack_series(state.lasts[record], series, rows, "i")
    space.carries = {
        name: (unpack(value, "f", 1)[0], unpack(index, "i", 1)[0]) for name, (value, index) in state.carries.items()
    }
    if any(len(array) != rows for pair in space.carries.values() for array in (*pair, space.first_tile)):
        raise StateError("the checkpoint holds columns of other lengths: delete it and rebuild")
    if any((index >= space.head).any() for _, index in space.carries.values()):
        raise StateError("the checkpoint carries numbers of tiles that are not closed: delete it and rebuild")
    space.forgotten = dict(state.forgotten)
    if state.books is not None:
        _unpack_books(state.books, space.books, rows)


def _pack_books(books: BookStates, waiting_tiles: int) -> tuple[ArrayState, ArrayState]:
    ring = books.unknown
    kept = ring.view(ring.head - ring.keep + max(SPAN_TILES - waiting_tiles, 0), ring.head)
    return pack(kept.astype(np.int64)), pack(books.since)


def _unpack_books(state: tuple[ArrayState, ArrayState], books: BookStates, rows: int) -> None:
    unknown, since = unpack(state[0], "i", rows), unpack(state[1], "i", 1)[0]
    if unknown.shape[1] > books.unknown.keep or len(since) != rows:
        raise StateError("the checkpoint holds books of other entities: delete it and rebuild")
    books.unknown.load(unknown.astype(np.bool_))
    books.since = since
