"""Rows with and without late events: what those would have changed, feature by feature."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import zip_longest
from pickle import dump, load
from typing import IO, Any, Self

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from featurestore.spans import HeldEvents, Job
from streams.backfill.tasks import CanonicalSpan, RowsMade, row_spans, tile_spans

_KEY = ("row_time_ns", "instrument_id")


class Effect(msgspec.Struct):
    """What late events would have changed of one feature.

    Changes are told of rows in which it is known both ways; relative ones of those where it was not 0.
    """

    changed: int = 0
    """Rows with other bits, known or not."""
    appeared: int = 0
    """Rows in which it would have been known and was not."""
    vanished: int = 0
    mean_absolute: float = 0.0
    max_absolute: float = 0.0
    mean_relative: float = 0.0
    max_relative: float = 0.0
    absolutes: int = 0
    relatives: int = 0

    def add(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
        """Compare values of the same rows, NaN where not known."""
        known, known_then = ~np.isnan(before), ~np.isnan(after)
        both = known & known_then
        differ = both & (before.view(np.int64) != after.view(np.int64))
        self.appeared += int((~known & known_then).sum())
        self.vanished += int((known & ~known_then).sum())
        self.changed += int(differ.sum() + (known ^ known_then).sum())
        absolute = np.abs(after[differ] - before[differ])
        relative = (absolute / np.abs(before[differ]))[before[differ] != 0]
        self.mean_absolute, self.max_absolute = _mean(self.mean_absolute, self.absolutes, self.max_absolute, absolute)
        self.mean_relative, self.max_relative = _mean(self.mean_relative, self.relatives, self.max_relative, relative)
        self.absolutes += len(absolute)
        self.relatives += len(relative)


class Changes(msgspec.Struct, kw_only=True):
    """What late events would have changed of all rows."""

    rows: int = 0
    """Rows that are there both ways."""
    rows_changed: int = 0
    rows_appeared: int = 0
    """Rows that would have been there, of instruments that were not listed."""
    features: dict[str, Effect] = msgspec.field(default_factory=dict)


def _mean(mean: float, count: int, greatest: float, more: NDArray[np.float64]) -> tuple[float, float]:
    if not len(more):
        return mean, greatest
    return (mean * count + float(more.sum())) / (count + len(more)), max(greatest, float(more.max()))


class Scratch:
    """What the first reading leaves for the second: canonical messages and rows of each span, on disk."""

    def __init__(self) -> None:
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed at the end of the block
        self._rows: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def keep(self, spans: Iterable[CanonicalSpan]) -> Iterator[CanonicalSpan]:
        """Yield spans of messages, and keep them."""
        for span in spans:
            dump(span, self._messages)
            yield span

    def keep_rows(self, made: Mapping[int, RowsMade]) -> None:
        """Keep the rows of a span."""
        dump({partition: each.table for partition, each in made.items()}, self._rows)

    def messages(self) -> Iterator[CanonicalSpan]:
        """Yield the spans of messages again."""
        yield from _again(self._messages)

    def rows(self) -> Iterator[dict[int, pa.Table | None]]:
        """Yield the rows of the spans again, by partition."""
        yield from _again(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._messages.close()
        self._rows.close()


def _again(file: IO[bytes]) -> Iterator[Any]:
    file.seek(0)
    while True:
        try:
            yield load(file)  # noqa: S301  # our own file, which nobody else can open
        except EOFError:
            return


def compare(
    scratch: Scratch,
    held: Mapping[int, Sequence[HeldEvents]],
    jobs: Sequence[Job],
    executor: Executor,
    progress: Callable[[str], None],
) -> Changes:
    """Return what late events would have changed in the rows that `scratch` holds."""
    report = Changes()
    if not held:
        report.rows = sum(len(table) for span in scratch.rows() for table in span.values() if table is not None)
        return report
    late = row_spans(tile_spans(scratch.messages(), jobs, executor, held), jobs, executor)
    waiting: dict[int, tuple[pa.Table | None, pa.Table | None]] = {}
    for before, after in zip_longest(scratch.rows(), late):
        tables = {partition: made.table for partition, made in (after or {}).items()}
        for partition in range(len(jobs)):
            first, second = waiting.get(partition, (None, None))
            first = _joined(first, (before or {}).get(partition))
            second = _joined(second, tables.get(partition))
            waiting[partition] = _compared(first, second, report)
        progress(f"with late events: {report.rows:,} rows compared, {report.rows_changed:,} changed")
    for pair in waiting.values():
        _compare(*pair, report)
    return report


def _joined(first: pa.Table | None, second: pa.Table | None) -> pa.Table | None:
    tables = [table for table in (first, second) if table is not None]
    return pa.concat_tables(tables) if tables else None


def _compared(
    before: pa.Table | None, after: pa.Table | None, report: Changes
) -> tuple[pa.Table | None, pa.Table | None]:
    """Compare the rows up to the last time that both have; return the rest."""
    if before is None or after is None or not len(before) or not len(after):
        return before, after
    last = min(pc.max(table.column("row_time_ns")).as_py() for table in (before, after))
    now = [pc.less_equal(table.column("row_time_ns"), last) for table in (before, after)]
    _compare(before.filter(now[0]), after.filter(now[1]), report)
    return before.filter(pc.invert(now[0])), after.filter(pc.invert(now[1]))


def _compare(before: pa.Table | None, after: pa.Table | None, report: Changes) -> None:
    """Add what differs between rows to the report."""
    if after is None or not len(after):
        return
    if before is None:
        before = after.slice(0, 0)
    keys = [
        pd.MultiIndex.from_arrays([table[name].to_numpy(zero_copy_only=False) for name in _KEY])
        for table in (before, after)
    ]
    places = keys[1].get_indexer(keys[0])
    report.rows += len(before)
    report.rows_appeared += len(after) - int((places >= 0).sum())
    changed = np.zeros(len(before), np.bool_)
    for name in before.column_names:
        if name not in _KEY:
            was, then = (
                np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64) for table in (before, after)
            )
            then = then[places]
            changed |= (was.view(np.int64) != then.view(np.int64)) & ~(np.isnan(was) & np.isnan(then))
            if name != "quality" and not name.startswith("age_"):
                report.features.setdefault(name, Effect()).add(was, then)
    report.rows_changed += int(changed.sum())
