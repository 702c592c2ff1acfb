"""Binance tick captures: one line a frame, `<receive time> <frame>`, as hftbacktest records them.

Snapshots of books stand among the frames as REST answered them, without a word of their symbol: they
become messages with their question (streams/formats/rest.py). Frames go through as they are.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from schemas import DecodeError, ForeshockError
from schemas.topics import RAW_EXCHANGE
from streams.sources import RawMessage
from streams.sources.captures.capture import Capture, first_line, lines

NAME = "Binance ticks (<receive time> <frame>)"
FORMAT = "binance-combined"
SOURCES = {"spot": "binance", "usdm": "binance-usdm", "coinm": "binance-coinm"}
"""The folder that a file lies in, to its venue."""

_DEPTH = {"spot": b"api.binance.com/api/v3", "usdm": b"fapi.binance.com/fapi/v1", "coinm": b"dapi.binance.com/dapi/v1"}
"""The folder, to where its recorder asked for snapshots."""
_SNAPSHOT = b'{"lastUpdateId"'
_LINE = re.compile(rb"[0-9]{16,19} \{")
_NS_PER_UNIT = {19: 1, 16: 1_000}
"""Digits of a receive time of our days, to its unit: nanoseconds or microseconds."""


def recognise(path: Path) -> Capture | None:
    """Return the capture that `path` is. Its folder names the venue, its name the symbol."""
    if not _LINE.match(first_line(path)):
        return None
    source = SOURCES.get(path.parent.name)
    if source is None:
        raise ForeshockError(
            f"{path}: the folder of Binance ticks names their market; "
            f"expected {', '.join(SOURCES)}, got {path.parent.name!r}"
        )
    return Capture(path, NAME, source, partial(_read, path, source))


def _read(path: Path, source: str) -> Iterator[RawMessage]:
    symbol = path.name.partition("_")[0]
    key = f"{source}/{symbol}".encode()
    question = b"https://%b/depth?symbol=%b" % (_DEPTH[path.parent.name], symbol.upper().encode())
    for number, line in lines(path):
        time, space, frame = line.partition(b" ")
        unit = _NS_PER_UNIT.get(len(time))
        if unit is None or not space or not time.isdigit():
            raise DecodeError(
                f"expected a receive time in ns or us and a frame, got {line[:40]!r}",
                where=f"{path}:{number}",
            )
        if frame.startswith(_SNAPSHOT):
            frame = b'{"url":"%b","data":%b}' % (question, frame)
        yield RawMessage(RAW_EXCHANGE, key, frame, source, FORMAT, int(time) * unit)
