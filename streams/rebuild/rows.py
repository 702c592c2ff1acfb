"""The row messages of many receipts, each read from the log once and kept while a receipt needs it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.errors import DecodeError
from schemas.rows import Rows, decode_rows
from streams.reading import LogReader
from streams.receipts import row_messages

_GAP = 64
"""Messages between the rows of two receipts that are read through rather than jumped over."""
_AT_ONCE = 500
"""Most messages that are read at once."""


class Place(NamedTuple):
    """The row messages of a receipt."""

    partition: int
    first: int
    last: int


class RowLog:
    """Rows by place; places are to be asked for in the order of `places`."""

    def __init__(self, reader: LogReader, places: Sequence[Place]) -> None:
        self._reader = reader
        self._ahead = dict(zip(places, _ahead(places), strict=True))
        self._partition = self._stop = -1
        self._values: dict[int, bytes] = {}
        self._rows: dict[int, Rows | None] = {}

    def messages(self, place: Place, forecast_id: str) -> Iterator[tuple[int, bytes]]:
        """Yield offsets and bytes of the messages of a receipt; raises StateError where the log has forgotten some."""
        if place.partition != self._partition:
            self._partition, self._stop = place.partition, -1
            self._values.clear()
            self._rows.clear()
        for held in (self._values, self._rows):
            for offset in [offset for offset in held if offset < place.first]:
                del held[offset]
        self._fetch(place, forecast_id)
        for offset in range(place.first, place.last + 1):
            if offset in self._values:
                yield offset, self._values[offset]

    def rows(self, place: Place, forecast_id: str) -> Iterator[tuple[int, Rows]]:
        """Yield offsets and rows as `messages` does; what cannot be read is left out, as infer leaves it out."""
        for offset, value in self.messages(place, forecast_id):
            if offset not in self._rows:
                self._rows[offset] = _decoded(value)
            rows = self._rows[offset]
            if rows is not None:
                yield offset, rows

    def _fetch(self, place: Place, forecast_id: str) -> None:
        if self._stop > place.last:
            return
        span = (place.partition, max(place.first, self._stop), place.last)
        for message in row_messages(self._reader, forecast_id, span, ahead=self._ahead[place]):
            self._values[message.offset] = message.value or b""
        self._stop = 1 + max([place.last, *self._values])


def _decoded(value: bytes) -> Rows | None:
    try:
        return decode_rows(value)
    except DecodeError:
        return None


def _ahead(places: Sequence[Place]) -> list[int]:
    """Return for each place how many messages behind it are read with it: those of the next ones that are near."""
    found: list[int] = []
    following: Place | None = None
    stop = -1
    for place in reversed(places):
        near = following is not None and following.partition == place.partition and following.first - place.last < _GAP
        stop = max(stop, place.last) if near else place.last
        found.append(min(stop - place.last, _AT_ONCE))
        following = place
    return found[::-1]
