"""`foreshock features check`: what a quant runs on a new file."""

import pytest
from typer.testing import CliRunner

from schemas.errors import FeatureError
from streams.cli import app
from streams.commands import features


def test_named_features_are_checked():
    done = CliRunner().invoke(app, ["features", "check", "volume", "traded_volume_1m"])
    assert (done.exit_code, done.stdout) == (0, "2 checked, 0 problems\n")


def test_a_problem_is_a_line_and_an_exit_code(monkeypatch):
    monkeypatch.setattr(features, "violations", lambda *_: ["mine.py twice: infinite on a window with empty tiles"])
    done = CliRunner().invoke(app, ["features", "check", "volume"])
    assert done.exit_code == 1
    assert done.stderr == "mine.py twice: infinite on a window with empty tiles\n"


def test_a_name_that_is_not_there_says_where_the_names_are():
    with pytest.raises(
        FeatureError, match="there is no tile or feature 'volum'; `foreshock features list` prints them"
    ):
        CliRunner().invoke(app, ["features", "check", "volum"], catch_exceptions=False)
