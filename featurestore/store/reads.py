"""Reads of the store as of what was known at a moment, the default everywhere.

A record is known at its `known_time_ns`, and before it does not exist for a read:

* a feature row at border t: t + allowed lateness + greatest venue lag, an upper bound that the log
  alone decides (`featurestore.store.intake`);
* a corrected row, which late events or a fixed feature made: the moment given when it was added;
* a late event: when it was received; it is never in a row that was known before;
* a flow or a post: when it was confirmed or fetched, however old its block or its text;
* the label of an address: when it was published, however old the address.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from featurestore.store.chains import still_holds
from featurestore.store.location import Store, read
from featurestore.store.tables import DATE, FLOWS, LABELS, LATE, ROWS, SENTIMENT, TableSpec
from schemas.errors import StateError
from schemas.rules import DAY_NS

Times = npt.NDArray[np.int64]

EVENT_TABLES = {spec.name: spec for spec in (FLOWS, SENTIMENT, LATE)}


def point_in_time(
    store: Store,
    entity_times: pa.Table,
    features: list[str],
    as_known_at: int | None = None,
    *,
    max_age_ns: int = DAY_NS,
) -> pa.Table:
    """Return for each (instrument, time) the row that was known.

    `entity_times` has the columns instrument_id and time_ns; the answer has one record for each, in
    the same order: these two, row_time_ns, known_time_ns, quality and the features. Of the rows with
    a border not after time_ns, and not `max_age_ns` or more before it, it holds the newest, and of
    the versions of that row the newest: among those known at time_ns, or where `as_known_at` is
    given, among those known then. Null where there is none.
    """
    instruments = entity_times["instrument_id"].to_pylist()
    times = entity_times["time_ns"].to_numpy().astype(np.int64)
    rows = _rows(store, sorted(set(instruments)), times, features, as_known_at, max_age_ns)
    chosen = np.full(len(times), -1)
    asked = np.array(instruments, dtype=object)
    owners = np.array(rows["instrument_id"].to_pylist(), dtype=object)
    borders, known = (rows[name].to_numpy() for name in ("row_time_ns", "known_time_ns"))
    for instrument in sorted(set(instruments)):
        mine, wanted = np.flatnonzero(owners == instrument), np.flatnonzero(asked == instrument)
        ordered_by = known[mine] if as_known_at is None else borders[mine]
        found = _newest_before(ordered_by, times[wanted])
        chosen[wanted] = np.where(found >= 0, mine[found] if len(mine) else -1, -1)
    if len(rows):
        chosen[(chosen >= 0) & (times - borders[chosen] >= max_age_ns)] = -1
    taken = rows.drop(["instrument_id"]).take(pa.array(chosen, mask=chosen < 0))
    asked_for = pa.table({"instrument_id": entity_times["instrument_id"], "time_ns": pa.array(times)})
    for name in taken.column_names:
        asked_for = asked_for.append_column(name, taken[name])
    return asked_for


def _newest_before(ordered_by: Times, times: Times) -> npt.NDArray[np.intp]:
    """Return per time the last index whose value is not after it, -1 for none; rows stand in order of border, version.

    A row's known time is never before its border, so that of the rows known at a time the last in
    order is the newest: a running maximum over the rows in order of known time.
    """
    if not len(ordered_by):
        return np.full(len(times), -1)
    order = np.argsort(ordered_by, kind="stable")
    last = np.maximum.accumulate(order)
    at = np.searchsorted(ordered_by[order], times, side="right") - 1
    return np.where(at >= 0, last[at], -1)


def _rows(
    store: Store, instruments: list[str], times: Times, features: list[str], as_known_at: int | None, max_age_ns: int
) -> pa.Table:
    """Return the versions of rows that may be an answer, in order of border and version."""
    columns = ["instrument_id", "row_time_ns", "known_time_ns", "quality", *features]
    table = store.open(ROWS.name)
    if table is None:
        raise StateError(f"{store.address(ROWS.name)}: there is no such table; `foreshock store run` writes it")
    low, high = (int(times.min()) - max_age_ns, int(times.max())) if len(times) else (0, 0)
    known = ds.field("known_time_ns") <= (high if as_known_at is None else as_known_at)
    condition = within(ROWS, low, high) & known & ds.field("instrument_id").isin(instruments)
    found = read(table, [*columns, "source_offset"], condition, (low, high))
    return in_order(found).drop(["source_offset"])


def in_order(rows: pa.Table) -> pa.Table:
    """Return rows in order of border, version and instrument, whatever files they came from."""
    keys = ("row_time_ns", "known_time_ns", "source_offset", "instrument_id")
    return rows.sort_by([(name, "ascending") for name in keys])


def within(spec: TableSpec, low_ns: int, high_ns: int) -> ds.Expression:
    """Return the condition that a record's time is in [low, high]."""
    time = ds.field(spec.time)
    return (time >= low_ns) & (time <= high_ns)


