"""Messages of the topics that the store reads, made to order."""

import msgspec
import numpy as np

from featurestore.backfill import CanonicalMessage
from featurestore.store.intake import build, take
from featurestore.store.tables import TABLE_OF
from featurestore.store.writing import TableWriter
from schemas import Flow, Rules, Score
from schemas.batches import STAMPS, encode_batch, field_names, message_headers
from schemas.forecasts import (
    Attention,
    Forecast,
    ForecastScore,
    HorizonForecast,
    HorizonScore,
    LateEvent,
    ModelName,
    Receipt,
    encode_json,
)
from schemas.rows import AGED, RowHeader, Rows, encode_rows
from schemas.rules import SECOND_NS
from schemas.topics import ATTENTION, FEATURE_ROW, FORECAST, FORECAST_SCORE, LATE_EVENT, ONCHAIN_EVENT, SENTIMENT_EVENT

RULES = Rules()
KNOWN_AFTER = 12_500_000_000
MODEL = ModelName(name="combined", version="3", hash="abc")


def row_message(offset, second, *, partition=0, instruments=("binance:BTC-USDT",), shift=0.0, **features):
    """A row message at a border in seconds; features by name, one value for all instruments."""
    values = features or {"spread": float(second) + shift}
    rows = Rows(
        RowHeader(second * SECOND_NS, partition, "rules", "set-" + "-".join(values)),
        tuple(instruments),
        tuple(values),
        np.array([[value + 0.001 * n for value in values.values()] for n in range(len(instruments))]),
        np.full((len(instruments), len(AGED)), 0.5),
        np.zeros(len(instruments), np.uint32),
    )
    return CanonicalMessage(FEATURE_ROW, partition, offset, {}, encode_rows(rows))


def json_message(topic, offset, record, partition=0):
    return CanonicalMessage(topic, partition, offset, {}, encode_json(record))


def forecast(offset, second, *, mean=1e-4, instrument="binance:BTC-USDT"):
    origin = second * SECOND_NS
    told = HorizonForecast(mean=mean, quantiles={"0.05": mean / 2, "0.5": mean}, volatility_annualised=0.5)
    record = Forecast(
        id=f"{instrument}@{origin}",
        instrument_id=instrument,
        origin_time_ns=origin,
        status="model",
        horizons={"5m": told},
        model=MODEL,
        feature_set_id="set",
        valid_until_ns=origin + SECOND_NS,
        receipt=Receipt(rows=[(FEATURE_ROW, 0, 1, 2)], features_hash="h", batch=(16, 3)),
    )
    return json_message(FORECAST, offset, record)


def attention(offset, second):
    name = "binance:BTC-USDT"
    origin = second * SECOND_NS
    record = Attention(
        id=f"{name}@{origin}",
        instrument_id=name,
        origin_time_ns=origin,
        model=MODEL,
        modalities={"trade": 1.0},
        heads=[],
    )
    return json_message(ATTENTION, offset, record)


def score(offset, second):
    name = "binance:BTC-USDT"
    origin = second * SECOND_NS
    losses = HorizonScore(mean=1.0, qlike=2.0, pinball=3.0, crps=4.0, coverage={"0.9": True})
    record = ForecastScore(
        id=f"{name}@{origin}/5m",
        forecast_id=f"{name}@{origin}",
        instrument_id=name,
        origin_time_ns=origin,
        horizon="5m",
        status="model",
        realised_variance=2e-4,
        scores={"combined": losses},
    )
    return json_message(FORECAST_SCORE, offset, record)


def late(offset, event_second, receive_second, *, raw_offset=7):
    record = LateEvent(
        record="trade",
        instrument_id="binance:BTC-USDT",
        venue="binance",
        reason="late",
        event_time_ns=event_second * SECOND_NS,
        receive_time_ns=receive_second * SECOND_NS,
        watermark_ns=(receive_second - 2) * SECOND_NS,
        by_ns=SECOND_NS,
        raw_topic="raw.exchange.v1",
        raw_partition=0,
        raw_offset=raw_offset,
        raw_index=0,
        event={"price": 100.0, "size": 1.0, "side": 1},
    )
    return json_message(LATE_EVENT, offset, record)


def transfer(name, known_second, *, block=100, event_second=None, amount=5.0, asset="*", sender="0xa", taker="0xb"):
    event = Flow(
        instrument_id=asset,
        venue="ethereum",
        event_time_ns=(known_second if event_second is None else event_second) * SECOND_NS,
        sequence=block,
        id=name,
        kind="transfer",
        token="USDT",
        amount=amount,
        from_address=sender,
        to_address=taker,
        block=block,
    )
    return event, known_second


def post(name, known_second, event_second, value=0.5, asset="BTC"):
    event = Score(instrument_id=asset, venue="feed", event_time_ns=event_second * SECOND_NS, id=name, score=value)
    return event, known_second


def event_message(offset, told, *, partition=0, first_raw=0):
    """One micro-batch of events, each of a raw record of its own; `told`: (event, second it was known)."""
    record = told[0][0].record
    columns = {name: [getattr(event, name) for event, _ in told] for name in field_names(record)}
    known = [second * SECOND_NS for _, second in told]
    stamps = (known, known, [0] * len(told), [first_raw + n for n in range(len(told))], [0] * len(told))
    columns |= dict(zip(STAMPS, stamps, strict=True))
    topic = ONCHAIN_EVENT if record == "flow" else SENTIMENT_EVENT
    return CanonicalMessage(topic, partition, offset, dict(message_headers(record, 0)), encode_batch(record, columns))


def write(store, *messages):
    """Append messages of one topic to its table, as a writer that begins where the table ends."""
    topic = messages[0].topic
    writer = TableWriter(store, TABLE_OF[topic])
    ends = {}
    for message in messages:
        writer.resume(topic, message.partition)
        ends[topic, message.partition] = message.offset + 1
    return writer.append(build([taken for m in messages if (taken := take(m))], RULES), ends)


def held(store, name):
    """All records of a table as dictionaries, in the order of their offsets."""
    rows = store.open(name).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row["source"], row["source_partition"], row["source_offset"]))


def bits(table):
    """A table as values that are equal only where every bit is."""
    return msgspec.json.encode([[repr(value) for value in row.values()] for row in table.to_pylist()])
