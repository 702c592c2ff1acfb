"""Runs of Binance trades and best quotes, read as one JSON array.

Only frames whose reading alone is certain to say the same are taken. Joined by a comma and a line
feed, n texts that read as an array of n objects could still be cut otherwise than where they were
joined; but then a joint would lie within a text, where no line feed may be, within a list, and there
is none, or before a key, and behind each joint stands an object. So each text is one object.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import DecodeError
from streams.formats import AGGREGATE
from streams.formats.binance_records import ON_MARKET, AggregateData, QuoteData, TradeData
from streams.formats.binance_symbols import MARKETS, contract_usd, instrument
from streams.formats.fields import MAX_FRAME_BYTES
from streams.formats.run import FrameRun

RUN_OF = "binance-combined"

_MS = 1_000_000
_JOINT = b",\n"
_BRACE, _AT, _LINE_FEED = b"{@\n"
_NAME_FROM = len(b'{"stream":"')
MAX_STREAM_NAME = 64
"""Where `decode` looks for the name of the stream."""
_MAX_NAMES = 65_536

Floats = NDArray[np.float64]
_names: dict[str, dict[str, str]] = {}
"""By source and symbol: what `instrument` returned."""


class _TradeFrame(msgspec.Struct, gc=False):
    stream: str
    data: TradeData


class _AggregateFrame(msgspec.Struct, gc=False):
    stream: str
    data: AggregateData


class _QuoteFrame(msgspec.Struct, gc=False):
    stream: str
    data: QuoteData


def decode_run(values: Sequence[bytes], source: str) -> list[FrameRun] | None:
    """Return the events of frames of the Binance venue `source`; None where they must be read one by one."""
    if source not in MARKETS:
        return None
    kind = _kind(values[0])
    run = _KINDS[kind](values, source) if kind in _KINDS else None
    if run is not None:
        return [run._replace(rows=np.arange(len(values)))]
    return _mixed(values, source)


def _kind(value: bytes) -> bytes:
    """Return the end of the stream's name, which begins at a fixed place: the kind of record."""
    end = value.find(b'"', _NAME_FROM)
    return value[value.find(b"@") : end + 1]


def _mixed(values: Sequence[bytes], source: str) -> list[FrameRun] | None:
    rows: dict[bytes, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(_kind(value), []).append(row)
    if len(rows) == 1:
        return None
    runs = []
    for kind, places in rows.items():
        run = _KINDS[kind]([values[row] for row in places], source) if kind in _KINDS else None
        if run is None:
            return None
        runs.append(run._replace(rows=np.array(places)))
    return runs


def _frames(decoder: "msgspec.json.Decoder[Any]", kind: bytes, values: Sequence[bytes]) -> list[Any] | None:
    """Return the records of frames of one kind of stream, None where a frame might read otherwise alone."""
    text = _JOINT.join(values)
    if (
        len(text) > MAX_FRAME_BYTES
        or any(mark in text for mark in (b"[", b"]", b"\\"))
        or not _each_names(text, len(values))
    ):
        return None
    try:
        frames = decoder.decode(b"[%b]" % text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    ending = kind[:-1].decode()
    streams = {frame.stream for frame in frames}
    if len(frames) != len(values) or not all(name.endswith(ending) for name in streams):
        return None
    return [frame.data for frame in frames]


def _each_names(text: bytes, count: int) -> bool:
    """Return whether each of the joined texts is one line, begins as an object and has one @ where `decode` looks."""
    marks = np.frombuffer(text, np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(marks == _LINE_FEED) + 1])
    places = np.flatnonzero(marks == _AT)
    if not len(text) or text[-1] == _LINE_FEED or len(starts) != count or len(places) != count:
        return False
    after = places - starts
    return bool(
        (marks[starts] == _BRACE).all()
        and (after > 0).all()
        and (after < MAX_STREAM_NAME).all()
        and (places[:-1] < starts[1:]).all()
    )


def _instruments(symbols: list[str], source: str) -> list[str] | None:
    known = _names.setdefault(source, {})
    try:
        return [known[symbol] for symbol in symbols]
    except KeyError:
        pass
    try:
        names = {symbol: instrument(source, symbol) for symbol in set(symbols)}
    except DecodeError:
        return None
    if len(known) + len(names) > _MAX_NAMES:
        known.clear()
    known.update(names)
    return [names[symbol] for symbol in symbols]


def _base_sizes(sizes: Floats, prices: Floats, symbols: list[str], source: str) -> Floats:
    if MARKETS[source] != "inverse":
        return sizes
    usd: Floats = np.array([contract_usd(source, symbol) for symbol in symbols])
    return sizes * usd / prices


def _trades(
    decoder: "msgspec.json.Decoder[Any]", kind: bytes, number: str, identity: str
) -> Callable[[Sequence[bytes], str], FrameRun | None]:
    def read(values: Sequence[bytes], source: str) -> FrameRun | None:
        found = _frames(decoder, kind, values)
        if found is None:
            return None
        symbols = [each.s for each in found]
        instruments = _instruments(symbols, source)
        if instruments is None or (number == "t" and any(each.X != ON_MARKET for each in found)):
            return None
        numbers = [each.t for each in found] if number == "t" else [each.a for each in found]
        prices = np.array([each.p for each in found])
        sizes = _base_sizes(np.array([each.q for each in found]), prices, symbols, source)
        sides = np.where(np.array([each.m for each in found]), -1, 1).astype(np.int8)
        times = np.array([each.T for each in found], np.int64) * _MS
        fields: dict[str, NDArray[Any]] = {"price": prices, "size": sizes, "side": sides}
        return FrameRun("trade", _NONE, instruments, times, np.array(numbers, np.int64), fields, identity)

    return read


def _quotes(values: Sequence[bytes], source: str) -> FrameRun | None:
    found = _frames(_QUOTES, b'@bookTicker"', values)
    if found is None:
        return None
    symbols = [each.s for each in found]
    instruments = _instruments(symbols, source)
    bids, asks = np.array([each.b for each in found]), np.array([each.a for each in found])
    if instruments is None or (bids > asks).any():
        return None
    times = np.array([each.T or each.E or 0 for each in found], np.int64) * _MS
    fields = {
        "bid_price": bids,
        "bid_size": _base_sizes(np.array([each.B for each in found]), bids, symbols, source),
        "ask_price": asks,
        "ask_size": _base_sizes(np.array([each.A for each in found]), asks, symbols, source),
    }
    return FrameRun("quote", _NONE, instruments, times, np.array([each.u for each in found], np.int64), fields)


_NONE = np.empty(0, np.int64)
_QUOTES = msgspec.json.Decoder(list[_QuoteFrame], strict=False)
_KINDS: dict[bytes, Callable[[Sequence[bytes], str], FrameRun | None]] = {
    b'@trade"': _trades(msgspec.json.Decoder(list[_TradeFrame], strict=False), b'@trade"', "t", ""),
    b'@aggTrade"': _trades(msgspec.json.Decoder(list[_AggregateFrame], strict=False), b'@aggTrade"', "a", AGGREGATE),
    b'@bookTicker"': _quotes,
}
