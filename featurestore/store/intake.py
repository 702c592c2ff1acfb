"""From messages of the topics to records of the tables.

Known times are upper bounds that follow from the records and the rules alone. A row at border t, and
what is made of it, is known at t + allowed lateness + greatest venue lag: by then in receive time the
rules force every watermark past t (without a lagging venue it is known by the lag earlier). A score is
known so long after the end of its horizon; events with known time, at that; a late event when it came.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.backfill import CanonicalMessage
from featurestore.store.tables import ATTENTIONS, FLOWS, FORECASTS, LATE, ROWS, SCORES, SENTIMENT, TableSpec
from schemas import EVENTS, Rules
from schemas.batches import PROGRESS, decode_batch, ipc_batch
from schemas.errors import DecodeError
from schemas.forecasts import Attention, Forecast, ForecastScore, LateEvent, decode_json
from schemas.instruments import ANY_ASSET
from schemas.rows import AGED, RowHeader, row_fields
from schemas.tensors import HORIZON_NS


class Taken(NamedTuple):
    """A decoded message, and where it stood."""

    topic: str
    partition: int
    offset: int
    content: Any


_GREATEST = 1 << 62
"""Times above would overflow where a known time is made of them."""

_Decode: TypeAlias = Callable[[CanonicalMessage], Any]
_Build: TypeAlias = Callable[[Sequence[Taken], int], pa.Table]


class Intake(NamedTuple):
    """How the messages of one topic become records: first each is decoded, then many become one table."""

    table: TableSpec
    decode: _Decode
    """Return the content, None where there is nothing to keep; raises DecodeError."""
    size: Callable[[Any], int]
    build: _Build
    """Given the contents, and by how much later than their time rows are known."""


def known_after_ns(rules: Rules) -> int:
    """Return by how much later than its border a row counts as known.

    >>> known_after_ns(Rules()) / 1e9
    12.5
    """
    return rules.allowed_lateness_ns + rules.max_venue_lag_ns


def take(message: CanonicalMessage) -> Taken | None:
    """Return a message decoded, None where it holds nothing to keep; raises DecodeError with its place."""
    try:
        content = INTAKES[message.topic].decode(message)
    except DecodeError as error:
        raise error.at(_place(message)) from None
    except Exception as error:  # noqa: BLE001 - whatever a library says to hostile bytes is about the bytes
        raise DecodeError(f"expected a record, got {error!r:.200}", where=_place(message)) from None
    return None if content is None else Taken(message.topic, message.partition, message.offset, content)


def build(taken: Sequence[Taken], rules: Rules) -> pa.Table:
    """Return the records of messages of one topic, in their order."""
    return INTAKES[taken[0].topic].build(taken, known_after_ns(rules))


def _place(message: CanonicalMessage) -> str:
    return f"{message.topic}[{message.partition}]@{message.offset}"


# Rows.


class _Rows(NamedTuple):
    """The rows of a message as they came: Arrow's columns, never turned into anything else."""

    header: RowHeader
    columns: pa.RecordBatch


def _decode_rows(message: CanonicalMessage) -> _Rows:
    """Return rows; one column that the table cannot hold would keep it from every commit."""
    batch = ipc_batch(message.value or b"")
    _check_columns(batch.schema)
    told = batch.schema.metadata or {}
    try:
        row_time_ns, partition = int(told[b"row_time_ns"]), int(told[b"partition"])
        header = RowHeader(row_time_ns, partition, told[b"rules_id"].decode(), told[b"feature_set_id"].decode())
    except (KeyError, ValueError) as error:
        raise DecodeError(f"expected a feature row, got {error!r:.200}", path="schema") from None
    if not 0 <= row_time_ns <= _GREATEST:
        raise DecodeError(f"expected a row time of 62 bits, got {row_time_ns:.3e}", path="schema")
    return _Rows(header, batch.drop_columns(["mask"]))


