"""Recomputes rows from canonical messages and compares them with those of the topic. Pure.

It shares nothing with featurize but the code under test: engines of its own from the beginning of the
log, messages of all topics in another order and in blocks of another size, market parts of its own.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.backfill import Backfill, CanonicalMessage
from featurestore.catalogue import Catalogue
from schemas import DecodeError, Rules
from schemas.forecasts import Announcement
from schemas.rows import AGED, Rows, decode_rows

_REMEMBERED = 100_000
"""Compared rows whose repeats are compared too."""
_MESSAGES_AT_ONCE = 331
"""Canonical messages between two closings: featurize closes by time."""
_NAMED = 20


class Verdict(NamedTuple):
    """What became of one row message; `reason` is empty where its bytes are those recomputed.

    `offset` -1: it is missing on the topic. `recomputed` None: it is not to be there, or a repeat,
    of the message at `first_offset`.
    """

    partition: int
    row_time_ns: int
    row_id: str
    offset: int
    reason: str = ""
    recomputed: bytes | None = None
    first_offset: int = -1


class _Row(NamedTuple):
    row_time_ns: int
    offset: int
    digest: bytes


class _Recomputed(NamedTuple):
    row_time_ns: int
    value: bytes


class Checker:
    """Holds what was read of both sides and is not compared yet. `share` of the rows are looked at."""

    def __init__(
        self, rules: Rules, catalogue: Catalogue, announcements: Sequence[Announcement] = (), share: float = 1.0
    ) -> None:
        self._backfill = Backfill(rules, catalogue, announcements)
        self._share = share
        self._since = 0
        self._waiting: list[OrderedDict[str, _Row]] = [OrderedDict() for _ in range(rules.partitions)]
        self._recomputed: list[OrderedDict[str, _Recomputed]] = [OrderedDict() for _ in range(rules.partitions)]
        self._compared: OrderedDict[str, tuple[int, _Row, bytes]] = OrderedDict()
        self._forgotten_ns = [-1] * rules.partitions
        self._first_ns = [-1] * rules.partitions
        self._last_ns = [-1] * rules.partitions
        self.undecodable = 0
        """Canonical messages that could not be read: featurize puts them into dead letters."""

    @property
    def last_row_ns(self) -> int:
        """Return the time of the last row message of any partition."""
        return max(self._last_ns)

    def behind_ns(self, partition: int) -> int:
        """Return how much event time lies between what is recomputed of a partition and its last row message."""
        border_ns = self._backfill.engines[partition].row_border_ns
        return max(0, self._last_ns[partition] - (self._first_ns[partition] if border_ns is None else border_ns))

    @property
    def waiting(self) -> int:
        """Return the number of row messages that are not recomputed yet."""
        return sum(map(len, self._waiting))

    @property
    def pending_events(self) -> int:
        """Return the number of events in open tiles."""
        return sum(engine.pending_events for engine in self._backfill.engines)

    def ahead(self, until_ns: int) -> set[tuple[str, int]]:
        """Return the canonical topics and partitions that are read further than a border."""
        return {
            (topic, engine.partition)
            for engine in self._backfill.engines
            for topic, border_ns in engine.watermarks_ns().items()
            if border_ns is not None and border_ns > until_ns
        }

    def announce(self, announcement: Announcement) -> None:
        """Take a feature set from its border on."""
        for engine in self._backfill.engines:
            engine.announce(announcement)

    def allow(self, until_ns: int | None) -> None:
        """Recompute no row after a border: a feature set may begin there that was not read of. None: all."""
        for engine in self._backfill.engines:
            engine.allow(until_ns)

    def apply(self, message: CanonicalMessage) -> list[Verdict]:
        """Take a canonical message; return what could be compared."""
        try:
            self._backfill.apply(message)
        except DecodeError:
            self.undecodable += 1
        self._since += 1
        return self.advance() if self._since >= _MESSAGES_AT_ONCE else []

    def advance(self) -> list[Verdict]:
        """Recompute what is complete; return what could be compared."""
        self._since = 0
        verdicts = []
        for output in self._backfill.advance():
            headers = dict(output.headers)
            row_id, row_time_ns = headers["row_id"].decode(), int(headers["row_time_ns"])
            if is_sampled(row_id, self._share):
                verdicts += self._recompute(output.partition, row_id, _Recomputed(row_time_ns, output.value))
        for partition in range(len(self._waiting)):
            verdicts += self._unexpected(partition)
        return verdicts

    def _recompute(self, partition: int, row_id: str, made: _Recomputed) -> list[Verdict]:
        row = self._waiting[partition].pop(row_id, None)
        if row is not None:
            return [self._compare(partition, row_id, row, made.value)]
        if made.row_time_ns <= self._last_ns[partition]:
            return [Verdict(partition, made.row_time_ns, row_id, -1, "missing", made.value)]
        self._recomputed[partition][row_id] = made
        return []

    def row(self, partition: int, offset: int, row_id: str, row_time_ns: int, value: bytes) -> list[Verdict]:
        """Take a row message of the topic, repeats too; return what could be compared."""
        verdicts = []
        if is_sampled(row_id, self._share):
            row = _Row(row_time_ns, offset, hashlib.sha256(value).digest())
            made = self._recomputed[partition].pop(row_id, None)
            if made is not None:
                verdicts.append(self._compare(partition, row_id, row, made.value))
            elif row_id in self._compared:
                _, first, digest = self._compared[row_id]
                reason = "" if digest == row.digest else "repeat"
                verdicts.append(Verdict(partition, row_time_ns, row_id, offset, reason, None, first.offset))
            elif row_id in self._waiting[partition]:
                first = self._waiting[partition][row_id]
                if first.digest != row.digest:
                    verdicts.append(Verdict(partition, row_time_ns, row_id, offset, "repeat", None, first.offset))
            elif row_time_ns > self._forgotten_ns[partition]:
                self._waiting[partition][row_id] = row
        if self._first_ns[partition] < 0:
            self._first_ns[partition] = row_time_ns
        if row_time_ns > self._last_ns[partition]:
            self._last_ns[partition] = row_time_ns
            verdicts += self._missing(partition)
        return verdicts

    def _compare(self, partition: int, row_id: str, row: _Row, value: bytes) -> Verdict:
        digest = hashlib.sha256(value).digest()
        self._compared[row_id] = partition, row, digest
        if len(self._compared) > _REMEMBERED:
            _, (of, forgotten, _) = self._compared.popitem(last=False)
            self._forgotten_ns[of] = max(self._forgotten_ns[of], forgotten.row_time_ns)
        if digest == row.digest:
            return Verdict(partition, row.row_time_ns, row_id, row.offset)
        return Verdict(partition, row.row_time_ns, row_id, row.offset, "other bits", value)

    def _missing(self, partition: int) -> list[Verdict]:
        """Return the recomputed rows that the topic has passed without."""
        last_ns = self._last_ns[partition]
        passed = [(row_id, made) for row_id, made in self._recomputed[partition].items() if made.row_time_ns < last_ns]
        for row_id, _ in passed:
            del self._recomputed[partition][row_id]
        return [Verdict(partition, made.row_time_ns, row_id, -1, "missing", made.value) for row_id, made in passed]

    def _unexpected(self, partition: int) -> list[Verdict]:
        """Return the rows of the topic that recomputing has passed without."""
        border_ns = self._backfill.engines[partition].row_border_ns or 0
        waiting = self._waiting[partition]
        passed = [(row_id, row) for row_id, row in waiting.items() if row.row_time_ns <= border_ns]
        for row_id, _ in passed:
            del waiting[row_id]
        return [Verdict(partition, row.row_time_ns, row_id, row.offset, "unexpected") for row_id, row in passed]


def is_sampled(row_id: str, share: float) -> bool:
    """Return whether a row is looked at: the same answer in each run and process.

    >>> is_sampled("0@1000/rules/features", 1.0), is_sampled("0@1000/rules/features", 0.0)
    (True, False)
    """
    first = hashlib.sha256(row_id.encode()).digest()[:8]
    return int.from_bytes(first, "big") < share * 2**64


class Difference(NamedTuple):
    """Where two row messages differ: instruments and columns, some of them by name."""

    values: int
    instruments: list[str]
    columns: list[str]


def difference(recomputed: bytes, written: bytes) -> Difference:
    """Return where a row message differs from the one recomputed."""
    try:
        one, other = decode_rows(recomputed), decode_rows(written)
    except DecodeError:
        return Difference(0, [], ["not a row message"])
    if (one.instruments, one.features) != (other.instruments, other.features):
        apart = sorted(set(one.instruments) ^ set(other.instruments))
        columns = sorted(set(one.features) ^ set(other.features))
        return Difference(0, apart[:_NAMED], columns[:_NAMED] or ["instruments"])
    names, differ = _compared(one, other)
    rows, columns_at = differ.max(axis=1, initial=False).tolist(), differ.max(axis=0, initial=False).tolist()
    instruments = [name for name, some in zip(one.instruments, rows, strict=True) if some]
    columns = [name for name, some in zip(names, columns_at, strict=True) if some]
    return Difference(int(differ.sum()), instruments[:_NAMED], columns[:_NAMED] or ["header"])


def _compared(one: Rows, other: Rows) -> tuple[list[str], NDArray[np.bool_]]:
    names = ["quality", *(f"age_{record}" for record in AGED), *one.features]
    tables = [
        np.hstack([each.quality[:, None].astype(np.float64), each.ages, each.values]).view(np.int64)
        for each in (one, other)
    ]
    return names, tables[0] != tables[1]
