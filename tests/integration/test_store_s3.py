"""The store in a bucket of a real S3 server on loopback."""

import signal
import threading
from collections import Counter
from functools import partial

import pytest

from deploy.ports import free_ports
from deploy.s3 import S3Server
from featurestore.store import Store, TableWriter, point_in_time, rebuild, training_set
from featurestore.store.intake import build, take
from featurestore.store.tables import ROWS
from featurestore.store.training import ipc_bytes
from featurestore.store.upkeep import compact
from schemas.errors import StateError
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW
from streams.kafka import Outbox
from tests.integration.storing import end, launcher, positions, send, settings_of_store, wait
from tests.unit.featurestore.store.material import RULES, row_message, write
from tests.unit.featurestore.store.test_reads import asked, spreads

pytestmark = pytest.mark.timeout(900)  # the first time, the server is built
WRITERS = 4
ROUNDS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"), free_ports().kafka)
    server.create_bucket("lake")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(server, request):
    return Store(f"s3://lake/{request.node.name}", server.environment)


def rows(number, writer):
    name = f"venue:W{writer}-USDT"
    return build([take(row_message(number, 100 + number, partition=writer, instruments=(name,)))], RULES)


def at_once(*jobs):
    """Run jobs in threads that begin together; Delta's commits do not hold Python's lock."""
    barrier, failures = threading.Barrier(len(jobs)), []

    def run(job):
        barrier.wait()
        try:
            job()
        except StateError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_of_writers_that_race_none_loses_a_commit(store):
    writers = [TableWriter(store, ROWS) for _ in range(WRITERS)]

    def work(index):
        writers[index].resume(FEATURE_ROW, index)
        for number in range(ROUNDS):
            writers[index].append(rows(number, index), {(FEATURE_ROW, index): number + 1})

    assert at_once(*(partial(work, index) for index in range(WRITERS))) == []
    table = store.open("rows")
    assert table.version() == WRITERS * ROUNDS  # one version a commit: none was overwritten
    counts = Counter(table.to_pyarrow_table()["instrument_id"].to_pylist())
    assert counts == {f"venue:W{writer}-USDT": ROUNDS for writer in range(WRITERS)}


def test_of_writers_that_race_for_one_place_one_wins(store):
    for number in range(ROUNDS):
        writers = [TableWriter(store, ROWS) for _ in range(2)]
        for writer in writers:
            writer.resume(FEATURE_ROW, 0)
        write_it = partial(TableWriter.append, data=rows(number, 0), offsets={(FEATURE_ROW, 0): number + 1})
        (refused,) = at_once(*(partial(write_it, writer) for writer in writers))
        assert "another writer took" in str(refused)
    assert store.open("rows").count() == ROUNDS


def test_reads_training_sets_and_compaction_work_there(store):
    for start in range(0, 20, 5):
        write(store, *(row_message(n, 100 + n) for n in range(start, start + 5)))
    assert spreads(store, asked(112, 112.5, 131.5)) == [None, 100.0, 119.0]
    made, manifest = training_set(store, [], ["spread"], 105 * SECOND_NS, 115 * SECOND_NS)
    assert len(made) == 10
    write(store, row_message(20, 120))
    done = {each.table: each for each in compact(store, kept_hours=0)}["rows"]
    assert (done.files_before, done.files_after) == (5, 1)
    assert ipc_bytes(rebuild(store, manifest)) == ipc_bytes(made)
    assert point_in_time(store, asked(133), ["spread"])["row_time_ns"].to_pylist() == [120 * SECOND_NS]


def test_wrong_keys_are_refused_with_the_address(server):
    strange = Store("s3://lake/strange", server.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(StateError, match="s3://lake/strange/rows: cannot be"):
        strange.create(ROWS)


def test_the_process_writes_there_and_is_killed_there(kafka, server, tmp_path):
    settings = settings_of_store(kafka, tmp_path, store_url="s3://lake/process", store_commit_rows=50)
    store, log = Store(settings.store_url, server.environment), tmp_path / "store.log"
    outbox = Outbox(settings, "test")
    with launcher(settings, tmp_path, server.environment) as start:
        for kill in range(2):
            send(outbox, [row_message(0, 100 + n) for n in range(100 * kill, 100 * (kill + 1))])
            outbox.flush_acknowledged()
            before, pid = sum(positions(store)), start()
            wait(lambda before=before: sum(positions(store)) > before, "a commit", log)
            end(pid, signal.SIGKILL, log)
        pid = start()
        wait(lambda: positions(store)[0] == 200, "all rows", log)
        end(pid, signal.SIGTERM, log)
    assert sorted(store.open("rows").to_pyarrow_table()["source_offset"].to_pylist()) == list(range(200))
