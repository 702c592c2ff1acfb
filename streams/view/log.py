"""Places in topics of JSON records by their time, found by halving; and pieces of them."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from schemas.errors import DecodeError
from schemas.forecasts import decode_json
from schemas.instruments import base_asset, partition_of
from streams.reading import LogReader

_Record = TypeVar("_Record", bound=msgspec.Struct)
_NEAR = 64
"""So few records are read through rather than halved again."""


class Timed(msgspec.Struct, frozen=True):
    """The fields that place a record of a forecast topic."""

    instrument_id: str
    origin_time_ns: int
    horizon: str = ""


class JsonLog:
    """One partition of a topic of JSON records whose time, as `time_of` says it, rises but for repeats."""

    def __init__(self, reader: LogReader, topic: str, partition: int, time_of: Callable[[Timed], int]) -> None:
        self._reader, self._topic, self._partition, self.time_of = reader, topic, partition, time_of
        self.low, self.high = reader.bounds(topic, partition)

    def first_at(self, time_ns: int, begin: int | None = None, end: int | None = None) -> int:
        """Return the offset in [begin, end) from which on records of `time_ns` and later stand, or a little less."""
        low, high = self.low if begin is None else begin, self.high if end is None else end
        while high - low > _NEAR:
            middle = (low + high) // 2
            at = self.time_at(middle)
            if at is not None and at < time_ns:
                low = middle
            else:
                high = middle
        return low

    def time_at(self, offset: int) -> int | None:
        """Return the time of the first readable record from an offset on, None where there is none."""
        return next((self.time_of(record) for _, record in self.read(Timed, offset, offset + _NEAR)), None)

    def read(self, kind: type[_Record], start: int, stop: int | None = None) -> Iterator[tuple[int, _Record]]:
        """Yield offset and record of what can be read in [start, stop)."""
        for message in self._reader.read(self._topic, self._partition, start, stop):
            if message.value is not None:
                try:
                    yield message.offset, decode_json(message.value, kind)
                except DecodeError:
                    continue


def partition_for(reader: LogReader, topic: str, instrument: str) -> int:
    """Return the partition that an instrument's records of a topic are in."""
    return partition_of(base_asset(instrument), max(1, reader.partitions(topic)))
