"""Processes that end are started again; what ends by itself and well is not."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from schemas.errors import SettingsError
from schemas.metrics import DISK_FREE, DISK_SIZE, PROCESS_RESTARTS, PROCESS_RUNNING
from streams.metrics_server import Metrics
from streams.run import Piece, Supervisor, stage_pieces
from streams.run_metrics import RunMetrics
from streams.running import where_to_look
from streams.settings import Settings


def python(name, program, **options):
    return Piece(name=name, command=(sys.executable, "-c", program), **options)


SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path, workers=2, metrics_port=9_500)


def look_until(supervisor, condition):
    give_up = time.monotonic() + 10
    while not condition():
        supervisor.look()
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_process_that_is_killed_comes_back_and_the_reason_is_said(settings):
    said = []
    with Supervisor(settings, [python("a", "print('hello', flush=True);" + SLEEP)], said.append) as supervisor:
        first = supervisor.pid("a")
        look_until(supervisor, lambda: "hello" in supervisor.log("a").read_text())
        supervisor.kill("a")
        look_until(supervisor, lambda: supervisor.pid("a") not in (None, first))
        assert supervisor.exits("a") == [-signal.SIGKILL]
        assert said == ["a ended with code -9: hello"]
        second = supervisor.pid("a")
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_a_process_that_keeps_failing_is_started_ever_more_slowly(settings):
    with Supervisor(settings, [python("a", "raise SystemExit('no')")]) as supervisor:
        give_up = time.monotonic() + 2
        while time.monotonic() < give_up:
            supervisor.look()
            time.sleep(0.02)
        assert 2 <= len(supervisor.exits("a")) <= 4


def test_a_piece_that_ends_by_itself_is_finished(settings):
    with Supervisor(settings, [python("a", "pass", once=True)]) as supervisor:
        look_until(supervisor, lambda: supervisor.finished("a"))
        supervisor.look()
        assert supervisor.pid("a") is None


def test_one_process_can_be_stopped_and_started(settings):
    with Supervisor(settings, [python("a", SLEEP), python("b", SLEEP)]) as supervisor:
        supervisor.stop(["a"])
        supervisor.look()
        assert supervisor.pid("a") is None
        assert supervisor.pid("b") is not None
        supervisor.start(["a"])
        assert supervisor.pid("a") is not None


def test_children_end_when_their_supervisor_is_killed(settings):
    program = f"""
import time
from pathlib import Path
from streams.run import Piece, Supervisor
from streams.settings import Settings
supervisor = Supervisor(Settings(state_dir=Path({str(settings.state_dir)!r})),
                        [Piece(name="a", command=({sys.executable!r}, "-c", "import time; time.sleep(60)"))])
supervisor.look()
print(supervisor.pid("a"), flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    give_up = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def _runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_stages_get_their_worker_and_a_metrics_port_of_their_own(settings):
    pieces = stage_pieces(settings, ["ingest", "infer"], workers={"infer": 1})
    assert [(piece.name, piece.environment["FORESHOCK_METRICS_PORT"]) for piece in pieces] == [
        ("ingest-0", "9500"),
        ("ingest-1", "9501"),
        ("infer-0", "9502"),
    ]
    assert pieces[1].environment["FORESHOCK_WORKER"] == "1"


def test_prometheus_finds_each_stage_while_its_supervisor_looks_after_it(settings):
    pieces = [structs.replace(piece, command=("sleep", "60")) for piece in stage_pieces(settings, ["ingest", "infer"])]
    folder = settings.state_dir / "targets"
    with Supervisor(settings, [*pieces, python("replay", SLEEP, environment=settings.environment())]) as supervisor:
        found = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
        supervisor.kill("infer-0")
        assert (folder / "infer-0.json").exists()  # one that has ended is missed, not forgotten
    assert set(found) == {"ingest-0.json", "ingest-1.json", "infer-0.json", "infer-1.json"}
    labels = {"process": "infer-0", "stage": "infer"}
    assert found["infer-0.json"] == [{"targets": ["127.0.0.1:9502"], "labels": labels}]
    assert list(folder.iterdir()) == []


def test_a_run_tells_what_it_started_again_and_the_room_that_is_left(settings, tmp_path):
    metrics = Metrics("run")
    with Supervisor(settings, [python("a", "raise SystemExit(3)"), python("b", SLEEP)]) as supervisor:
        RunMetrics(metrics, supervisor, {"state": tmp_path, "gone": tmp_path / "gone"})
        look_until(supervisor, lambda: supervisor.starts("a") == 3)
        assert metrics.value(PROCESS_RESTARTS, process="a") == 2
        assert metrics.value(PROCESS_RESTARTS, process="b") == 0
        assert metrics.value(PROCESS_RUNNING, process="b") == 1
        assert 0 < metrics.value(DISK_FREE, folder="state") <= metrics.value(DISK_SIZE, folder="state")
        assert metrics.registry.get_sample_value(DISK_FREE.name, {"folder": "gone"}) is None


def test_a_run_says_where_to_look(settings):
    lines = where_to_look(dataclasses.replace(settings, prometheus_port=1), 4)
    assert lines[1] == f"metrics on 127.0.0.1:9500 to 9504, listed in {settings.state_dir}/targets"
    assert "foreshock up --monitoring" in lines[2]


def test_two_processes_of_one_name_are_refused(settings):
    with pytest.raises(SettingsError, match="two processes would be called a"):
        Supervisor(settings, [python("a", SLEEP), python("a", SLEEP)])
