"""Topics, producers and readers on real Kafka."""

import asyncio
import io
import json

import pyarrow.parquet as pq
import pytest

from schemas.errors import SettingsError, StateError
from schemas.instruments import partition_of_key
from schemas.topics import topics
from streams import kafka as broker
from streams.chaos.emptying import reset
from streams.kafka import DeliveryError, Outbox
from streams.settings import Settings
from streams.topic_setup import require_topics, topic_problems
from streams.topics import read_to_file, read_to_stream

TOPIC = "ops.parity.v1"
KEYED = "forecast.attention.v1"


@pytest.fixture
def settings(kafka):
    settings = Settings(bootstrap_servers=kafka.bootstrap_servers, delivery_timeout_seconds=5)
    broker.create_topics(settings)
    return settings


def test_topics_are_created_once_and_as_declared(settings):
    assert broker.create_topics(settings) == []
    assert topic_problems(settings) == []
    declared = topics(settings.rules)
    assert broker.partition_counts(settings, declared) == {name: each.partitions for name, each in declared.items()}


def test_what_differs_is_told_with_what_to_do(settings):
    other = Settings(bootstrap_servers=settings.bootstrap_servers, raw_exchange_partitions=2)
    reset(settings, keep=set(topics(settings.rules)) - {"raw.exchange.v1"})
    differs = "raw.exchange.v1: has 4 partitions, FORESHOCK_RAW_EXCHANGE_PARTITIONS says 2"
    (problem,) = topic_problems(other)
    assert str(problem).startswith(f"{differs}; it is empty")
    outbox = Outbox(settings, "test")
    outbox.send("raw.exchange.v1", b"{}")
    outbox.flush_acknowledged(20)
    (problem,) = topic_problems(other)
    assert str(problem).startswith(f"{differs}; it holds records: export FORESHOCK_RAW_EXCHANGE_PARTITIONS=4")
    with pytest.raises(StateError, match=r"raw\.exchange\.v1: has 4 partitions"):
        require_topics(other, ["raw.exchange.v1"])


def test_keys_go_to_the_partition_that_kafka_and_faust_would_choose(settings):
    outbox = Outbox(settings, "test")
    keys = [b"binance:%d" % number for number in range(50)]
    for key in keys:
        outbox.send(KEYED, b"{}", key=key, headers={"a": b"1"})
    outbox.flush_acknowledged(20)
    found = {message.key: message for message in broker.read_topic(settings, KEYED)}
    assert {key: found[key].partition for key in keys} == {key: partition_of_key(key, 4) for key in keys}
    assert found[keys[0]].headers == {"a": b"1"}


def test_acknowledgements_are_known_by_number(settings):
    outbox = Outbox(settings, "test")
    first, second = outbox.send(TOPIC, b"{}"), outbox.send(TOPIC, b"{}")
    assert (first, second, outbox.pending) == (1, 2, 2)
    asyncio.run(outbox.acknowledged(second, 20))
    assert (outbox.settled, outbox.pending) == (2, 0)


def test_a_record_that_cannot_be_delivered_is_raised_and_nothing_goes_on_after_it(settings):
    outbox = Outbox(settings, "test")
    outbox.send("no-such-topic", b"x")
    with pytest.raises(DeliveryError, match="no-such-topic: a record was not delivered"):
        outbox.flush_acknowledged(20)
    with pytest.raises(DeliveryError):
        outbox.send(TOPIC, b"x")


def test_without_a_broker_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(broker, "DEADLINE_SECONDS", 0.5)
    with pytest.raises(StateError, match=r"127\.0\.0\.1:9: no Kafka broker answers .* `foreshock up`"):
        broker.create_topics(Settings(bootstrap_servers="127.0.0.1:9"))


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_topic_is_read_into_a_file(settings, tmp_path, file_format):
    topic, out = "ops.drift.v1", tmp_path / "drift"
    begin = broker.watermarks(settings, topic)[0][1]
    outbox = Outbox(settings, "test")
    for number in range(3):
        outbox.send(topic, json.dumps({"number": number, "nested": {"a": [1]}}).encode(), key=b"k")
    outbox.send(topic, b"not json")
    outbox.flush_acknowledged(20)
    assert read_to_file(settings, topic, out, file_format) == begin + 4
    if file_format == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    assert [row.get("number") for row in rows[-4:]] == [0, 1, 2, None]
    assert rows[-1]["value"] == "not json"
    assert rows[-1]["_error"]


def test_the_last_records_are_read_to_a_stream(settings):
    outbox, out = Outbox(settings, "test"), io.BytesIO()
    for number in range(5):
        outbox.send(TOPIC, json.dumps({"number": number}).encode(), partition=0)
    outbox.flush_acknowledged(20)
    read_to_stream(settings, TOPIC, out, last=2)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["number"] for row in rows if row["_partition"] == 0] == [3, 4]


def test_a_topic_or_format_that_is_not_there_is_refused(settings, tmp_path):
    with pytest.raises(SettingsError, match="nonesuch: there is no such topic"):
        read_to_file(settings, "nonesuch", tmp_path / "x", "jsonl")
    with pytest.raises(SettingsError, match="--format: expected jsonl or parquet, got 'csv'"):
        read_to_file(settings, TOPIC, tmp_path / "x", "csv")
