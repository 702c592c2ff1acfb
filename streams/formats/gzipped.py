"""Frames in gzip, unpacked to a bounded size."""

import zlib

from schemas import DecodeError
from streams.formats.fields import MAX_FRAME_BYTES

_GZIP = 16 + zlib.MAX_WBITS
_MAGIC = b"\x1f\x8b"


def unpacked(value: bytes) -> bytes:
    """Return a frame as it was before gzip; one that is not packed stays as it is. Raises DecodeError.

    A frame of a few bytes can unpack to gigabytes: nothing behind MAX_FRAME_BYTES is unpacked.
    """
    if not value.startswith(_MAGIC):
        return value
    if len(value) > MAX_FRAME_BYTES:
        raise DecodeError(f"expected at most {MAX_FRAME_BYTES} bytes, got {len(value)}")
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(value, MAX_FRAME_BYTES)
    except zlib.error as error:
        raise DecodeError(f"expected a frame in gzip: {error}") from None
    if not stream.eof:
        too_large = bool(stream.unconsumed_tail)
        raise DecodeError(
            f"expected a frame of at most {MAX_FRAME_BYTES} bytes in gzip, got a {'larger' if too_large else 'cut'} one"
        )
    if stream.unused_data:
        raise DecodeError(f"expected one frame in gzip, got {len(stream.unused_data)} bytes behind it")
    return plain
