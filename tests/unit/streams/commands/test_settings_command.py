"""`foreshock settings`: the values in force, and where they are from."""

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas.errors import SettingsError
from streams.cli import app
from streams.commands import settings as command
from streams.settings import describe


def said(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(f"FORESHOCK_{name}", value)
    done = CliRunner().invoke(app, ["settings"])
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    return done.output


def cells(printed, name):
    (line,) = [line for line in printed.splitlines() if f" FORESHOCK_{name} " in line]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_each_setting_has_its_value_in_force_and_says_where_it_is_from(monkeypatch):
    printed = said(monkeypatch, KAFKA_PORT="19999", WORKERS="3", PROFILE="bars", TRITON_URL="far:1")
    assert cells(printed, "WORKERS")[1:4] == ["3", "environment", "1"]
    assert cells(printed, "BATCH_MS")[1:4] == ["200.0", "default", "200.0"]
    assert cells(printed, "BOOTSTRAP_SERVERS")[1:3] == ["127.0.0.1:19999", "FORESHOCK_KAFKA_PORT"]
    assert cells(printed, "TRITON_URL")[1:3] == ["far:1", "environment"]
    assert cells(printed, "ROW_INTERVAL_SECONDS")[1:4] == ["300", "FORESHOCK_PROFILE", "-1.0"]
    for name, _, _, meaning in describe():
        assert name in printed
        assert meaning in printed


def test_a_narrow_screen_gets_whole_lines(monkeypatch, capsys):
    monkeypatch.setenv("FORESHOCK_WORKERS", "3")
    monkeypatch.setattr(command, "console", lambda: Console(width=80))
    command.settings()
    printed = capsys.readouterr().out
    assert "FORESHOCK_WORKERS = 3  [environment; default 1]\n    Processes of each stage" in printed
    assert "FORESHOCK_BATCH_MS = 200.0  [default]" in printed


def test_a_variable_that_is_no_setting_is_an_error(monkeypatch):
    with pytest.raises(SettingsError, match="WORKRS: there is no such setting; did you mean FORESHOCK_WORKERS"):
        said(monkeypatch, WORKRS="3")


def test_a_bad_value_is_an_error(monkeypatch):
    with pytest.raises(SettingsError, match="FORESHOCK_WORKERS: expected a whole number, got 'two'"):
        said(monkeypatch, WORKERS="two")
