"""Rows of a folder of bar files, made once by the feature code of the stages and kept by the hash of the data."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

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


def first_and_last_ns(bars: Captures) -> tuple[int, int]:
    """Return the starts of the first and the last bar of all files, in nanoseconds."""
    starts = []
    for capture in bars.files:
        dates = pq.read_table(capture.path, columns=["date"]).column("date")
        span = pc.min_max(dates.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())).as_py()
        starts += [time for time in span.values() if time is not None]
    if not starts:
        raise SettingsError("--data: the bar files have no rows")
    return min(starts), max(starts)


def data_hash(bars: Captures) -> str:
    """Return a SHA-256 over the names and bytes of the files."""
    digest = hashlib.sha256()
    for capture in sorted(bars.files, key=lambda one: one.path.name):
        digest.update(capture.path.name.encode() + hashlib.sha256(capture.path.read_bytes()).digest())
    return digest.hexdigest()


def rows_of(
    bars: Captures, features: tuple[str, ...], until_ns: int, cache: Path, progress: Progress = lambda _text, _ratio: None
) -> pa.Table:
    """Return the rows up to and including `until_ns`, from `cache` where they are there.

    What comes later changes no row, so rows made up to a later time serve as well.
    """
    catalogue = Catalogue.discover(BARS).subset(features)
    name = hashlib.sha256(f"{data_hash(bars)} {BARS.rules_id} {catalogue.feature_set_id}".encode()).hexdigest()[:16]
    kept = sorted(path for path in cache.glob(f"rows-{name}-*.parquet") if int(path.stem.rpartition("-")[2]) >= until_ns)
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
    dates = (pq.read_table(capture.path, columns=["date"]).column("date") for capture in bars.files)
    return sum(
        pc.sum(pc.less_equal(date.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()), until_ns)).as_py() or 0
        for date in dates
    )


def _told(messages: Iterator[RawMessage], expected: int, progress: Progress) -> Iterator[RawMessage]:
    for count, message in enumerate(messages, start=1):
        if count % _SAID_EVERY == 0:
            progress(f"rows from bars: {count:,} of {expected:,}", min(count / max(expected, 1), 1.0))
        yield message
