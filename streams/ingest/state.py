"""What ingest knows of one raw partition between two records, as it stands in a checkpoint."""

import msgspec
import pyarrow as pa

from featurestore.clock import ClockState
from schemas import StateError
from streams.ingest.book_state import BookState
from streams.ingest.checkpoints import ANEW

_MAX_BYTES = 1 << 30
"""What a state may take before it is compressed: 500 MB are 15,000 books of 1,000 levels a side."""


class TradeKind(msgspec.Struct):
    """Whether an instrument's trades come one by one or aggregated, and when one came last."""

    aggregate: bool
    heard_ns: int


class NormaliserState(msgspec.Struct, kw_only=True):
    """All that a Normaliser knows between two raw records; `next_offset` is the next to feed."""

    rules_id: str
    raw_topic: str
    raw_partition: int
    next_offset: int = 0
    progressed: bool = False
    clock: ClockState = msgspec.field(default_factory=ClockState)
    trade_kinds: dict[str, TradeKind] = msgspec.field(default_factory=dict)
    books: list[BookState] = []
    tickers: dict[str, int] = msgspec.field(default_factory=dict)
    """When each instrument's best quote was last heard from its venue."""

    def encode(self) -> bytes:
        """Return the state as its length in 8 bytes and zstd of MessagePack.

        Raises StateError where it is too large to be read again.
        """
        packed = msgspec.msgpack.encode(self)
        if len(packed) > _MAX_BYTES:
            raise StateError(
                f"{self.raw_topic}[{self.raw_partition}]: a checkpoint of {len(self.books):,} books takes "
                f"{len(packed):,} bytes, {_MAX_BYTES:,} can be read again: record fewer instruments, or drain and go "
                "to new topics with more raw partitions (FORESHOCK_RAW_EXCHANGE_PARTITIONS)"
            )
        compressed: bytes = pa.compress(packed, codec="zstd", asbytes=True)
        return len(packed).to_bytes(8) + compressed

    @classmethod
    def decode(cls, value: bytes) -> "NormaliserState":
        """Return a state from `encode`; raises StateError."""
        try:
            if value.startswith(b"{"):  # as it was written before there were books
                return msgspec.json.decode(value, type=cls)
            size = int.from_bytes(value[:8])
            packed = pa.decompress(value[8:], min(size, _MAX_BYTES), codec="zstd", asbytes=True)
            return msgspec.msgpack.decode(packed, type=cls)
        except (msgspec.MsgspecError, ValueError, OSError, pa.ArrowException) as error:
            raise StateError(f"a checkpoint of ingest cannot be read: {error}; {ANEW}") from None
