"""The store's process on real Kafka: killed twenty times amid repeats, it holds each record once."""

import random
import signal
import time

import pytest

from featurestore.store import Store
from schemas.metrics import OFFSET_LAG, STORE_ROWS
from schemas.topics import DEAD_LETTER
from streams.kafka import Outbox, read_topic
from streams.scrape import by_label, scrape, total
from tests.integration.storing import PARTITIONS, end, lag, launcher, positions, send, settings_of_store, wait
from tests.unit.featurestore.store.material import event_message, forecast, late, post, row_message, score, transfer

MESSAGES = 2_500
"""Different row messages of each partition; every one of them is on the topic twice."""
KILLS = 20


@pytest.fixture
def settings(kafka, tmp_path):
    return settings_of_store(kafka, tmp_path)


def rows_twice(partition, draw):
    """Row messages as featurize writes them over restarts: it goes back, and writes the same again."""
    names = (f"venue:A{partition}-USDT", f"venue:B{partition}-USDT")
    there, at, repeats = [], 0, 0
    while repeats < MESSAGES:
        step = min(draw.randint(1, 60), MESSAGES - at)
        there += range(at, at + step)
        at += step
        back = draw.randint(0, min(at, 60, MESSAGES - repeats)) if at < MESSAGES else min(at, MESSAGES - repeats)
        there += range(at - back, at)
        repeats += back
    return [row_message(0, 1_000 + n, partition=partition, instruments=names) for n in there]


def test_each_row_is_there_once_whatever_is_killed_and_repeated(settings, tmp_path):
    draw, store, log = random.Random(11), Store(settings.store_url), tmp_path / "store.log"
    outbox = Outbox(settings, "test")
    logs = {partition: rows_twice(partition, draw) for partition in range(PARTITIONS)}
    sent, wanted, last = 0, sum(map(len, logs.values())), max(map(len, logs.values()))
    assert wanted == 2 * MESSAGES * PARTITIONS == 20_000
    with launcher(settings, tmp_path) as start:
        for kill in range(KILLS):
            # The log grows between the kills, so that each finds the writer at work.
            until = last * (kill + 1) // KILLS
            send(outbox, (message for messages in logs.values() for message in messages[sent:until]))
            outbox.flush_acknowledged()
            sent, before = until, sum(positions(store))
            pid = start()
            wait(lambda before=before: sum(positions(store)) > before, "a commit", log)
            time.sleep(draw.uniform(0, 0.1))
            end(pid, signal.SIGKILL, log)
        pid = start()
        scores = [score(0, 50), late(0, 40, 44), event_message(0, [post("p", 60, 50)])]
        send(outbox, [forecast(0, 50), event_message(0, [transfer("t", 60)]), *scores])
        send(outbox, [row_message(0, 0)._replace(value=b"bytes")])
        # Repeats move with the next record: something new comes at the end.
        send(outbox, [row_message(0, 9_000, partition=p, instruments=(f"venue:{p}",)) for p in range(PARTITIONS)])
        outbox.flush_acknowledged()
        tables = ("rows", "forecasts", "scores", "late", "flows", "sentiment")
        wait(lambda: positions(store) == [2 * MESSAGES + 2, *[2 * MESSAGES + 1] * (PARTITIONS - 1)], "all rows", log)
        wait(lambda: all(store.open(name) and store.open(name).count() for name in tables), "all tables", log)
        wait(lambda: total(scrape([settings.metrics_port]), OFFSET_LAG) == 0, "no lag", log)
        assert by_label(scrape([settings.metrics_port]), STORE_ROWS, "table")["late"] == 1
        end(pid, signal.SIGTERM, log)

    table = store.open("rows").to_pyarrow_table()
    found = set(zip(table["instrument_id"].to_pylist(), table["row_time_ns"].to_pylist(), strict=True))
    assert len(table) == len(found) == 2 * MESSAGES * PARTITIONS + PARTITIONS
    offsets = zip(
        *(table[name].to_pylist() for name in ("source_partition", "row_time_ns", "source_offset")), strict=True
    )
    firsts = {}
    for partition, messages in logs.items():
        for offset, message in enumerate(messages):
            firsts.setdefault((partition, int(message.offset), message.value), offset)
    kept = sorted({(partition, offset) for partition, time_ns, offset in offsets if time_ns < 9_000 * 10**9})
    assert kept == sorted({(partition, offset) for (partition, _, _), offset in firsts.items()})
    (dead,) = [message for message in read_topic(settings, DEAD_LETTER) if message.headers["x-dlq-stage"] == b"store"]
    assert dead.value == b"bytes"


def test_sigterm_commits_what_waits_and_a_restart_ignores_the_group(settings, tmp_path):
    store, other = Store(settings.store_url), Store(str(tmp_path / "other"))
    log, outbox = tmp_path / "store.log", Outbox(settings, "test")
    send(outbox, [row_message(0, 100 + n) for n in range(50)])
    outbox.flush_acknowledged()
    with launcher(settings, tmp_path) as start:
        pid = start(store_commit_seconds=3600.0, store_commit_rows=100_000)
        wait(lambda: lag(settings) == 0, "reading", log)
        assert positions(store) == [0] * PARTITIONS
        end(pid, signal.SIGTERM, log)
        assert positions(store)[0] == 50
        # The tables of another place lack all of it, whatever the group has committed.
        pid = start(store_url=other.url)
        wait(lambda: positions(other)[0] == 50, "the same rows elsewhere", log)
        end(pid, signal.SIGTERM, log)
    assert other.open("rows").count() == 50