def events(store: Store, name: str, from_ns: int, to_ns: int, as_known_at: int | None = None) -> pa.Table:
    """Return the events of `flows`, `sentiment` or `late` that happened in [from, to), as known at a moment.

    Default for `as_known_at`: the end of the span. In the order in which they became known. An
    event without a time of its own happened when it became known. Flows bear from_label and
    to_label, and of a chain only what holds then: neither repeats nor what was reorganised (`chains`).
    """
    if name not in EVENT_TABLES:
        raise StateError(f"expected one of {', '.join(EVENT_TABLES)}, got {name!r}")
    spec, moment = EVENT_TABLES[name], to_ns if as_known_at is None else as_known_at
    table = store.open(name)
    if table is None:
        raise StateError(f"{store.address(name)}: there is no such table; `foreshock store run` writes it")
    columns = [field for field in table.to_pyarrow_dataset().schema.names if field != DATE]
    # What is known at a time has happened before it: nothing older than the span need be read.
    span = (from_ns, max(from_ns - 1, moment))
    found = read(table, columns, within(spec, *span), span)
    order = ("known_time_ns", "raw_partition", "raw_offset", "raw_index")
    found = found.sort_by([(field, "ascending") for field in order])
    found = found.filter(pa.array(_happened(found) >= from_ns))
    if name == FLOWS.name:
        # Before the end of the span is cut off: what is told later says what holds in it.
        found = _labelled(found.filter(pa.array(still_holds(found))), store, moment)
    return found.filter(pa.array(_happened(found) < to_ns))


def _happened(found: pa.Table) -> Times:
    """Return when each event happened; one without a time of its own did when it became known."""
    own = found["event_time_ns"].to_numpy()
    return np.asarray(np.where(own > 0, own, found["known_time_ns"].to_numpy()), np.int64)


def _labelled(flows: pa.Table, store: Store, moment: int) -> pa.Table:
    """Return flows with the newest labels of both addresses that were known at a moment; null: none."""
    table = store.open(LABELS.name)
    owners: dict[str, str] = {}
    if table is not None:
        known = read(
            table, ["address", "label", "known_time_ns", "source_offset"], within(LABELS, 0, moment), (0, moment)
        )
        ordered = known.sort_by([("known_time_ns", "ascending"), ("source_offset", "ascending")])
        owners = dict(zip(ordered["address"].to_pylist(), ordered["label"].to_pylist(), strict=True))
    for side in ("from", "to"):
        labels = [owners.get(address) for address in flows[f"{side}_address"].to_pylist()]
        flows = flows.append_column(f"{side}_label", pa.array(labels, pa.string()))
    return flows


def versions_known(rows: pa.Table, as_known_at: int | None) -> pa.Table:
    """Return one version of each row, in order: the first known, or the newest known at a moment."""
    ordered = in_order(rows if as_known_at is None else rows.filter(pc.field("known_time_ns") <= as_known_at))
    numbered = ordered.append_column("_index", pa.array(np.arange(len(ordered))))
    which = "min" if as_known_at is None else "max"
    keys = ["instrument_id", "row_time_ns"]
    chosen = numbered.group_by(keys, use_threads=False).aggregate([("_index", which)])[f"_index_{which}"]
    return ordered.take(pa.array(np.sort(chosen.to_numpy())))
