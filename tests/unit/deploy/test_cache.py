import multiprocessing
from pathlib import Path

import pytest

from deploy.cache import DEPLOY, MARK, once, read_checksums


def append_line(folder: Path) -> None:
    with (folder.parent / "builds").open("a") as log:
        log.write("built\n")
    (folder / "file").write_text("whole")


def test_processes_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=once, args=(tmp_path / "thing", append_line)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"


def test_what_was_broken_off_is_built_again_from_empty(tmp_path):
    def broken_off(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        once(tmp_path / "thing", broken_off)
    once(tmp_path / "thing", append_line)
    assert sorted(path.name for path in (tmp_path / "thing").iterdir()) == [MARK, "file"]


def test_locks_hold_hashes_and_no_addresses():
    for lock in DEPLOY.glob("requirements*.lock"):
        text = lock.read_text()
        requirements = [line for line in text.splitlines() if not line.startswith(" ")]
        assert requirements
        assert text.count("\\\n    --hash=sha256:") >= len(requirements), lock.name
        assert "://" not in text, lock.name


def test_the_checksums_name_kafka_itself():
    assert "kafka_2.13-4.3.1.jar" in read_checksums(DEPLOY / "kafka.sha256")
