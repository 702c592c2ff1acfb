"""cryptofeed's raw captures (format 2): JSON lines of what went over the wire, a header first.

Answers of the venue's REST interface (book snapshots, instrument lists) are messages too, as
`{"url": ..., "data": <the answer>}`: most answers do not say what was asked. They have the key of the
venue's stream, whose changes a snapshot of a book must stay in order with.
"""

import base64
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from schemas import DecodeError
from schemas.topics import RAW_EXCHANGE
from streams.sources import RawMessage
from streams.sources.captures.capture import Capture, first_line, lines

NAME = "cryptofeed raw (header line, then JSON lines)"
_SOURCES = {
    "BINANCE": "binance",
    "BINANCE_FUTURES": "binance-usdm",
    "BINANCE_DELIVERY": "binance-coinm",
    "BINANCE_US": "binance-us",
}
"""Venues that send Binance's combined stream, and their names here."""

_STREAMS = {"wss://stream.bybit.com/v5/public/spot": "bybit-spot"}
"""Addresses of streams whose frames do not say of which market they are, and their sources."""

_READ_LINES = {"recv", "http"}
_OTHER_LINES = {"header", "connect", "send"}
"""What a venue did not send: passed over."""


class _Header(msgspec.Struct, tag_field="t", tag="header"):
    format: int
    exchange: str


class _Line(msgspec.Struct):
    """A line; a received message is text in `data`, or bytes in `b64`; `url` is what was asked."""

    t: str
    conn: str = ""
    ts: float = 0.0
    data: str = ""
    b64: str = ""
    url: str = ""
    addr: str = ""


_HEADER = msgspec.json.Decoder(_Header)
_LINE = msgspec.json.Decoder(_Line)


def recognise(path: Path) -> Capture | None:
    """Return the capture that `path` is. Its header names the venue."""
    try:
        header = _HEADER.decode(first_line(path))
    except msgspec.DecodeError:
        return None
    name = header.exchange
    source = _SOURCES.get(name, name.lower().replace("_", "-").replace(".", "-"))
    frames = "binance-combined" if name in _SOURCES else f"{source}-websocket"
    return Capture(path, NAME, source, partial(_read, path, source, frames))


def _read(path: Path, source: str, frames: str) -> Iterator[RawMessage]:
    # The recorder wrote its connections one after another, so their lines are put in order here.
    # A capture of this kind is half a minute long: it fits in memory.
    read = [line for _, line in _lines(path)]
    sources = {line.conn: _STREAMS.get(line.addr, source) for line in read if line.t == "connect"}
    sent = sorted((line for line in read if line.t in _READ_LINES), key=lambda line: line.ts)
    stream = next((line.conn for line in sent if line.t == "recv"), "")
    for line in sent:
        connection = line.conn if line.t == "recv" else stream
        key, of = f"{source}/{connection}".encode(), sources.get(connection, source)
        yield RawMessage(RAW_EXCHANGE, key, _value(line), of, frames, round(line.ts * 1e6) * 1_000)


def _value(line: _Line) -> bytes:
    if line.t == "http":
        return b'{"url":%b,"data":%b}' % (msgspec.json.encode(line.url), line.data.encode())
    return base64.b64decode(line.b64) if line.b64 else line.data.encode()


def _lines(path: Path) -> Iterator[tuple[int, _Line]]:
    for number, text in lines(path):
        where = f"{path}:{number}"
        try:
            line = _LINE.decode(text)
        except msgspec.DecodeError as problem:
            raise DecodeError(f"not a line of this capture: {problem}", where=where) from problem
        if line.t not in _READ_LINES | _OTHER_LINES:
            raise DecodeError(f"expected one of {sorted(_READ_LINES | _OTHER_LINES)}, got {line.t!r}", where=where)
        yield number, line
