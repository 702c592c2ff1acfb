"""Appending exactly once: records and the offsets up to which the table holds them, in one commit.

The offsets are application transactions of the table's own log, one per topic and partition, so that
data and position can never differ. A writer starts from what the table says, never from a consumer
group. One that was stopped and woke up after another took its place finds a position that is not its
own, and its commit is refused, before or within Delta's check for concurrent transactions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from featurestore.store.location import Store, read
from featurestore.store.tables import DATE, TableSpec, with_dates
from schemas.errors import StateError

Place = tuple[str, int]
"""A topic and a partition."""

_ATTEMPTS = 8
_INDEX = "_index"
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Appended(NamedTuple):
    """What one commit did: records written, and repeats left out."""

    rows: int
    repeats: int


class TableWriter:
    """Appends to one table. Several may write to it, as long as each place has one writer."""

    def __init__(self, store: Store, spec: TableSpec) -> None:
        self.spec = spec
        self._table = store.create(spec)
        self._held: dict[Place, int | None] = {}
        self._newest: dict[Place, int] = {}
        self._bound = (-1, _LAST)

    def resume(self, topic: str, partition: int) -> int | None:
        """Return the offset from which the table lacks messages of a place; None: it has none of them."""
        self._table.update_incremental()
        place = (topic, partition)
        self._newest[place] = self._last_time()
        self._held[place] = self._position(place)
        return self._held[place]

    def append(self, data: pa.Table, offsets: Mapping[Place, int]) -> Appended:
        """Commit records and, with them, the next offset of each place that they came from.

        `data` has the columns of the table but the date, in any order, and may have new ones; of
        records with equal keys the first counts. Where all are repeats nothing is committed, and
        `move` may say that they were read. Call `resume` for each place first. Raises StateError
        where another writer moved a place in the meantime.
        """
        self._require_ours(offsets)
        fresh = self._fresh(data)
        repeats = len(data) - len(fresh)
        if len(fresh):
            self._in_attempts(offsets, partial(self._commit, with_dates(fresh, self.spec.time)))
            self._held.update(offsets)
            self._remember(fresh)
        return Appended(len(fresh), repeats)

    def move(self, offsets: Mapping[Place, int]) -> None:
        """Commit offsets alone: what stood before them held nothing new; raises as `append`.

        Each is a version of the table without a file; so it is for many messages at once.
        """
        self._require_ours(offsets)
        self._in_attempts(offsets, self._commit_offsets)
        self._held.update(offsets)

    def add(self, data: pa.Table, source: str, known_time_ns: int | None = None) -> Appended:
        """Append records that came by no topic, such as corrected rows; `data` lacks the columns of `PLACE`.

        `known_time_ns`: the moment from which they count as known; None where `data` says it.
        """
        number = self.resume(source, 0) or 0
        given = {
            "known_time_ns": pa.scalar(known_time_ns, pa.int64()),
            "source": pa.scalar(source),
            "source_partition": pa.scalar(0, pa.int32()),
            "source_offset": pa.scalar(number, pa.int64()),
        }
        for name, value in given.items():
            if name not in data.column_names:
                data = data.append_column(name, pa.repeat(value, len(data)))
        return self.append(data, {(source, 0): number + 1})

    def _position(self, place: Place) -> int | None:
        return self._table.transaction_version(_transaction(place))

    def _require_ours(self, places: Mapping[Place, int]) -> None:
        for place in places:
            held, found = self._held[place], self._position(place)
            if held != found:
                topic, partition = place
                raise StateError(
                    f"{self.spec.name}: another writer took {topic}[{partition}] from {held} to {found}; "
                    "start again from the table"
                )

    def _commit(self, data: pa.Table, properties: CommitProperties) -> None:
        write_deltalake(
            self._table,
            data,
            mode="append",
            schema_mode="merge",
            partition_by=[DATE],
            commit_properties=properties,
        )

    def _commit_offsets(self, properties: CommitProperties) -> None:
        self._table.create_write_transaction([], "append", self._table.schema(), [DATE], commit_properties=properties)
        self._table.update_incremental()

    def _in_attempts(self, offsets: Mapping[Place, int], commit: Callable[[CommitProperties], None]) -> None:
        """Commit with the offsets as application transactions, anew where another commit came between."""
        transactions = [Transaction(_transaction(place), offset) for place, offset in sorted(offsets.items())]
        properties = CommitProperties(app_transactions=transactions)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                commit(properties)
            except CommitFailedError as error:
                # A new column, or our own commit whose answer was lost: the table says which.
                self._table.update_incremental()
                self._require_ours(offsets)
                if attempt == _ATTEMPTS:
                    raise StateError(f"{self.spec.name}: not committed in {attempt} attempts: {error}") from None
            else:
                return

    def _fresh(self, data: pa.Table) -> pa.Table:
        """Return the records whose keys are neither in the table nor earlier in `data`, in order."""
        keys = data.select(self.spec.key).append_column(_INDEX, pa.array(np.arange(len(data))))
        firsts = keys.group_by(list(self.spec.key), use_threads=False).aggregate([(_INDEX, "min")])
        chosen = np.zeros(len(data), bool)
        chosen[firsts[f"{_INDEX}_min"].to_numpy()] = True
        suspects = chosen & self._may_be_there(data)
        if suspects.any():
            there = self._matches(keys.filter(pa.array(suspects)), data.filter(pa.array(suspects)))
            chosen[there] = False
        return data if chosen.all() else data.filter(pa.array(chosen))

    def _may_be_there(self, data: pa.Table) -> npt.NDArray[np.bool_]:
        """Say of each record whether it is not newer than all that the table can have from its place."""
        times = data[self.spec.time].to_numpy()
        newest = np.full(len(data), _LAST)
        for (source, partition), time in self._newest.items():
            newest[_of_place(data, source, partition)] = time
        return np.asarray(times <= newest)

    def _matches(self, keys: pa.Table, data: pa.Table) -> npt.NDArray[np.int64]:
        """Return the indices of those keys that the table holds; statistics let most files be left out."""
        time = ds.field(self.spec.time)
        span = pc.min_max(data[self.spec.time]).as_py()
        low, high = span["min"], span["max"]
        held = read(self._table, self.spec.key, (time >= low) & (time <= high), (low, high))
        names = list(self.spec.key)
        return keys.join(held, keys=names, join_type="left semi")[_INDEX].to_numpy()  # type: ignore[no-any-return]

    def _last_time(self) -> int:
        """Return a time that no record of the table is behind, from the statistics of its files."""
        if self._bound[0] != self._table.version():
            files = pa.table(self._table.get_add_actions(flatten=True))
            name = f"max.{self.spec.time}"
            times = files[name].to_pylist() if name in files.column_names else [None] * len(files)
            last = max((_LAST if time is None else int(time) for time in times), default=_FIRST)
            self._bound = (self._table.version(), last)
        return self._bound[1]

    def _remember(self, data: pa.Table) -> None:
        time = self.spec.time
        for group in data.group_by(["source", "source_partition"]).aggregate([(time, "max")]).to_pylist():
            place = (group["source"], group["source_partition"])
            self._newest[place] = max(group[f"{time}_max"], self._newest[place])


def _of_place(data: pa.Table, source: str, partition: int) -> npt.NDArray[np.bool_]:
    same = pc.and_(pc.equal(data["source"], source), pc.equal(data["source_partition"], partition))
    return same.to_numpy()  # type: ignore[no-any-return]


def _transaction(place: Place) -> str:
    """Return the name of a place's application transaction."""
    topic, partition = place
    return f"{topic}/{partition}"