def _check_columns(schema: pa.Schema) -> None:
    """Raise DecodeError unless these are the columns of rows with names of features that Delta takes."""
    features = tuple(schema.names[2 + len(AGED) : -1])
    if not schema.equals(pa.schema(row_fields(features))):
        raise DecodeError(f"expected the columns of a feature row, got {schema.names[:4]} ...", path="schema")
    for name in features:
        if not _is_column(name) or name in _OWN:
            raise DecodeError(f"expected names of features, got {name!r:.80}", path="schema")


_OWN = frozenset(ROWS.schema.names)


def _is_column(name: str) -> bool:
    """Say whether Delta takes a name for a column's: it tells no capitals from small letters.

    >>> [_is_column(name) for name in ("ofi_5m", "Ofi", "a b", "")]
    [True, False, False, False]
    """
    return re.fullmatch("[a-z0-9_]{1,200}", name) is not None


def _rows(taken: Sequence[Taken], known_after: int) -> pa.Table:
    """Return rows; the messages of one feature set at once, since that is what has one set of columns."""
    sets = groupby(taken, key=lambda each: each.content.columns.schema.names)
    return pa.concat_tables([_rows_of_set(list(group), known_after) for _, group in sets], promote_options="default")


def _rows_of_set(taken: Sequence[Taken], known_after: int) -> pa.Table:
    contents: list[_Rows] = [each.content for each in taken]
    counts = [rows.columns.num_rows for rows in contents]
    headers = [rows.header for rows in contents]
    table = pa.Table.from_batches([rows.columns.replace_schema_metadata() for rows in contents])
    times = np.repeat(np.array([header.row_time_ns for header in headers], np.int64), counts)
    table = table.set_column(1, "quality", table["quality"].cast(pa.int64()))
    table = table.append_column("row_time_ns", pa.array(times))
    for name in ("rules_id", "feature_set_id"):
        values = np.array([getattr(header, name) for header in headers], dtype=object)
        table = table.append_column(name, pa.array(np.repeat(values, counts), pa.string()))
    return _placed(table, taken, counts, pa.array(times + known_after))


# JSON records.


def _json(kind: type[msgspec.Struct]) -> _Decode:
    def decode(message: CanonicalMessage) -> tuple[Any, str] | None:
        if message.value is None:
            return None
        record = decode_json(message.value, kind)
        for name, value in msgspec.structs.asdict(record).items():
            if isinstance(value, int) and not -_GREATEST <= value <= _GREATEST:
                raise DecodeError(f"expected a number of 62 bits, got {value:.3e}", path=f"$.{name}")
        return record, message.value.decode()

    return decode


def _records(describe: Callable[[Any, int], dict[str, Any]], spec: TableSpec) -> _Build:
    """Return a builder of records that `describe` gives as columns, new ones among them as numbers.

    What has a name that is none for a column is in the whole record alone.
    """

    def build_records(taken: Sequence[Taken], known_after: int) -> pa.Table:
        rows = [describe(record, known_after) | {"record": text} for record, text in (each.content for each in taken)]
        fixed = dict(spec.columns) | {"known_time_ns": pa.int64()}
        more = sorted({name for row in rows for name in row if _is_column(name)} - fixed.keys())
        kinds = fixed | dict.fromkeys(more, pa.float64())
        columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()}
        known = columns.pop("known_time_ns")
        return _placed(pa.table(columns), taken, [1] * len(taken), known)

    return build_records


def _forecast(forecast: Forecast, known_after: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": forecast.id,
        "instrument_id": forecast.instrument_id,
        "origin_time_ns": forecast.origin_time_ns,
        "status": forecast.status,
        "reason": forecast.reason,
        "model": forecast.model.name,
        "model_version": forecast.model.version,
        "model_hash": forecast.model.hash,
        "feature_set_id": forecast.feature_set_id,
        "valid_until_ns": forecast.valid_until_ns,
        "known_time_ns": forecast.origin_time_ns + known_after,
    }
    for horizon, told in forecast.horizons.items():
        described |= {
            f"mean_{horizon}": told.mean,
            f"volatility_annualised_{horizon}": told.volatility_annualised,
            f"uncertainty_{horizon}": told.uncertainty,
        }
        described |= {f"quantile_{level}_{horizon}".replace(".", "_"): x for level, x in told.quantiles.items()}
    return described


