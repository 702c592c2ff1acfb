"""What an Arrow IPC stream says of itself before anything of it is read: its messages, and whether one is compressed.

pyarrow unpacks whatever a message declares: five kilobytes of zstd become gigabytes. Nothing of ours is
compressed so, and what is gets refused unread. The layout is that of Arrow's Message.fbs.
"""

import struct
from collections.abc import Iterator

from schemas.errors import DecodeError

_CONTINUATION = 0xFFFFFFFF
_DICTIONARY, _RECORDS = 2, 3
"""Types of a message's header."""
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
"""Fields of a message."""
_DICTIONARY_DATA, _COMPRESSION = 1, 3
"""Fields of a dictionary batch and of a record batch."""


def require_plain(value: bytes) -> None:
    """Raise DecodeError where a message of an Arrow IPC stream is compressed, or is no message."""
    try:
        if any(map(_is_compressed, _messages(value))):
            raise DecodeError("expected an Arrow IPC stream that is not compressed, got one that is")
    except (struct.error, IndexError):
        problem = f"expected an Arrow IPC stream, got {len(value)} bytes that are none"
        raise DecodeError(problem) from None


def _messages(value: bytes) -> Iterator["_Table"]:
    """Yield the metadata of the messages, up to the end mark or the end."""
    place, end = 0, len(value)
    while place + 4 <= end:
        (length,) = struct.unpack_from("<I", value, place)
        place += 4
        if length == _CONTINUATION:
            (length,) = struct.unpack_from("<I", value, place)
            place += 4
        if not length:
            return
        message = _Table.root(value, place)
        yield message
        body = message.number(_BODY_LENGTH, "<q")
        if length > end or not 0 <= body <= end:
            raise IndexError
        place += length + body


def _is_compressed(message: "_Table") -> bool:
    kind = message.number(_HEADER_TYPE, "<B")
    if kind not in {_DICTIONARY, _RECORDS}:
        return False
    batch = message.table(_HEADER)
    if batch is not None and kind == _DICTIONARY:
        batch = batch.table(_DICTIONARY_DATA)
    return batch is not None and batch.has(_COMPRESSION)


class _Table:
    """A table of a flatbuffer: fields by number, found through its vtable."""

    def __init__(self, value: bytes, place: int) -> None:
        self._value, self._place = value, place
        (back,) = struct.unpack_from("<i", value, place)
        self._fields = place - back
        if self._fields < 0 or place < 0:
            raise IndexError
        (self._size,) = struct.unpack_from("<H", value, self._fields)

    @classmethod
    def root(cls, value: bytes, place: int) -> "_Table":
        (ahead,) = struct.unpack_from("<I", value, place)
        return cls(value, place + ahead)

    def _at(self, field: int) -> int:
        """Return where a field stands, 0 where it is not there."""
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return 0
        (ahead,) = struct.unpack_from("<H", self._value, self._fields + slot)
        return self._place + ahead if ahead else 0

    def has(self, field: int) -> bool:
        return self._at(field) > 0

    def number(self, field: int, form: str) -> int:
        place = self._at(field)
        return int(struct.unpack_from(form, self._value, place)[0]) if place else 0

    def table(self, field: int) -> "_Table | None":
        place = self._at(field)
        return _Table.root(self._value, place) if place else None
