"""Where raw messages come from: captures, the built-in market, and the way to the raw topics."""

import heapq
from collections.abc import Iterable, Iterator

import msgspec

HEARTBEAT = "heartbeat"
"""The `format` of a record that only says that time went on."""


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    """One message as a feed handler got it. `key` is its connection, whose order is kept.

    A source is an iterator of these in the order of receive time. A recorder's clock may step
    back: such a message keeps its time and its place behind those that its connection sent before.

    >>> RawMessage("raw.exchange.v1", b"binance/btcusdt", b"{}", "binance", "binance-combined", 5).headers()
    {'source': b'binance', 'format': b'binance-combined', 'receive_time_ns': b'5'}
    """

    topic: str
    key: bytes
    value: bytes
    source: str
    format: str
    receive_time_ns: int

    def headers(self) -> dict[str, bytes]:
        """Return the Kafka headers of the message."""
        return {
            "source": self.source.encode(),
            "format": self.format.encode(),
            "receive_time_ns": b"%d" % self.receive_time_ns,
        }


def merge(sources: Iterable[Iterable[RawMessage]]) -> Iterator[RawMessage]:
    """Yield the messages of all `sources` by receive time, those of one source in its own order.

    At equal times the earlier source comes first. One message per source is held at a time.
    """
    for _, message in heapq.merge(*map(_with_clock, sources), key=lambda timed: timed[0]):
        yield message


def _with_clock(messages: Iterable[RawMessage]) -> Iterator[tuple[int, RawMessage]]:
    greatest = 0
    for message in messages:
        greatest = max(greatest, message.receive_time_ns)
        yield greatest, message