def _attention(attention: Attention, known_after: int) -> dict[str, Any]:
    return {
        "id": attention.id,
        "instrument_id": attention.instrument_id,
        "origin_time_ns": attention.origin_time_ns,
        "known_time_ns": attention.origin_time_ns + known_after,
    } | {f"mass_{modality}": share for modality, share in attention.modalities.items()}


def _score(score: ForecastScore, known_after: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": score.id,
        "instrument_id": score.instrument_id,
        "origin_time_ns": score.origin_time_ns,
        "forecast_id": score.forecast_id,
        "horizon": score.horizon,
        "status": score.status,
        "realised_variance": score.realised_variance,
        "known_time_ns": score.origin_time_ns + HORIZON_NS.get(score.horizon, 0) + known_after,
    }
    for expert, losses in score.scores.items():
        described |= {f"{name}_{expert}": getattr(losses, name) for name in ("mean", "qlike", "pinball", "crps")}
    return described


def _late(late: LateEvent, _: int) -> dict[str, Any]:
    described = msgspec.structs.asdict(late)
    return described | {"event": msgspec.json.encode(late.event).decode(), "known_time_ns": late.receive_time_ns}


def _late_records(taken: Sequence[Taken], known_after: int) -> pa.Table:
    """As `_records`; "record" is the type of the event here, and all the message says has a column."""
    named = [each._replace(content=(each.content[0], each.content[0].record)) for each in taken]
    return _records(_late, LATE)(named, known_after)


# Events with known time.


def _events(message: CanonicalMessage) -> pa.RecordBatch | None:
    if message.headers.get("record", b"") == PROGRESS.encode() or not message.value:
        return None
    batch = decode_batch(message.value)
    if EVENTS[batch.record].topic != message.topic:
        raise DecodeError(f"expected a record of {message.topic}, got {batch.record!r}", path="schema.record")
    if message.partition == 0:
        return batch.to_arrow()
    # Events of all assets are in every partition; one copy is enough.
    kept = batch.to_arrow()
    return kept.filter(pc.not_equal(kept.column("instrument_id").cast(pa.string()), ANY_ASSET))


def _event_records(spec: TableSpec) -> _Build:
    plain = pa.schema(spec.columns)

    def build_events(taken: Sequence[Taken], _: int) -> pa.Table:
        table = pa.concat_tables([pa.Table.from_batches([each.content]).cast(plain) for each in taken])
        return _placed(table, taken, [each.content.num_rows for each in taken], table["tile_time_ns"])

    return build_events


def _placed(table: pa.Table, taken: Sequence[Taken], counts: Iterable[int], known: Any) -> pa.Table:
    """Return records with the columns of `PLACE`; `counts`: records of each message."""
    count = list(counts)
    for name, values in (
        ("known_time_ns", known),
        ("source", pa.repeat(pa.scalar(taken[0].topic), len(table))),
        ("source_partition", pa.array(np.repeat([each.partition for each in taken], count), pa.int32())),
        ("source_offset", pa.array(np.repeat([each.offset for each in taken], count), pa.int64())),
    ):
        table = table.append_column(name, values)
    return table


INTAKES = {
    intake.table.topic: intake
    for intake in (
        Intake(ROWS, _decode_rows, lambda rows: rows.columns.num_rows, _rows),
        Intake(FORECASTS, _json(Forecast), lambda _: 1, _records(_forecast, FORECASTS)),
        Intake(ATTENTIONS, _json(Attention), lambda _: 1, _records(_attention, ATTENTIONS)),
        Intake(SCORES, _json(ForecastScore), lambda _: 1, _records(_score, SCORES)),
        Intake(LATE, _json(LateEvent), lambda _: 1, _late_records),
        Intake(FLOWS, _events, lambda batch: batch.num_rows, _event_records(FLOWS)),
        Intake(SENTIMENT, _events, lambda batch: batch.num_rows, _event_records(SENTIMENT)),
    )
}
"""Topic to what is made of its messages."""
