"""Bytes of this and every earlier release are read, and the same records still give the same bytes.

`golden/` holds one file a record; a file is added with a release and never changed. To add those of a
new record: `python tests/contract/test_golden.py`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from schemas.batches import Progress, decode_batch, encode_batch, event_schema
from schemas.calibration import Calibration, CalibrationShift, Coverage
from schemas.decisions import Drift, ModelDecision, SkillTest
from schemas.events import EVENTS
from schemas.forecasts import (
    JSON_RECORDS,
    Announcement,
    Attention,
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
SHIFTS = (-0.1, -0.05, -0.01, 0.0, 0.02, 0.1, 0.2)
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
    "model-decision": ModelDecision(
        kind="promote",
        profile="ticks",
        version="2",
        before="1",
        border_ns=TIME_NS,
        hashes={"lstm-ticks": "0" * 64},
        reason="better at 1m by qlike",
        test="diebold-mariano",
        better_level=0.003125,
        worse_level=0.05,
        tests=[
            SkillTest(
                horizon="1m",
                loss="qlike",
                origins=400,
                needed=370,
                difference=-0.1,
                statistic=-4.0,
                p_better=0.00003,
                p_worse=0.99997,
            ),
            SkillTest(horizon="1d", loss="qlike", origins=3, needed=490),
        ],
    ),
    "drift": Drift(
        kind="coverage",
        partition=1,
        horizon="5m",
        as_of_ns=TIME_NS,
        rises=False,
        value=-0.2,
        reference=0.0,
        statistic=7.5,
        threshold=7.2,
        false_alarm_days=30.0,
    ),
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


CHANGED = {
    "2": {
        "forecast": replace(
            JSON["forecast"],
            calibration={"5m": CalibrationShift(shift=(-0.1, 0.2), rank=0.4, shifts=SHIFTS, regime=1)},
            experts={"har": replace(JSON["forecast"].experts["har"], weights={"5m": (1.0, 1.0)})},
        ),
        "attention": replace(JSON["attention"], contributions={"1m": {"trade": 0.1, "quote": -0.02}}),
        "forecast-score": replace(JSON["forecast-score"], regime=0),
        "calibration": replace(
            JSON["calibration"],
            quantile_weights={"har": 1.0},
            trust={"har": (0.3, 0.1)},
            shared_shifts=SHIFTS,
            regime_shifts=[SHIFTS] * 3,
            regime=0,
            coverage=Coverage(count=10, ratio=0.9, recent_count=10, recent_ratio=0.9),
            regime_coverage={0: Coverage(count=9, ratio=1.0, recent_count=9, recent_ratio=1.0), -1: Coverage(count=1)},
        ),
    },
}
"""What records have become since the first release, by the release that first wrote them so."""


def told(release):
    """Return the JSON records that the bytes of a release hold."""
    return {name: record for name, record in (JSON | CHANGED.get(release, {})).items() if _path(release, name).exists()}


def golden():
    """Return the bytes of every record as this release writes them, by folder and file name."""
    batches = {f"1/{record}.arrow": encode_batch(record, event_columns(record)) for record in EVENTS}
    first = {f"1/{name}.json": encode_json(record) for name, record in JSON.items() if name not in CHANGED["2"]}
    second = {f"2/{name}.json": encode_json(record) for name, record in CHANGED["2"].items()}
    rest = {"1/row.arrow": encode_rows(rows()), "1/progress.header": Progress(3, 17, TIME_NS).encode()}
    return batches | first | second | rest


def _path(release, name):
    return GOLDEN / release / f"{name}.json"


@pytest.mark.parametrize("name", golden())
def test_the_bytes_that_were_released_last_are_still_written(name):
    assert (GOLDEN / name).read_bytes() == golden()[name], "consumers of older bytes would see a change"


def test_every_record_has_its_golden_bytes():
    assert JSON.keys() == JSON_RECORDS.keys()
    records = (path for folder in GOLDEN.iterdir() if folder.name.isdigit() for path in folder.iterdir())
    found = {str(path.relative_to(GOLDEN)) for path in records}
    assert found == golden().keys() | {f"1/{name}.json" for name in CHANGED["2"]}


@pytest.mark.parametrize("record", EVENTS)
def test_golden_batches_are_read(record):
    batch = decode_batch((GOLDEN / "1" / f"{record}.arrow").read_bytes())
    assert batch.to_arrow().to_pydict() == event_columns(record)


@pytest.mark.parametrize("release", ["1", *CHANGED])
def test_golden_records_of_every_release_are_read(release):
    assert told(release)
    for name, record in told(release).items():
        assert decode_json(_path(release, name).read_bytes(), JSON_RECORDS[name]) == record


def test_golden_rows_are_read():
    read = decode_rows((GOLDEN / "1" / "row.arrow").read_bytes())
    assert (read.header, read.instruments, read.features) == (rows().header, rows().instruments, rows().features)
    np.testing.assert_array_equal(read.values, rows().values)
    np.testing.assert_array_equal(read.ages, rows().ages)


if __name__ == "__main__":
    for file_name, content in golden().items():
        (GOLDEN / file_name).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / file_name).write_bytes(content)
