"""One capture file: what it is, and its lines whatever they are packed in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from schemas import DecodeError
from streams.sources import RawMessage

_CHUNK_BYTES = 1 << 16
"""Small, so that an error names a line close to the damage."""
_FIRST_BYTES = 1 << 12
_PACKED_BY = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}
"""The first two bytes of packed files."""


class Capture(msgspec.Struct, frozen=True):
    """A recording of one venue. `read` yields its messages in the order of receive time.

    Reading raises DecodeError that names file and line where the file is cut off or damaged.
    """

    path: Path
    kind: str
    source: str
    read: Callable[[], Iterator[RawMessage]]


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and the bytes of each line of a plain, gzip or zstd file.

    Raises:
        DecodeError: the file cannot be unpacked to its end, or its last line was not finished.
    """
    number, rest = 0, b""
    stream = _open(path)
    while chunk := _next_chunk(stream, path, number, _CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for number, line in enumerate(whole, number + 1):  # noqa: B020 (counting goes on over chunks)
            yield number, line
    if rest:
        _expect_whole(rest, f"{path}:{number + 1}")
        yield number + 1, rest


def first_line(path: Path) -> bytes:
    """Return the first line of a file.

    Raises:
        DecodeError: the file is packed and cannot be unpacked so far.
    """
    stream, line = _open(path), b""
    while b"\n" not in line and (chunk := _next_chunk(stream, path, 0, _FIRST_BYTES)):
        line += chunk
    return line.partition(b"\n")[0]


def _open(path: Path) -> pa.NativeFile:
    with path.open("rb") as file:
        packed_by = _PACKED_BY.get(file.read(2))
    return pa.input_stream(str(path), compression=packed_by)


def _expect_whole(line: bytes, where: str) -> None:
    """Refuse a last line without its end whose JSON is not whole: the recorder was cut off."""
    try:
        msgspec.json.decode(line[line.find(b"{") :], type=msgspec.Raw)
    except msgspec.DecodeError as problem:
        raise DecodeError(f"the file is cut off in this line: {problem}", where=where) from problem


def _next_chunk(stream: pa.NativeFile, path: Path, number: int, size: int) -> bytes:
    try:
        chunk: bytes = stream.read(size)
    except (OSError, pa.ArrowInvalid) as problem:
        raise DecodeError(
            f"the file is cut off or damaged after this line: {problem}", where=f"{path}:{number}"
        ) from problem
    return chunk
