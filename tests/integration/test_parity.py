"""Rows on a real topic, recomputed: all as written, and the one that was altered is found."""

import json
import threading
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from msgspec import structs
from typer.testing import CliRunner

from deploy.ports import free_ports
from featurestore.backfill import rows_table
from featurestore.catalogue import Catalogue
from schemas.forecasts import Parity, decode_json
from schemas.metrics import OFFSET_LAG, PARITY_BEHIND, PARITY_CHECKED, PARITY_MISMATCH
from schemas.rows import decode_rows, encode_rows
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, OPS_PARITY
from streams.backfill import Outcome, backfill_topics, normalised
from streams.backfill.topics import raw_records
from streams.chaos.emptying import reset
from streams.chaos.live import fill
from streams.cli import app
from streams.kafka import Outbox, producer_config, read_topic
from streams.metrics_server import Metrics
from streams.parity import process
from streams.parity.account import Account
from streams.parity.process import ParityProcess, check_once
from streams.run import Supervisor, stage_pieces
from streams.scrape import by_label, scrape, total
from streams.sources.market import market
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(120)
START_NS = 1_767_225_600_000_000_000
SECONDS = 10


@pytest.fixture(scope="module")
def settings(kafka, tmp_path_factory):
    """Raw and canonical topics, and the rows that follow, as the stages would have written them."""
    settings = settings_for(kafka, tmp_path_factory.mktemp("parity"))
    reset(settings, keep=())
    fill(settings, market(11, START_NS, SECONDS, intensity=0.2))
    producer = Producer(producer_config(settings, "test"))
    for message in normalised(raw_records(settings), settings.rules, Outcome()):
        headers = list(message.headers.items())
        producer.produce(message.topic, message.value, partition=message.partition, headers=headers)
    producer.flush(30)
    write(settings, backfill_topics(settings))
    yield settings
    reset(settings, keep=())


def write(settings, rows):
    """Write row messages, each partition in the order of time."""
    outbox = Outbox(settings, "test")
    for (partition, _), value in sorted(rows.items()):
        header = decode_rows(value).header
        headers = {"row_id": header.row_id.encode(), "row_time_ns": str(header.row_time_ns).encode()}
        outbox.send(FEATURE_ROW, value, headers=headers, partition=partition)
    outbox.flush_acknowledged()


def altered(value):
    """The row message with one value of one instrument changed in its last bit."""
    rows = decode_rows(value)
    values = rows.values.copy()
    place = next(place for place in zip(*(~(values != values)).nonzero(), strict=True) if values[place] != 0)  # noqa: PLR0124
    values.view("i8")[place] ^= 1
    return encode_rows(structs.replace(rows, values=values)), rows.instruments[place[0]], rows.features[place[1]]


def followed(settings, until):
    """What the process has told when `until(account)` holds, and its metrics."""
    metrics = Metrics()
    outbox = Outbox(settings, "parity")
    account = Account(settings, metrics, outbox, share=1.0)
    parity = ParityProcess(settings, Catalogue.discover(settings.rules), account, share=1.0)
    stopping = threading.Event()
    given_up = threading.Timer(60, stopping.set)
    given_up.start()

    class Stop(threading.Event):
        def is_set(self):
            return stopping.is_set() or until(account)

    parity.run(Stop())
    parity.close()
    given_up.cancel()
    outbox.flush_acknowledged()
    return account, metrics


def told(settings):
    return [decode_json(message.value, Parity) for message in read_topic(settings, OPS_PARITY)]


def checked(account):
    return sum(tally.checked for tally in account.tallies.values())


@pytest.mark.parametrize("source", ["--topics", "--canonical"])
def test_a_backfill_of_the_topics_gives_the_rows_that_are_there(settings, source, tmp_path, monkeypatch):
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "rows.parquet"
    arguments = ["backfill", source, "--workers", "1", "--rows", str(path), "--with-late"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    wanted = rows_table([decode_rows(message.value) for message in read_topic(settings, FEATURE_ROW)])
    order = [("row_time_ns", "ascending"), ("instrument_id", "ascending")]
    assert pq.read_table(path).sort_by(order).equals(wanted.sort_by(order))


def test_rows_are_as_recomputed_and_an_altered_one_is_found(settings, monkeypatch):
    rows = list(read_topic(settings, FEATURE_ROW))
    assert len(rows) > SECONDS
    account, metrics = followed(settings, lambda account: checked(account) >= len(rows))
    assert checked(account) == len(rows)
    assert not account.mismatches
    assert sum(metrics.value(PARITY_CHECKED, partition=str(p)) for p in range(settings.partitions)) == len(rows)
    assert {record.kind for record in told(settings)} == {"summary"}
    assert sum({record.partition: record.checked for record in told(settings)}.values()) == len(rows)

    # Topics are held where they are ahead, which changes nothing.
    monkeypatch.setattr(process, "_MAX_PENDING", 20)
    monkeypatch.setattr(process, "_MAX_WAITING", 2)
    # A process writes a row again, with another last bit in one value.
    victim = rows[len(rows) // 2]
    value, instrument, feature = altered(victim.value)
    outbox = Outbox(settings, "test")
    outbox.send(FEATURE_ROW, value, headers=victim.headers, partition=victim.partition)
    outbox.flush_acknowledged()
    account, metrics = followed(settings, lambda account: checked(account) > len(rows))
    assert [(each.reason, each.row_id, each.values) for each in account.mismatches] == [
        ("repeat", victim.headers["row_id"].decode(), 1)
    ]
    assert account.mismatches[0].instruments == [instrument]
    assert account.mismatches[0].columns == [feature]
    assert metrics.value(PARITY_MISMATCH, partition=str(victim.partition), reason="repeat") == 1
    assert [record for record in told(settings) if record.kind == "mismatch"] == list(account.mismatches)
    headers = [m.headers for m in read_topic(settings, OPS_PARITY) if json.loads(m.value)["kind"] == "mismatch"]
    assert headers[0]["ce_type"] == b"foreshock.parity.v1"


def test_the_process_checks_what_is_there_tells_its_lag_and_ends_when_asked(settings, tmp_path):
    asked = replace(settings, metrics_port=free_ports().kafka, stall_seconds=5.0, state_dir=tmp_path)
    count = len({message.headers["row_id"] for message in read_topic(settings, FEATURE_ROW)})
    with Supervisor(asked, stage_pieces(asked, ["parity"], {"parity": 1})) as supervisor:
        give_up = time.monotonic() + 60
        samples = None
        while (
            samples is None
            or total(samples, PARITY_CHECKED) < count
            or total(samples, OFFSET_LAG) > 0
            or total(samples, PARITY_BEHIND) > 0
        ):
            assert time.monotonic() < give_up, supervisor.log("parity-0").read_text()
            time.sleep(0.1)
            samples = scrape([asked.metrics_port])
        supervisor.stop()
        assert supervisor.exits("parity-0") == [0], supervisor.log("parity-0").read_text()
    assert set(by_label(samples, OFFSET_LAG, "topic")) == {*EVENT_TOPICS, FEATURE_ROW}


def test_one_look_at_everything_ends_with_1_where_a_row_differs(settings, monkeypatch):
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    count = len(list(read_topic(settings, FEATURE_ROW)))
    done = CliRunner().invoke(app, ["parity", "--once"], catch_exceptions=False)
    assert done.exit_code == 1
    assert f"{count:,} row messages recomputed, 1 of them are not as on the topic" in done.output
    assert check_once(settings, share=0.0).tallies == {}
