"""`foreshock topics describe`: all topics, or all of one."""

import pytest
from typer.testing import CliRunner

from schemas.errors import SettingsError
from schemas.rules import TICKS
from schemas.topics import topics
from streams.cli import app


def said(*arguments):
    return CliRunner().invoke(app, ["topics", "describe", *arguments], catch_exceptions=False).output


def test_what_is_piped_is_not_cut():
    printed = said()
    for topic in topics(TICKS).values():
        assert topic.name in printed
        assert topic.meaning in printed


@pytest.mark.parametrize("name", ["feature.row.v1", "feature.row"])
def test_one_topic_is_told_in_full(name):
    lines = {key.strip(): value for key, value in (line.split(": ", 1) for line in said(name).splitlines())}
    assert lines["topic"] == "feature.row.v1"
    assert (lines["records"], lines["content"], lines["partitions"]) == ("row", "arrow", "4")


def test_a_wrong_name_is_told_the_nearest():
    with pytest.raises(SettingsError, match=r"there is no topic 'feture.row'; there is feature\.row\.v1"):
        said("feture.row")
