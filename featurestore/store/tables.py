"""The tables of the store: columns that are always there, what makes a record a repeat, what time it has.

Every table has the columns of `PLACE` besides its own, and grows by columns that come later (a
feature that joins): rows from before hold null there. All are only ever appended to.
"""

import msgspec
import numpy as np
import pyarrow as pa

from schemas.batches import event_schema
from schemas.rows import AGED
from schemas.rules import DAY_NS
from schemas.topics import ATTENTION, FEATURE_ROW, FORECAST, FORECAST_SCORE, LATE_EVENT, ONCHAIN_EVENT, SENTIMENT_EVENT

TEXT, WHOLE, NUMBER = pa.string(), pa.int64(), pa.float64()

PLACE = (
    ("known_time_ns", WHOLE),
    ("source", TEXT),
    ("source_partition", pa.int32()),
    ("source_offset", WHOLE),
)
"""When a record could be known, and where it came from: the topic, partition and offset of its message.

What came by no topic (`add`) has a source of its own, and the number of its addition as the offset.
"""
DATE = "date"
"""What every table is partitioned by: the day (UTC) of its time column."""


class TableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One table. Two records with equal `key` are one, and the first by offset counts."""

    name: str
    meaning: str
    topic: str = ""
    time: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, pa.DataType], ...]

    @property
    def schema(self) -> pa.Schema:
        """The columns that the table begins with."""
        return pa.schema([(DATE, pa.date32()), *self.columns, *PLACE])


def _event_columns(record: str) -> tuple[tuple[str, pa.DataType], ...]:
    """Return the columns of a canonical event; Delta knows no dictionaries."""
    return tuple(
        (field.name, TEXT if pa.types.is_dictionary(field.type) else field.type) for field in event_schema(record)
    )


_FORECAST = (("id", TEXT), ("instrument_id", TEXT), ("origin_time_ns", WHOLE))
_STAMP = ("raw_partition", "raw_offset", "raw_index")

ROWS = TableSpec(
    name="rows",
    meaning="Feature rows: one per instrument and border, and their later corrections.",
    topic=FEATURE_ROW,
    time="row_time_ns",
    key=("instrument_id", "row_time_ns", "known_time_ns"),
    columns=(
        ("instrument_id", TEXT),
        ("row_time_ns", WHOLE),
        ("quality", WHOLE),
        ("rules_id", TEXT),
        ("feature_set_id", TEXT),
        *((f"age_{record}", NUMBER) for record in AGED),
    ),
)
TILES = TableSpec(
    name="tiles",
    meaning="Base tiles with events: one per instrument (or asset) and tile interval.",
    time="tile_start_ns",
    key=("instrument_id", "tile_start_ns"),
    columns=(("instrument_id", TEXT), ("tile_start_ns", WHOLE)),
)
FORECASTS = TableSpec(
    name="forecasts",
    meaning="Forecasts of realised variance.",
    topic=FORECAST,
    time="origin_time_ns",
    key=("id",),
    columns=(
        *_FORECAST,
        ("status", TEXT),
        ("reason", TEXT),
        ("model", TEXT),
        ("model_version", TEXT),
        ("model_hash", TEXT),
        ("feature_set_id", TEXT),
        ("valid_until_ns", WHOLE),
        ("record", TEXT),
    ),
)
ATTENTIONS = TableSpec(
    name="attention",
    meaning="What the Performer looked at, for each forecast.",
    topic=ATTENTION,
    time="origin_time_ns",
    key=("id",),
    columns=(*_FORECAST, ("record", TEXT)),
)
SCORES = TableSpec(
    name="scores",
    meaning="Forecasts against what then happened, one per horizon.",
    topic=FORECAST_SCORE,
    time="origin_time_ns",
    key=("id",),
    columns=(
        *_FORECAST,
        ("forecast_id", TEXT),
        ("horizon", TEXT),
        ("status", TEXT),
        ("realised_variance", NUMBER),
        ("record", TEXT),
    ),
)
LATE = TableSpec(
    name="late",
    meaning="Events left out of tiles because they came too late or too early, whole.",
    topic=LATE_EVENT,
    time="receive_time_ns",
    key=("raw_topic", *_STAMP),
    columns=(
        ("record", TEXT),
        ("instrument_id", TEXT),
        ("venue", TEXT),
        ("reason", TEXT),
        ("event_time_ns", WHOLE),
        ("receive_time_ns", WHOLE),
        ("watermark_ns", WHOLE),
        ("by_ns", WHOLE),
        ("raw_topic", TEXT),
        ("raw_partition", WHOLE),
        ("raw_offset", WHOLE),
        ("raw_index", WHOLE),
        ("event", TEXT),
    ),
)
FLOWS = TableSpec(
    name="flows",
    meaning="Value moved on chains, as often as it was told: a block that came anew is told anew.",
    topic=ONCHAIN_EVENT,
    time="tile_time_ns",
    key=_STAMP,
    columns=_event_columns("flow"),
)
SENTIMENT = TableSpec(
    name="sentiment",
    meaning="Sentiment of posts.",
    topic=SENTIMENT_EVENT,
    time="tile_time_ns",
    key=_STAMP,
    columns=_event_columns("score"),
)
LABELS = TableSpec(
    name="labels",
    meaning="Who owns an address, and since when that is known.",
    time="known_time_ns",
    key=("address", "known_time_ns"),
    columns=(("address", TEXT), ("label", TEXT)),
)

TABLES = {table.name: table for table in (ROWS, TILES, FORECASTS, ATTENTIONS, SCORES, LATE, FLOWS, SENTIMENT, LABELS)}
TABLE_OF = {table.topic: table for table in TABLES.values() if table.topic}
"""Topic to the table that holds its records."""


def with_dates(table: pa.Table, time: str) -> pa.Table:
    """Return the table led by the day of its times.

    >>> with_dates(pa.table({"t": [86_400_000_000_000]}), "t")["date"].to_pylist()
    [datetime.date(1970, 1, 2)]
    """
    days = (table[time].to_numpy() // DAY_NS).astype(np.int32)
    return table.add_column(0, DATE, pa.array(days, pa.int32()).cast(pa.date32()))
