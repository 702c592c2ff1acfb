"""Rows of a folder of bar files, made once by the feature code of the stages and kept by the hash of the data."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.catalogue import Catalogue
from schemas import BARS, ForeshockError, SettingsError
from schemas.rules import MINUTE_NS
from streams.backfill import backfill_messages
from streams.sources import RawMessage
from streams.sources.captures import Captures, find_captures

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, in [0, 1]."""


class _Named(msgspec.Struct):
    """What a raw bar says of its instrument."""

    instrument_id: str


_PATTERN = "*_5m.parquet"
_SETTLED_NS = 10 * MINUTE_NS
"""Messages so long behind the last bar close its row."""
_SAID_EVERY = 2_000


def find_bars(data: Path) -> Captures:
    """Return the files of 5-minute bars in a folder, of any venue, spot and futures.

    Raises:
        SettingsError: where there is none.
    """
    if not data.is_dir():
        raise SettingsError(f"--data {data}: no such folder; give one with files like binance_spot_BTC_5m.parquet")
    paths = sorted(data.glob(_PATTERN))
    if not paths:
        raise SettingsError(f"--data {data}: no 5-minute bars; expected files like binance_spot_BTC_5m.parquet")
    try:
        return find_captures(paths)
    except ForeshockError as error:
        raise SettingsError(f"--data {data}: {error}") from None


class Span(NamedTuple):
    """When an instrument has bars, in nanoseconds: the starts of its first and last one."""

    first_ns: int
    last_ns: int


def spans_of(bars: Captures) -> dict[str, Span]:
    """Return the spans of all instruments that have a bar, by their id ("binance:BTC-USDT").

    Raises:
        DecodeError: where a file is no whole bar file.
    """
    found: dict[str, Span] = {}
    for capture in bars.files:
        message = next(iter(capture.read()), None)
        if message is None:
            continue
        starts = pc.min_max(_starts(capture.path)).as_py()
        name = msgspec.json.decode(message.value, type=_Named).instrument_id
        before = found.get(name, Span(starts["min"], starts["max"]))
        found[name] = Span(min(before.first_ns, starts["min"]), max(before.last_ns, starts["max"]))
    return found


def data_hash(bars: Captures) -> str:
    """Return a SHA-256 over the names and bytes of the files."""
    digest = hashlib.sha256()
    for capture in sorted(bars.files, key=lambda one: one.path.name):
        digest.update(capture.path.name.encode() + hashlib.sha256(capture.path.read_bytes()).digest())
    return digest.hexdigest()


def rows_of(
    bars: Captures,
    features: tuple[str, ...],
    until_ns: int,
    cache: Path,
    progress: Progress = lambda _text, _ratio: None,
) -> pa.Table:
    """Return the rows up to and including `until_ns`, from `cache` where they are there.

    What comes later changes no row, so rows made up to a later time serve as well.
    """
    catalogue = Catalogue.discover(BARS).subset(features)
    name = hashlib.sha256(f"{data_hash(bars)} {BARS.rules_id} {catalogue.feature_set_id}".encode()).hexdigest()[:16]
    kept = sorted(
        path for path in cache.glob(f"rows-{name}-*.parquet") if int(path.stem.rpartition("-")[2]) >= until_ns
    )
    path = kept[0] if kept else cache / f"rows-{name}-{until_ns}.parquet"
    if not kept:
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        messages = _told(_before(bars, until_ns + _SETTLED_NS), _expected(bars, until_ns), progress)
        backfill_messages(messages, BARS, rows=unfinished, catalogue=catalogue)
        unfinished.rename(path)
    table = pq.read_table(path)
    return table.filter(pc.less_equal(table.column("row_time_ns").cast(pa.int64()), until_ns))


def _before(bars: Captures, until_ns: int) -> Iterator[RawMessage]:
    for message in bars.messages():
        if message.receive_time_ns > until_ns:
            return
        yield message


def _expected(bars: Captures, until_ns: int) -> int:
    return sum(pc.sum(pc.less_equal(_starts(capture.path), until_ns)).as_py() or 0 for capture in bars.files)


def _starts(path: Path) -> pa.ChunkedArray:
    """Return the starts of a file's bars, in nanoseconds."""
    return pq.read_table(path, columns=["date"]).column("date").cast(pa.timestamp("ns", "UTC")).cast(pa.int64())


def _told(messages: Iterator[RawMessage], expected: int, progress: Progress) -> Iterator[RawMessage]:
    for count, message in enumerate(messages, start=1):
        if count % _SAID_EVERY == 0:
            progress(f"rows from bars: {count:,} of {expected:,}", min(count / max(expected, 1), 1.0))
        yield message
