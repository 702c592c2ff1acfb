"""The local stack against real servers: started twice, crashed, doubled, stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.cache import CHECKOUT
from deploy.daemon import Identity
from deploy.kafka import KafkaBroker
from deploy.ports import free_ports
from deploy.stack import Stack, private_stack
from schemas.errors import StackError

ECHO_CONFIG = """
backend: "python"
max_batch_size: 0
input [{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [ -1 ] }]
"""

ECHO_MODEL = """
import triton_python_backend_utils as pb_utils
import schemas

class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array)]) for array in arrays]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    (folder / "echo" / "1").mkdir(parents=True)
    (folder / "echo" / "config.pbtxt").write_text(ECHO_CONFIG)
    (folder / "echo" / "1" / "model.py").write_text(ECHO_MODEL)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Stack]:
    with private_stack(tmp_path_factory.mktemp("pair"), repository=repository) as stack:
        yield stack


def end_offset(stack: Stack, topic: str) -> int:
    """Produce one message and return its offset: the broker serves clients and keeps its log."""
    offsets: list[int] = []
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "acks": "all"})
    producer.produce(topic, b"x", on_delivery=lambda error, message: offsets.append(message.offset()))
    assert producer.flush(30) == 0
    return offsets[0]


def create_topic(stack: Stack, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for done in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        done.result(30)


def shared_memory(stack: Stack) -> list[Path]:
    prefix = stack._server("triton")._prefix  # type: ignore[union-attr]
    return list(Path("/dev/shm").glob(f"{prefix}*"))


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name `folder`."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            lines.append(line)
    return lines


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.1)


def test_a_second_up_leaves_what_runs_alone(pair, repository):
    before = (pair.pid("kafka"), pair.pid("triton"))
    started = time.monotonic()
    pair.up(repository=repository)
    assert (pair.pid("kafka"), pair.pid("triton")) == before
    assert time.monotonic() - started < 5


def test_kafka_comes_back_with_its_log_after_a_crash(pair):
    create_topic(pair, "crash.v1")
    assert end_offset(pair, "crash.v1") == 0
    pair.kill("kafka")
    assert not pair.is_running("kafka")
    pair.up(["kafka"])
    assert end_offset(pair, "crash.v1") == 1


def test_triton_comes_back_after_a_crash_and_leaves_no_shared_memory(pair):
    pair.kill("triton")
    assert not pair.is_running("triton")
    left = shared_memory(pair)
    assert left, "a crashed server leaks its regions; that is what `start` has to clean"
    pair.start("triton")
    assert pair.is_running("triton")
    assert not set(left) & set(shared_memory(pair))


def test_only_loopback_is_listened_on(pair):
    ports = vars(pair.plan.ports).values()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) in ports}
    mapped = "0000000000000000FFFF00000100007F"  # what a JVM's 127.0.0.1 looks like
    assert listening <= {"0100007F", mapped}


def test_an_unknown_topic_is_an_error_and_not_created(pair):
    admin = AdminClient({"bootstrap.servers": pair.bootstrap_servers})
    admin.list_topics("misspelt.v1", timeout=10)
    assert "misspelt.v1" not in admin.list_topics(timeout=10).topics


def test_down_leaves_no_process_and_no_shared_memory_and_two_stacks_run_side_by_side(pair, repository, tmp_path):
    # The second stack comes and goes while the first one serves.
    with private_stack(tmp_path, repository=repository) as second:
        assert second.bootstrap_servers != pair.bootstrap_servers
        second.kill("triton")  # also after a crash
        assert pair.is_running("triton")
    assert processes_of(tmp_path) == []
    assert shared_memory(second) == []
    assert pair.is_running("kafka")
    assert pair.is_running("triton")


def test_the_supervisor_restarts_triton_but_not_after_a_stop(repository, tmp_path):
    stack = Stack(tmp_path)
    try:
        stack.up(["triton"], ports=free_ports(), repository=repository, supervise=True)
        first = stack.pid("triton")
        stack.kill("triton")
        wait_for(lambda: stack.pid("triton") not in {None, first}, 20)
        stack.stop("triton")
        time.sleep(1.5)
        assert not stack.is_running("triton")
    finally:
        stack.down()
    assert processes_of(tmp_path) == []


def test_a_stack_ends_with_the_process_it_was_for(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from deploy.stack import private_stack\n"
        "with private_stack(Path(sys.argv[1]), ['kafka']): print('up', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=CHECKOUT, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner:
        assert owner.stdout.readline() == b"up\n"
        owner.kill()
    wait_for(lambda: processes_of(tmp_path) == [], 20)


def test_a_taken_port_is_named(pair, tmp_path):
    with pytest.raises(StackError, match=f"port {pair.plan.ports.kafka} on 127.0.0.1 is taken by another program"):
        KafkaBroker(tmp_path, pair.plan.ports).start()


def test_a_missing_model_is_named(repository, tmp_path):
    stack = Stack(tmp_path)
    with pytest.raises(StackError, match=r"no model 'nope'.\nIt has: echo"):
        stack.up(["triton"], ports=free_ports(), repository=repository, models=["nope"])


def test_a_model_that_does_not_load_is_a_clear_error(repository, tmp_path):
    broken = tmp_path / "models"
    (broken / "broken" / "1").mkdir(parents=True)
    (broken / "broken" / "config.pbtxt").write_text(ECHO_CONFIG)
    (broken / "broken" / "1" / "model.py").write_text("raise ValueError('bundle is missing')")
    stack = Stack(tmp_path)
    with pytest.raises(StackError, match=r"(?s)triton ended while it started: .*\nThe log is .*triton\.log"):
        stack.up(["triton"], ports=free_ports(), repository=broken)
    stack.down()


def test_a_stranger_with_the_same_pid_is_never_signalled(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        known = Identity.of(stranger.pid)
        earlier = Identity(known.pid, known.started_ticks - 1, known.boot_id)
        assert known.is_running()
        assert not earlier.is_running()
        assert earlier.session() == []
    finally:
        os.kill(stranger.pid, signal.SIGKILL)
        stranger.wait()


def test_a_private_stack_draws_other_ports_where_another_was_quicker(tmp_path, monkeypatch):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        drawn = [replace(free_ports(), kafka_controller=stranger.getsockname()[1]), free_ports()]
        monkeypatch.setattr("deploy.stack.free_ports", lambda: drawn.pop(0))
        wanted = drawn[1].kafka
        with private_stack(tmp_path / "stack", services=("kafka",)) as stack:
            assert stack.plan.ports.kafka == wanted
