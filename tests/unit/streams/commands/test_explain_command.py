"""`foreshock explain`: what is asked for before anything is read."""

import pytest
from typer.testing import CliRunner

from schemas.errors import SettingsError
from schemas.rules import BARS, SECOND_NS
from streams.cli import app
from streams.commands import explain


def refused(*arguments, **environment):
    result = CliRunner().invoke(app, ["explain", *arguments], env=environment)
    assert isinstance(result.exception, SettingsError), result.output
    return str(result.exception)


def test_a_forecast_or_the_market_but_not_both():
    for arguments in ((), ("binance:BTC-USDT@1", "--market", "60")):
        assert refused(*arguments) == "expected the ID of a forecast, or --market SECONDS"


def test_a_change_is_since_ten_rows_before_unless_told_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr(explain, "_explain_forecast", lambda *parts, **_: asked.append(parts[4]))
    for profile in ("ticks", "bars"):
        result = CliRunner().invoke(app, ["explain", "x@1"], env={"FORESHOCK_PROFILE": profile})
        assert result.exit_code == 0, result.output
    assert asked == [10 * SECOND_NS, 10 * BARS.row_interval_ns]


@pytest.mark.parametrize("seconds", ["10", "-300"])
def test_times_between_rows_are_refused(seconds):
    told = refused("x@1", "--before", seconds, FORESHOCK_PROFILE="bars")
    assert told == f"--before: expected whole row intervals of 300 s, got {seconds}"
