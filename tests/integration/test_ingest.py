"""Ingest on real Kafka: whatever is killed or joins, the canonical logs say the same."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.batches import STAMPS, decode_batch
from schemas.instruments import partition_of_key
from schemas.rules import SECOND_NS
from schemas.topics import DEAD_LETTER, EVENT_TOPICS, INGEST_CHECKPOINT, LATE_EVENT, RAW_EXCHANGE, RAW_TOPICS
from streams import kafka as broker
from streams.ingest.checkpoints import last_checkpoints
from streams.ingest.normaliser import Normaliser
from streams.ingest.state import NormaliserState
from streams.settings import Settings
from streams.sources.captures import find_captures
from tests.unit.streams.ingest.canonical import content, settled

PROGRAM = (
    "from streams.ingest import checkpoints, run_ingest; from streams.settings import Settings; "
    "checkpoints.CHUNK_BYTES = 2048; run_ingest({})"
)
"""Chunks are small, so that the books of these captures take several."""
SETTINGS = "Settings.from_environment()"
TOPICS = (*RAW_TOPICS, *EVENT_TOPICS, LATE_EVENT, DEAD_LETTER, INGEST_CHECKPOINT)
SESSION_SECONDS = 6.0


class Bench:
    """Ingest processes on emptied topics, and the raw log that they read."""

    def __init__(self, stack, folder):
        self.folder = folder
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            checkpoint_seconds=0.2,
            session_timeout_seconds=SESSION_SECONDS,
            metrics_port=0,
            state_dir=folder,
            log_level="INFO",
        )
        self.outbox = broker.Outbox(self.settings, "test")
        self.raw = {}
        self.processes = []

    def send(self, topic, key, value, source, kind, receive_time_ns):
        partition = partition_of_key(key, self.settings.rules.raw_partitions[topic])
        headers = [("source", source), ("format", kind), ("receive_time_ns", b"%d" % receive_time_ns)]
        self.write(topic, partition, key, value, headers)

    def beat(self, receive_time_ns):
        headers = [("source", b"replay"), ("format", b"heartbeat"), ("receive_time_ns", b"%d" % receive_time_ns)]
        for topic, count in self.settings.rules.raw_partitions.items():
            for partition in range(count):
                self.write(topic, partition, None, b"", headers)

    def write(self, topic, partition, key, value, headers):
        self.outbox.send(topic, value, key=key, headers=headers, partition=partition)
        self.raw.setdefault((topic, partition), []).append((key, value, headers))

    def start(self, worker, arguments=SETTINGS):
        environment = {**os.environ, **self.settings.environment(), "FORESHOCK_WORKER": str(worker)}
        log = self.folder / f"ingest-{worker}-{len(self.processes)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(arguments)], env=environment, stdout=out, stderr=out
            )
        process.log = log
        self.processes.append(process)
        return process

    def expected(self):
        """What one undisturbed pass over the raw log makes."""
        outputs = []
        for (topic, partition), records in self.raw.items():
            normaliser = Normaliser(topic, partition, self.settings.rules)
            for offset, (key, value, headers) in enumerate(records):
                normaliser.feed(offset, key, value, headers)
            outputs += normaliser.flush()
        return settled((out.topic, out.partition, dict(out.headers), out.value) for out in outputs)

    def written(self):
        return (
            (message.topic, message.partition, message.headers, message.value)
            for topic in EVENT_TOPICS
            for message in broker.read_topic(self.settings, topic)
        )

    def found(self):
        return settled(self.written())

    def wait_until_done(self, seconds=60, revive=()):
        """Wait until the checkpoints cover the raw log; `revive`: workers to start again when they end."""
        wanted = {place: len(records) for place, records in self.raw.items()}
        give_up = time.monotonic() + seconds
        while (reached := self.reached()) != wanted:
            assert time.monotonic() < give_up, f"{reached} of {wanted}\n{self.tails()}"
            for worker in revive:
                mine = [process for process in self.processes if process.log.name.startswith(f"ingest-{worker}-")]
                if mine[-1].poll() is not None:
                    self.start(worker)
            time.sleep(0.1)

    def checkpoints(self):
        records = ((message.key, message.value) for message in broker.read_topic(self.settings, INGEST_CHECKPOINT))
        found = last_checkpoints(records)
        return {place: NormaliserState.decode(each.blob) for place, each in found.items() if each.blob}

    def reached(self):
        return {place: state.next_offset for place, state in self.checkpoints().items()}

    def books(self):
        """The instruments whose books are known in the last checkpoints."""
        states = self.checkpoints().values()
        return [book.instrument_id for state in states for book in state.books if book.standing == "known"]

    def chunks(self):
        """How many chunks the last checkpoints have."""
        keys = {message.key: message.value for message in broker.read_topic(self.settings, INGEST_CHECKPOINT)}
        return sum(key.count(b"/") == 4 and value is not None for key, value in keys.items())

    def progress(self):
        """How many progress records each raw partition has made."""
        return {(topic, raw): len(log["progress"]) for (topic, _, raw), log in content(self.written()).items()}

    def stamps_are_written_once(self, topic):
        """Say whether each event of a topic was written once, not only taken in once."""
        written = [
            (message.partition, batch.record, *stamp)
            for message in broker.read_topic(self.settings, topic)
            if message.value
            for batch in [decode_batch(message.value)]
            for stamp in zip(*(batch.numbers(name).tolist() for name in STAMPS[2:]), strict=True)
        ]
        return len(written) == len(set(written))

    def committed(self):
        return {
            (topic, partition): offset
            for topic in RAW_TOPICS
            for partition, offset in broker.committed(self.settings, "ingest", topic).items()
        }

    def tails(self):
        return "\n".join(f"{process.log.name}:\n{process.log.read_text()[-3000:]}" for process in self.processes[-3:])

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)


@pytest.fixture
def bench(kafka, tmp_path):
    bench = Bench(kafka, tmp_path)
    end_group(bench.settings)
    empty_topics(bench.settings)
    yield bench
    bench.stop()


def end_group(settings):
    """Drop the group of the test before, once its static members have timed out."""
    admin = broker.admin(settings)  # kept: the answers come only while it lives
    give_up = time.monotonic() + 3 * SESSION_SECONDS
    while time.monotonic() < give_up:
        try:
            admin.delete_consumer_groups(["ingest"])["ingest"].result(10)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            time.sleep(0.2)
        else:
            return
    pytest.fail("the group of the test before is still there")


def empty_topics(settings):
    admin = broker.admin(settings)
    broker.create_topics(settings)
    for future in admin.delete_topics(list(TOPICS)).values():
        future.result(20)
    while broker.partition_counts(settings, TOPICS):
        time.sleep(0.05)
    give_up = time.monotonic() + 30
    while not created(settings):
        assert time.monotonic() < give_up
        time.sleep(0.2)


def created(settings):
    """Create the topics; say whether all their partitions have a leader that answers."""
    try:
        broker.create_topics(settings)
        return all(broker.watermarks(settings, topic) for topic in TOPICS)
    except (broker.StateError, KafkaException):
        return False


def capture_frames(captures, count):
    """Yield (connection, receive time, frame) of real captures; some that are of no book cannot be read."""
    folder = captures / "ticks_binance_hftbacktest" / "usdm"
    found = find_captures(sorted(folder.glob("*_2024*.gz")))
    for number, message in enumerate(islice(found.messages(), count)):
        frame = message.value
        is_damaged = number % 500 == 7 and b"depth" not in frame[:60]
        yield message.receive_time_ns, message.key, b"{" + frame if is_damaged else frame


def put(bench, frames):
    """Put frames on the raw log, with heartbeats between."""
    last = 0
    for now, key, frame in frames:
        if now // SECOND_NS != last // SECOND_NS:
            bench.beat(now)
        last = now
        bench.send(RAW_EXCHANGE, key, frame, b"binance-usdm", b"binance-combined", now)
    bench.outbox.flush_acknowledged(30)


def test_kill_and_restart_at_random_moments_leave_the_same_canonical_content(bench, captures):
    draw = random.Random(5)
    frames = capture_frames(captures, 40_000)
    for worker in range(2):
        bench.start(worker)
    for _ in range(5):
        put(bench, islice(frames, 8_000))
        time.sleep(draw.uniform(0, 1.5))
        victim = draw.choice([process for process in bench.processes if process.poll() is None])
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        bench.start(bench.processes.index(victim) % 2)
    bench.wait_until_done(90, revive=(0, 1))
    assert bench.found() == bench.expected()
    assert bench.chunks() > 2
    assert len(bench.books()) == 2
    letters = list(broker.read_topic(bench.settings, DEAD_LETTER))
    wanted = {(key, value) for records in bench.raw.values() for key, value, _ in records if value.startswith(b"{{")}
    assert {(letter.key, letter.value) for letter in letters} == wanted
    assert all(letter.headers["x-dlq-reason"] == b"decode" for letter in letters)


def test_sigterm_ends_cleanly_and_the_successor_goes_on_where_it_ended(bench, captures):
    frames = capture_frames(captures, 6_000)
    put(bench, islice(frames, 3_000))
    first = bench.start(0)
    bench.wait_until_done()
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0, bench.tails()
    put(bench, frames)
    second = bench.start(0)
    bench.wait_until_done()
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0, bench.tails()
    assert bench.found() == bench.expected()
    assert [bench.stamps_are_written_once(topic) for topic in EVENT_TOPICS] == [True] * 3
    assert bench.committed() == {place: len(records) for place, records in bench.raw.items()}


def test_a_frozen_process_that_wakes_up_behind_its_successor_does_no_harm(bench, captures):
    frames = capture_frames(captures, 16_000)
    bench.start(0)
    put(bench, islice(frames, 8_000))
    zombie = bench.processes[0]
    zombie.send_signal(signal.SIGSTOP)
    bench.start(1)
    put(bench, frames)
    bench.wait_until_done()
    zombie.send_signal(signal.SIGCONT)
    time.sleep(2)
    assert bench.found() == bench.expected()


def test_live_ingest_writes_the_heartbeats_and_reads_them_back(bench):
    bench.start(0, SETTINGS + ", live=True")
    give_up = time.monotonic() + 40
    while len(progress := bench.progress()) < 6 or min(progress.values()) < 3:
        assert time.monotonic() < give_up, f"{progress}\n{bench.tails()}"
        time.sleep(0.2)
    watermark = max(log["progress"][-1].watermark_ns for log in bench.found().values())
    assert watermark % SECOND_NS == 0
    assert 0 < time.time_ns() - watermark < 10 * SECOND_NS


def test_a_checkpoint_of_other_rules_is_refused_with_what_to_do(bench):
    bench.beat(1_700_000_000 * SECOND_NS)
    bench.outbox.flush_acknowledged(10)
    state = NormaliserState(rules_id="other", raw_topic=RAW_EXCHANGE, raw_partition=0, next_offset=1)
    bench.outbox.send(INGEST_CHECKPOINT, state.encode(), key=b"raw.exchange.v1/0")
    bench.outbox.flush_acknowledged(10)
    process = bench.start(0)
    assert process.wait(30) == 1
    assert "raw.exchange.v1[0]: the checkpoint has the rules other" in bench.tails()
