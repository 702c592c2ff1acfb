"""Training sets that a manifest gives back, byte for byte, however the table has grown or been compacted.

Tables are only appended to, so the records with offsets below those of the manifest are the same for
ever, whichever files they lie in: a rebuild needs no old version of the table, which a vacuum forgets.
"""

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from featurestore.store.location import Store, read
from featurestore.store.reads import versions_known, within
from featurestore.store.tables import ROWS
from schemas.errors import DecodeError, SettingsError, StateError
from schemas.forecasts import decode_json
from schemas.rows import AGED
from schemas.tensors import HORIZON_NS

FORMAT = "arrow-ipc-1"
"""How the bytes are made; another way gets another name."""
_SOURCE = ("source", "source_partition", "source_offset")
_IDENTITY = ("instrument_id", "row_time_ns", "known_time_ns", "quality")
_AGES = tuple(f"age_{record}" for record in AGED)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a training set was asked for, what it was made of, and the hash of its bytes.

    `offsets`: per source and partition the first offset used and the one behind the last, targets
    included; `table_version` and `table` say when and where, and are not needed for a rebuild.
    """

    format: str = FORMAT
    table: str
    table_version: int
    instruments: list[str]
    features: list[str]
    horizons: list[str]
    targets: list[str]
    from_ns: int
    to_ns: int
    as_known_at: int | None
    offsets: dict[str, dict[str, tuple[int, int]]]
    feature_set_ids: list[str]
    rules_ids: list[str]
    rows: int
    sha256: str = ""

    def encode(self) -> bytes:
        """Return it as JSON for people and programs."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def decode(cls, value: bytes) -> "Manifest":
        """Return the manifest in `value`; raises StateError."""
        try:
            manifest = decode_json(value, cls)
        except DecodeError as error:
            raise StateError(f"expected the manifest of a training set: {error}") from None
        if manifest.format != FORMAT:
            raise StateError(f"expected a manifest of format {FORMAT}, got {manifest.format!r}")
        return manifest


def training_set(
    store: Store,
    instruments: Sequence[str],
    features: Sequence[str],
    from_ns: int,
    to_ns: int,
    horizons: Sequence[str] = (),
    *,
    as_known_at: int | None = None,
) -> tuple[pa.Table, Manifest]:
    """Return the rows with borders in [from, to), in order of instrument and border, and their manifest.

    No `instruments` means all. Columns: instrument_id, row_time_ns, known_time_ns, quality, ages,
    `features`, and for each of `horizons` `ahead_<horizon>`: the realised variance over the horizon
    behind the row, null where it is not known. Each row in the version that was known first, as it
    was served; with `as_known_at`, in the newest version known then. Raises SettingsError for what
    no table could give, StateError for what this one has not.
    """
    _check_asked(features, from_ns, to_ns, horizons)
    table = _open(store)
    wanted = Manifest(
        table=store.address(ROWS.name),
        table_version=table.version(),
        instruments=sorted(set(instruments)),
        features=list(features),
        horizons=list(horizons),
        targets=[_target(table, horizon) for horizon in horizons],
        from_ns=from_ns,
        to_ns=to_ns,
        as_known_at=as_known_at,
        offsets={},
        feature_set_ids=[],
        rules_ids=[],
        rows=0,
    )
    chosen, used = _rows(table, wanted)
    made = _examples(chosen, wanted)
    manifest = msgspec.structs.replace(
        wanted,
        offsets=_offsets(used),
        feature_set_ids=_distinct(chosen, "feature_set_id"),
        rules_ids=_distinct(chosen, "rules_id"),
        rows=len(made),
        sha256=sha256(made),
    )
    return made, manifest


def rebuild(store: Store, manifest: Manifest) -> pa.Table:
    """Return the training set of a manifest; raises StateError where its bytes are not the same any more."""
    chosen, _ = _rows(_open(store), manifest)
    made = _examples(chosen, manifest)
    if (found := sha256(made)) != manifest.sha256:
        raise StateError(
            f"{store.address(ROWS.name)}: {len(made)} rows with hash {found[:12]}, the manifest has {manifest.rows} "
            f"with {manifest.sha256[:12]}; the table is another one, or lost rows"
        )
    return made


