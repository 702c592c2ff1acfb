"""Where the tables are: a folder, or a bucket of S3."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from featurestore.authoring import nearest
from featurestore.store.tables import DATE, TABLES, TableSpec
from schemas.errors import StateError
from schemas.rules import DAY_NS

_EPOCH = date(1970, 1, 1)


class Store:
    """The tables under one address: a folder, or `s3://bucket/path`.

    `environment`: the variables whose names begin with AWS_ say how to reach S3 (keys, AWS_REGION,
    AWS_ENDPOINT_URL, AWS_ALLOW_HTTP). Delta commits by conditional writes, which the server must
    enforce among racing writers.
    """

    def __init__(self, url: str, environment: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        is_remote = "://" in self.url
        self.options = {k: v for k, v in (environment or {}).items() if k.startswith("AWS_")} if is_remote else {}

    def open(self, name: str, version: int | None = None) -> DeltaTable | None:
        """Return a table as it is now, or as of a version; None where it was never written.

        Raises StateError where the address cannot be read or has not that version.
        """
        address = self.address(name)
        try:
            if not DeltaTable.is_deltatable(address, self.options or None):
                return None
            return DeltaTable(address, version=version, storage_options=self.options or None)
        except (DeltaError, OSError) as error:
            raise StateError(f"{address}: cannot be read: {_first_line(error)}") from None

    def create(self, spec: TableSpec) -> DeltaTable:
        """Return a table, made empty where it was not there."""
        table = self.open(spec.name)
        if table is not None:
            return table
        timed = {"delta.dataSkippingStatsColumns": ",".join(dict.fromkeys((spec.time, "known_time_ns")))}
        try:
            return DeltaTable.create(
                self.address(spec.name),
                spec.schema,
                mode="ignore",
                partition_by=[DATE],
                name=spec.name,
                description=spec.meaning,
                configuration=timed,
                storage_options=self.options or None,
            )
        except (DeltaError, OSError) as error:
            other = self.open(spec.name)  # another writer may have been first
            if other is None:
                raise StateError(f"{self.address(spec.name)}: cannot be made: {_first_line(error)}") from None
            return other

    def address(self, name: str) -> str:
        """Return where a table is; raises StateError for a name that none has."""
        if name not in TABLES:
            raise StateError(f"there is no table {name!r}; there are: {', '.join(TABLES)}")
        return f"{self.url}/{name}"


def read(
    table: DeltaTable, columns: Sequence[str], condition: ds.Expression, span_ns: tuple[int, int] | None = None
) -> pa.Table:
    """Return columns of the records that meet a condition; raises StateError for a column that there is not.

    `span_ns`: first and last time that the condition allows, so that files of other days are not even looked at.
    """
    days = None if span_ns is None else [(DATE, sign, _day(ns)) for sign, ns in zip((">=", "<="), span_ns, strict=True)]
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=days)
    missing = [name for name in columns if name not in dataset.schema.names]
    if missing:
        near = nearest(missing[0], dataset.schema.names)
        raise StateError(f"{table.table_uri}: has no column {missing[0]!r}; there is {near}")
    return dataset.to_table(columns=list(columns), filter=condition)


def _day(ns: int) -> str:
    return (_EPOCH + timedelta(days=ns // DAY_NS)).isoformat()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
