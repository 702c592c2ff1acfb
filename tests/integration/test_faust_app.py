"""The wiring of Faust, on real Kafka: what is killed, stopped or slow loses nothing and doubles no state."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams import kafka as broker
from streams.settings import Settings
from tests.integration.echo_stage import TOPICS, chained

GROUP = "score"
OUTPUT = "forecast.score.v1"
CHECKPOINTS = "score-checkpoint-changelog"
PARTITIONS = 4
PROGRAM = Path(__file__).with_name("echo_stage.py")
SESSION_SECONDS = 3.0


class Bench:
    """Workers of the echo stage on emptied topics, what was sent to them, and what came back."""

    def __init__(self, stack, folder):
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            checkpoint_seconds=0.5,
            session_timeout_seconds=SESSION_SECONDS,
            stall_seconds=5,
            metrics_port=0,
            state_dir=folder,
            log_level="INFO",
        )
        self.folder = folder
        self.outbox = broker.Outbox(self.settings, "test")
        self.sent = {(topic, partition): [] for topic in TOPICS for partition in range(PARTITIONS)}
        self.base = {}
        self.processes = []

    def send(self, topic, partition, value):
        self.outbox.send(topic, value, partition=partition)
        self.sent[topic, partition].append(value)

    def send_some(self, count):
        for place in self.sent:
            for number in range(count):
                self.send(*place, b"event %d of %d" % (number, len(self.sent[place])))
        self.outbox.flush_acknowledged(40)

    def start(self, worker, **settings):
        environment = {
            **os.environ,
            **replace(self.settings, **settings).environment(),
            "FORESHOCK_WORKER": str(worker),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        path = self.folder / f"worker-{worker}-{len(self.processes)}.log"
        with path.open("w") as log:
            process = subprocess.Popen([sys.executable, str(PROGRAM)], env=environment, stderr=log, stdout=log)
        process.log = path
        self.processes.append(process)
        return process

    def outputs(self):
        """Return the digests that were sent per (topic, partition, offset): a set, which should hold one."""
        found = {}
        for message in broker.read_topic(self.settings, OUTPUT):
            topic, offset, digest = json.loads(message.value)
            found.setdefault((topic, message.partition, offset), set()).add(digest)
        return found

    def expected(self):
        wanted = {}
        for (topic, partition), values in self.sent.items():
            digest = ""
            for offset, value in enumerate(values):
                digest = chained(digest, offset, value)
                wanted[topic, partition, offset] = {digest}
        return wanted

    def wait_for_all(self, seconds, restart=()):
        """Wait until each record sent was answered; `restart`: workers to bring back when they end."""
        wanted, give_up = self.expected(), time.monotonic() + seconds
        while len(found := self.outputs()) < len(wanted) and time.monotonic() < give_up:
            for worker in restart:
                self.revive(worker)
            time.sleep(0.2)
        assert found == wanted, f"{len(wanted.keys() - found.keys())} missing\n{self.tails()}"

    def wait_until(self, condition, seconds=20):
        give_up = time.monotonic() + seconds
        while not condition(self.outputs()):
            assert time.monotonic() < give_up, f"{len(self.outputs())} answered\n{self.tails()}"
            time.sleep(0.1)

    def revive(self, worker):
        mine = [process for process in self.processes if process.log.name.startswith(f"worker-{worker}-")]
        if mine[-1].poll() is not None:
            self.start(worker)

    def assert_commits_are_safe(self):
        """Whatever lies below a committed offset has been answered."""
        committed = {topic: broker.committed(self.settings, GROUP, topic) for topic in TOPICS}
        found = self.outputs()
        for topic, offsets in committed.items():
            for partition, offset in offsets.items():
                below = [(topic, partition, place) for place in range(max(offset, 0))]
                assert all(place in found for place in below), f"{topic}[{partition}]: {offset} committed"

    def tails(self):
        return "\n".join(f"{process.log.name}:\n{process.log.read_text()[-3000:]}" for process in self.processes[-3:])


@pytest.fixture
def bench(kafka, tmp_path):
    settings = Settings(bootstrap_servers=kafka.bootstrap_servers, metrics_port=0)
    _end_group(settings)
    _empty(settings, [*TOPICS, OUTPUT, CHECKPOINTS])
    bench = Bench(kafka, tmp_path)
    yield bench
    for process in bench.processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _end_group(settings):
    """Wait until the static members of the test before have timed out, and drop the group's commits."""
    give_up = time.monotonic() + 4 * SESSION_SECONDS
    while (code := _deletion_error(settings)) not in (None, KafkaError.GROUP_ID_NOT_FOUND):
        assert time.monotonic() < give_up, code
        time.sleep(0.2)


def _deletion_error(settings):
    admin = broker.admin(settings)
    error = admin.delete_consumer_groups([GROUP])[GROUP].exception(10)
    return error.args[0].code() if isinstance(error, KafkaException) else error


def _empty(settings, names):
    admin = broker.admin(settings)
    broker.create_topics(settings)
    for future in admin.delete_topics(names).values():
        future.result(20)
    while broker.partition_counts(settings, names):
        time.sleep(0.05)
    give_up = time.monotonic() + 20
    while True:
        try:
            broker.create_topics(settings)
        except broker.StateError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        else:
            return


