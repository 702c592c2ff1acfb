"""What a command refuses before it begins: files that cannot be written, brokers that are not there."""

import socket
import time

import pytest
from typer.testing import CliRunner

from deploy.ports import free_ports
from schemas.errors import SettingsError, StateError
from streams.cli import app
from streams.commands.checks import require_broker, require_writable
from streams.settings import Settings

NOBODY = "no Kafka broker answers; start one with `foreshock up`, or set FORESHOCK_BOOTSTRAP_SERVERS to one that runs"


def run(*arguments):
    CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def no_broker(monkeypatch):
    server = f"127.0.0.1:{free_ports().kafka}"
    monkeypatch.setenv("FORESHOCK_BOOTSTRAP_SERVERS", server)
    return server


def test_folders_of_outputs_are_made(tmp_path):
    require_writable(rows=tmp_path / "a" / "b" / "rows.parquet", plot=None)
    assert (tmp_path / "a" / "b").is_dir()


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^--rows .*/file/x/rows: its folder cannot be made: Not a directory$"):
        require_writable(rows=tmp_path / "file" / "x" / "rows")
    with pytest.raises(SettingsError, match="is a folder; give the name of a file"):
        require_writable(out=tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["backfill", "CAPTURES", "--rows", "FILE/rows.parquet"],
        ["backfill", "CAPTURES", "--tiles", "FILE/tiles.parquet"],
        ["backfill", "CAPTURES", "--with-late", "--report", "FILE/x.json"],
        ["backfill", "CAPTURES", "--with-late", "--plot", "FILE/x.png"],
        ["topics", "read", "late-event.v1", "--out", "FILE/x"],
        ["features", "check", "volume", "--plot", "FILE/x.png"],
        ["bench", "ingest", "--json", "FILE/x"],
        ["demo", "--report", "FILE/x"],
        ["store", "rebuild", "MANIFEST", "--out", "FILE/x"],
        ["store", "export", "--out", "FILE/x", "--features", "spread", "--from", "0", "--to", "1"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_command_looks_at_its_outputs_before_it_works(arguments, tmp_path, no_broker):
    (tmp_path / "file").write_text("")
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "captures").mkdir()
    places = {"FILE": tmp_path / "file", "MANIFEST": tmp_path / "manifest.json", "CAPTURES": tmp_path / "captures"}
    for word, place in places.items():
        arguments = [argument.replace(word, str(place)) for argument in arguments]
    with pytest.raises(SettingsError, match="its folder cannot be made"):
        run(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["parity", "--once"],
        ["topics", "apply"],
        ["topics", "read", "late-event.v1", "--out", "x"],
        ["features", "announce"],
        ["run"],
        ["backfill", "--topics"],
        ["backfill", "--canonical"],
        ["store", "tiles"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_without_a_broker_one_line_says_at_once_what_to_start(arguments, no_broker, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    with pytest.raises(StateError) as caught:
        run(*arguments)
    assert str(caught.value) == f"{no_broker}: {NOBODY}"
    assert time.monotonic() - began < 3
    assert capfd.readouterr().err == ""


def test_what_listens_and_is_no_broker_is_told_within_seconds(capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        with pytest.raises(StateError, match=NOBODY):
            require_broker(Settings(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}"))
    assert time.monotonic() - began < 5
    assert capfd.readouterr().err == ""