def ipc_bytes(table: pa.Table) -> bytes:
    """Return a training set as the bytes of an Arrow IPC file; equal sets give equal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def sha256(table: pa.Table) -> str:
    """Return the hash of those bytes."""
    return hashlib.sha256(ipc_bytes(table)).hexdigest()


def _open(store: Store) -> DeltaTable:
    table = store.open(ROWS.name)
    if table is None:
        raise StateError(f"{store.address(ROWS.name)}: there is no such table; `foreshock store run` writes it")
    return table


def _check_asked(features: Sequence[str], from_ns: int, to_ns: int, horizons: Sequence[str]) -> None:
    """Raise SettingsError for a question that has no answer, before any table is read."""
    if not features:
        raise SettingsError("features: expected the name of one at least")
    if from_ns >= to_ns:
        raise SettingsError(f"from, to: expected an end after the beginning, got {from_ns} to {to_ns}")
    wrong = [horizon for horizon in horizons if horizon not in HORIZON_NS]
    if wrong:
        raise SettingsError(f"horizons: expected some of {', '.join(HORIZON_NS)}, got {wrong[0]!r}")


def _target(table: DeltaTable, horizon: str) -> str:
    """Return the feature that is the realised variance over a horizon, from trades or else from bars."""
    names = {field.name for field in table.schema().fields}
    for name in (f"realised_variance_{horizon}", f"bar_realised_variance_{horizon}"):
        if name in names:
            return name
    raise StateError(f"horizons: no realised variance over {horizon!r} in the table")


def _offsets(rows: pa.Table) -> dict[str, dict[str, tuple[int, int]]]:
    """Return per source and partition the first offset of these rows, and the one behind the last."""
    groups = rows.group_by(list(_SOURCE[:2])).aggregate([(_SOURCE[2], "min"), (_SOURCE[2], "max")]).to_pylist()
    offsets: dict[str, dict[str, tuple[int, int]]] = {}
    for group in sorted(groups, key=lambda each: (each["source"], each["source_partition"])):
        span = group["source_offset_min"], group["source_offset_max"] + 1
        offsets.setdefault(group["source"], {})[str(group["source_partition"])] = span
    return offsets


def _rows(table: DeltaTable, manifest: Manifest) -> tuple[pa.Table, pa.Table]:
    """Return the rows of the span, with their targets beside them, and all that was read for both."""
    farthest = max((HORIZON_NS[horizon] for horizon in manifest.horizons), default=0)
    columns = dict.fromkeys(
        (*_IDENTITY, *_AGES, *manifest.features, *manifest.targets, "feature_set_id", "rules_id", *_SOURCE)
    )
    span = (manifest.from_ns, manifest.to_ns - 1 + farthest)
    condition = within(ROWS, *span)
    if manifest.sha256:
        condition &= _held(manifest)
    if manifest.instruments:
        condition &= ds.field("instrument_id").isin(manifest.instruments)
    read_rows = read(table, list(columns), condition, span)
    versions = versions_known(read_rows, manifest.as_known_at)
    ordered = versions.sort_by([("instrument_id", "ascending"), ("row_time_ns", "ascending")])
    for horizon, target in zip(manifest.horizons, manifest.targets, strict=True):
        ordered = ordered.append_column(f"ahead_{horizon}", _ahead(ordered, target, HORIZON_NS[horizon]))
    chosen = ordered.filter(pc.field("row_time_ns") < manifest.to_ns)
    return chosen, read_rows


def _held(manifest: Manifest) -> ds.Expression:
    """Return the condition that a record was in the table when the manifest was made."""
    held = ds.scalar(value=False)
    for source, places in manifest.offsets.items():
        for partition, (first, end) in places.items():
            place = (ds.field("source") == source) & (ds.field("source_partition") == int(partition))
            held |= place & (ds.field("source_offset") >= first) & (ds.field("source_offset") < end)
    return held


def _ahead(rows: pa.Table, target: str, horizon_ns: int) -> pa.Array:
    """Return the target `horizon_ns` behind each row of the same instrument, null where there is none."""
    codes = rows["instrument_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    times = rows["row_time_ns"].to_numpy()
    values = _floats(rows, target)
    result = np.full(len(rows), np.nan)
    for code in np.unique(codes):
        mine = np.flatnonzero(codes == code)
        at = np.searchsorted(times[mine], times[mine] + horizon_ns)
        inside = np.minimum(at, len(mine) - 1)
        found = times[mine][inside] == times[mine] + horizon_ns
        result[mine] = np.where(found, values[mine][inside], np.nan)
    return pa.array(result, mask=np.isnan(result))


def _examples(rows: pa.Table, manifest: Manifest) -> pa.Table:
    """Return the columns of the answer, with what lies under a null the same in every build."""
    names = dict.fromkeys((*_AGES, *manifest.features, *(f"ahead_{horizon}" for horizon in manifest.horizons)))
    made = {name: rows[name].combine_chunks() for name in _IDENTITY}
    for name in names:
        values = _floats(rows, name)
        made[name] = pa.array(values, mask=np.isnan(values))
    return pa.table(made)


def _floats(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(rows[name], np.nan).to_numpy(), np.float64)


def _distinct(rows: pa.Table, name: str) -> list[str]:
    return sorted(value for value in pc.unique(rows[name]).to_pylist() if value is not None)