@contextmanager
def frozen(process):
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_of_random_workers_loses_nothing_and_doubles_no_state(bench, seed):
    dice = random.Random(seed)
    for worker in range(3):
        bench.start(worker)
    bench.send_some(20)
    for _ in range(5):
        time.sleep(dice.uniform(0.3, 3))
        victim = dice.choice([process for process in bench.processes if process.poll() is None])
        victim.kill()
        victim.wait()
        bench.send_some(40)
        for worker in range(3):
            bench.revive(worker)
        bench.assert_commits_are_safe()
    bench.wait_for_all(60, restart=range(3))
    bench.assert_commits_are_safe()


def test_a_slow_record_under_way_survives_a_kill_and_is_not_committed(bench):
    gate = bench.folder / "gate"
    bench.send_some(5)
    bench.send(TOPICS[0], 1, b"gate %s" % bytes(gate))
    bench.send_some(50)
    process = bench.start(0, stall_seconds=60)
    bench.wait_until(lambda _: gate.with_suffix(".reached").exists())
    time.sleep(3 * bench.settings.checkpoint_seconds)  # what could be committed would be by now
    assert (TOPICS[0], 1, 5) not in bench.outputs()
    bench.assert_commits_are_safe()
    process.kill()
    process.wait()
    gate.touch()
    bench.start(0)
    bench.wait_for_all(40)


def test_sigterm_saves_ends_in_time_and_a_restart_reads_on_from_there(bench):
    process = bench.start(0)
    bench.send_some(30)
    bench.wait_for_all(30)
    before = sum(1 for _ in broker.read_topic(bench.settings, OUTPUT))
    started = time.monotonic()
    process.terminate()
    assert process.wait(5) == 0
    assert time.monotonic() - started < 3
    assert set(broker.committed(bench.settings, GROUP, TOPICS[0]).values()) == {30}
    bench.send_some(10)
    bench.start(0)
    bench.wait_for_all(30)
    again = sum(1 for _ in broker.read_topic(bench.settings, OUTPUT)) - before
    assert again == 10 * len(bench.sent)


def test_a_zombie_ends_itself_and_mixes_with_nobody(bench):
    first, second = bench.start(0), bench.start(1)
    bench.send_some(30)
    bench.wait_for_all(30)
    with frozen(first):
        bench.send_some(30)
        time.sleep(SESSION_SECONDS * 1.5)
        bench.wait_for_all(30)
    assert first.wait(10) == 70
    assert "stood still" in first.log.read_text()
    bench.send_some(30)
    bench.wait_for_all(30)
    assert second.poll() is None


def test_a_rebalance_storm_leaves_every_partition_served(bench):
    dice = random.Random(7)
    bench.start(0)
    for _ in range(5):
        guest = bench.start(dice.choice([1, 2]))
        bench.send_some(10)
        time.sleep(dice.uniform(1, 3))
        guest.terminate()
        guest.wait()
    bench.send_some(10)
    bench.wait_for_all(60, restart=[0])


def test_a_crash_of_the_broker_is_outlived_without_loss(bench, kafka):
    workers = [bench.start(0), bench.start(1)]
    bench.send_some(20)
    bench.wait_until(lambda found: len(found) > 50)
    kafka.kill("kafka")
    time.sleep(4)
    kafka.start("kafka")
    bench.send_some(20)
    bench.wait_for_all(60, restart=[0, 1])
    assert [worker.poll() for worker in workers] == [None, None]


def test_a_held_partition_waits_and_others_go_on(bench):
    bench.start(0)
    bench.send_some(5)
    bench.wait_for_all(30)
    bench.send(TOPICS[0], 2, b"hold 3")
    bench.outbox.flush_acknowledged(5)
    time.sleep(1)
    bench.send_some(20)
    time.sleep(1)
    found = bench.outputs()
    assert (TOPICS[0], 2, 24) not in found
    assert (TOPICS[0], 1, 24) in found
    assert (TOPICS[1], 2, 24) in found
    bench.wait_for_all(20)


def test_an_error_of_the_stage_ends_the_process_and_says_where(bench):
    process = bench.start(0)
    bench.send_some(1)
    bench.send(TOPICS[1], 3, b"fail")
    bench.outbox.flush_acknowledged(5)
    assert process.wait(20) == 1
    assert f"foreshock: {TOPICS[1]}[3]@1: told to fail" in process.log.read_text()


def test_a_worker_that_stands_still_while_the_log_grows_ends_itself(bench):
    process = bench.start(0)
    bench.send(TOPICS[1], 0, b"block")
    bench.send_some(3)
    assert process.wait(30) == 70
    # The records of a partition are processed one by one, so its other topic may be the one that is told of.
    assert "[0]: stands at" in process.log.read_text()


def test_a_worker_refuses_topics_with_another_number_of_partitions(bench):
    bench.settings = Settings(bootstrap_servers=bench.settings.bootstrap_servers, partitions=3, metrics_port=0)
    process = bench.start(0)
    assert process.wait(20) == 1
    assert "has 4 partitions, FORESHOCK_PARTITIONS says 3" in process.log.read_text()
