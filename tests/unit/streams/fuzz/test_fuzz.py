"""Every reader takes hostile bytes, within its time and memory; and fuzzing finds what is wrong."""

import sys
import time
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas import DecodeError
from streams.cli import app
from streams.fuzz import command
from streams.fuzz.mutations import STRANGE, mutated
from streams.fuzz.readers import Reader, readers
from streams.fuzz.running import Plan, Result, fuzzed
from streams.fuzz.seeds import FOUND, found_before
from streams.fuzz.trying import kept, tried

INPUTS = 150


@pytest.mark.parametrize("name", readers())
def test_a_reader_refuses_hostile_bytes_as_it_promises(name):
    seeds = found_before(name)
    for value in [*seeds, *STRANGE, *islice(mutated(seeds, 5, 4_000), INPUTS)]:
        found = tried(readers()[name], value)
        assert found is None, (found.text, found.value[:200])


def test_every_folder_of_examples_is_of_a_reader():
    assert {path.name for path in FOUND.iterdir()} <= set(readers())


def raising(error):
    def read(value):
        if b"x" in value:
            raise error

    return Reader(read)


def test_what_a_reader_must_not_raise_is_found_and_told_apart():
    for error, kind in ((ValueError("no"), "crash"), (MemoryError(), "memory"), (RecursionError(), "crash")):
        found = tried(raising(error), b"axb")
        assert (found.kind, found.value) == (kind, b"axb")
        assert found.text.startswith(type(error).__name__)
    assert tried(raising(DecodeError("no")), b"x") is None
    assert tried(raising(ValueError("no")), b"y") is None


def test_a_reader_that_never_ends_is_a_hang():
    def read(_):
        while True:
            pass

    assert tried(Reader(read), b"", 0.05).kind == "hang"


def test_an_input_that_did_harm_is_kept_once(tmp_path):
    found = tried(raising(ValueError("no")), b"first x")
    again = tried(raising(ValueError("no")), b"second x")
    assert kept(found, tmp_path) == kept(again, tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first x"]


def test_mutations_are_the_same_for_the_same_seed_and_bounded():
    draws = [list(islice(mutated([b'{"a": 1}', b"[2]"], seed, 100), 50)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert max(map(len, draws[0])) <= 100


def test_a_process_fuzzes_a_reader_in_bounded_memory(tmp_path):
    began = time.monotonic()
    result = fuzzed("progress", Plan(0.5, tmp_path, Path("/nowhere")))
    assert result.passed, result.findings
    assert result.engine in {"atheris", "mutations"}
    assert result.executions > 100
    assert result.seeds == 1
    assert time.monotonic() - began < 60


def test_a_process_that_dies_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    result = fuzzed("progress", Plan(0.1, tmp_path, Path("/nowhere")))
    assert not result.passed
    assert "its process ended with 1" in result.findings["crash-process-0"]


def test_the_command_tells_of_findings_and_fails(tmp_path, monkeypatch):
    bad = Result("progress", "mutations", 1, 5_000, {"crash-ab": "ValueError at x.py:read: no"}, 1 << 20, 0.1)
    monkeypatch.setattr("streams.fuzz.running.fuzzed", lambda *_: bad)
    monkeypatch.setattr(command, "console", lambda: Console(width=200))
    arguments = ["chaos", "fuzz", "--reader", "progress", "--corpus", str(tmp_path)]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 1
    assert "progress: ValueError at x.py:read: no; its input is" in told.output
    assert "5,000 inputs to 1 readers, 1 findings" in told.output
    wrong = CliRunner().invoke(app, ["chaos", "fuzz", "--reader", "nobody"])
    assert "--reader: expected one of bars" in str(wrong.exception)
