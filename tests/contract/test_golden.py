"""Bytes of this and every earlier release are read, and the same records still give the same bytes.

`golden/` holds one file a record; a file is added with a release and never changed. To add those of a
new record: `python tests/contract/test_golden.py`.
"""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from schemas.batches import Progress, decode_batch, encode_batch, event_schema
from schemas.events import EVENTS
from schemas.forecasts import (
    JSON_RECORDS,
    Announcement,
    Attention,
    Calibration,
    CalibrationShift,
    ExpertForecast,
    Forecast,
    ForecastScore,
    HeadSummary,
    HorizonForecast,
    HorizonScore,
    LateEvent,
    MarketPart,
    ModelName,
    Parity,
    Receipt,
    decode_json,
    encode_json,
)
from schemas.rows import AGED, RowHeader, Rows, decode_rows, encode_rows

GOLDEN = Path(__file__).parent / "golden"
TIME_NS = 1_767_225_600_000_000_000
MODEL = ModelName(name="combined", version="1", hash="ab" * 32)
HORIZON = HorizonForecast(
    mean=1e-6, quantiles={"0.05": 5e-7, "0.5": 9e-7, "0.95": 2e-6}, volatility_annualised=0.73, uncertainty=0.25
)
PLACE = {"id": "binance:BTC-USDT@5", "instrument_id": "binance:BTC-USDT", "origin_time_ns": TIME_NS}
VALUES = {pa.int64(): TIME_NS, pa.int8(): -1, pa.int16(): 3, pa.int32(): 0, pa.float64(): 0.1, pa.string(): "x"}


def event_columns(record):
    columns = {}
    for field in event_schema(record):
        if pa.types.is_list(field.type):
            columns[field.name] = [[1.0, 2.0], []]
        elif pa.types.is_dictionary(field.type):
            columns[field.name] = ["binance:BTC-USDT", "binance:ETH-USDT"]
        else:
            columns[field.name] = [VALUES[field.type]] * 2
    return columns


def rows():
    values = np.array([[0.1, np.nan], [np.nan, -3.0]])
    ages = np.full((2, len(AGED)), np.nan)
    ages[:, 0] = (0.5, 7.25)
    header = RowHeader(TIME_NS, 2, "0123456789ab", "ba9876543210")
    return Rows(header, ("binance:BTC-USDT", "kraken:BTC-USD"), ("one_5m", "two"), values, ages, np.array([0, 1], "u4"))


JSON = {
    "forecast": Forecast(
        **PLACE,
        status="model",
        quality=["warming"],
        horizons={"5m": HORIZON},
        model=MODEL,
        feature_set_id="0123456789ab",
        valid_until_ns=TIME_NS + 1,
        calibration={"5m": CalibrationShift(shift=(-0.1, 0.2), rank=0.4)},
        experts={"har": ExpertForecast(weight=1.0, hash="cd", means={"5m": 1e-6}, quantiles={"5m": {"0.5": 1e-6}})},
        receipt=Receipt(rows=[("feature.row.v1", 0, 120, 248)], features_hash="ef", batch=(16, 3)),
    ),
    "attention": Attention(
        **PLACE,
        model=MODEL,
        modalities={"trade": 0.75, "quote": 0.25},
        heads=[
            HeadSummary(
                half_life_seconds=4.0,
                mean_look_back_seconds=2.5,
                entropy=1.25,
                modalities={"trade": 1.0},
                top=[("trade", 1.0, 0.5)],
            )
        ],
        faithfulness=(0.3, 100),
    ),
    "forecast-score": ForecastScore(
        id="a",
        forecast_id="b",
        instrument_id="binance:BTC-USDT",
        origin_time_ns=TIME_NS,
        horizon="5m",
        status="model",
        realised_variance=1e-6,
        scores={"har": HorizonScore(mean=1e-6, qlike=0.1, pinball=0.2, crps=0.3, coverage={"0.9": True})},
    ),
    "calibration": Calibration(
        instrument_id="binance:BTC-USDT",
        horizon="5m",
        as_of_ns=TIME_NS,
        shift=(-0.1, 0.1),
        coverage_ratio=0.9,
        count=10,
        weights={"har": 1.0},
    ),
    "late-event": LateEvent(
        record="trade",
        instrument_id="binance:BTC-USDT",
        venue="binance",
        reason="late",
        event_time_ns=TIME_NS,
        receive_time_ns=TIME_NS,
        watermark_ns=TIME_NS,
        by_ns=1,
        raw_topic="raw.exchange.v1",
        raw_partition=1,
        raw_offset=2,
        raw_index=0,
        event={"price": 1.5},
    ),
    "announcement": Announcement(border_ns=0, feature_set_id="0123456789ab", features={"one_5m": "v"}),
    "parity": Parity(
        kind="mismatch",
        partition=1,
        row_time_ns=TIME_NS,
        share=0.5,
        row_id="1@5/a/b",
        offset=7,
        reason="other bits",
        values=1,
        instruments=["binance:BTC-USDT"],
        columns=["one_5m"],
    ),
    "part": MarketPart(partition=1, from_ns=1, to_ns=2, borders=[2], series={"level": [(1.5, 2)]}),
}


def golden():
    """Return the bytes of every record as this release writes them, by file name."""
    batches = {f"{record}.arrow": encode_batch(record, event_columns(record)) for record in EVENTS}
    records = {f"{name}.json": encode_json(record) for name, record in JSON.items()}
    return batches | records | {"row.arrow": encode_rows(rows()), "progress.header": Progress(3, 17, TIME_NS).encode()}


@pytest.mark.parametrize("name", golden())
def test_the_bytes_of_the_first_release_are_still_written(name):
    assert (GOLDEN / "1" / name).read_bytes() == golden()[name], "consumers of older bytes would see a change"


def test_every_record_has_its_golden_bytes():
    assert JSON.keys() == JSON_RECORDS.keys()
    assert {path.name for path in (GOLDEN / "1").iterdir()} == golden().keys()


@pytest.mark.parametrize("record", EVENTS)
def test_golden_batches_are_read(record):
    for release in GOLDEN.iterdir():
        batch = decode_batch((release / f"{record}.arrow").read_bytes())
        assert batch.to_arrow().to_pydict() == event_columns(record)


@pytest.mark.parametrize("name", JSON)
def test_golden_records_are_read(name):
    for release in GOLDEN.iterdir():
        read = decode_json((release / f"{name}.json").read_bytes(), JSON_RECORDS[name])
        assert msgspec.structs.asdict(read) == msgspec.structs.asdict(JSON[name])


def test_golden_rows_are_read():
    for release in GOLDEN.iterdir():
        read = decode_rows((release / "row.arrow").read_bytes())
        assert (read.header, read.instruments, read.features) == (rows().header, rows().instruments, rows().features)
        np.testing.assert_array_equal(read.values, rows().values)
        np.testing.assert_array_equal(read.ages, rows().ages)


if __name__ == "__main__":
    (GOLDEN / "1").mkdir(parents=True, exist_ok=True)
    for file_name, content in golden().items():
        (GOLDEN / "1" / file_name).write_bytes(content)
