"""Which log lines are written."""

import json
import logging

import pytest

from streams.logs import Seldom, log_to_stderr
from streams.secret import Secret
from streams.settings import Settings


def record(level, message, seconds):
    made = logging.LogRecord("aiokafka", level, __file__, 1, message, (), None)
    made.created = seconds
    return made


def test_the_same_complaint_is_written_once_in_a_while():
    seldom = Seldom()
    times = (100.0, 101.0, 104.9, 105.1)
    assert [seldom.filter(record(logging.WARNING, "no broker", at)) for at in times] == [True, False, False, True]
    assert seldom.filter(record(logging.WARNING, "another", 101.0))


def test_what_is_no_complaint_is_always_written():
    seldom = Seldom()
    assert [seldom.filter(record(logging.INFO, "assigned", 1.0)) for _ in range(2)] == [True, True]


def lines(capsys, settings, *calls):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log_to_stderr(settings, "infer")
        for message, arguments in calls:
            logging.getLogger("foreshock.test").warning(message, **arguments)
    finally:
        root.handlers[:], root.level = before
    return capsys.readouterr().err.splitlines()


def test_a_json_line_says_who_where_and_which_forecast(capsys):
    made = lines(
        capsys,
        Settings(log_format="json", worker=3),
        ("left out: feature.row.v1[2]@17 $: expected a row", {}),
        ("explained", {"extra": {"partition": 1, "offset": 5, "forecast_id": "kraken:BTC-USD@7"}}),
        ("no model for binance:BTC-USDT@1767226016000000000", {}),
    )
    told = [json.loads(line) for line in made]
    assert told[0].pop("time").endswith("+00:00")
    assert told[0] == {
        "level": "WARNING",
        "logger": "foreshock.test",
        "message": "left out: feature.row.v1[2]@17 $: expected a row",
        "stage": "infer",
        "worker": 3,
        "topic": "feature.row.v1",
        "partition": 2,
        "offset": 17,
    }
    assert (told[1]["partition"], told[1]["offset"], told[1]["forecast_id"]) == (1, 5, "kraken:BTC-USD@7")
    assert told[2]["forecast_id"] == "binance:BTC-USDT@1767226016000000000"


def test_an_exception_is_in_its_line(capsys):
    (line,) = lines(capsys, Settings(log_format="json"), ("failed", {"exc_info": ValueError("not this")}))
    assert "ValueError: not this" in json.loads(line)["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_shows_the_password(capsys, form):
    settings = Settings(log_format=form, kafka_user="infer", kafka_password=Secret('hunter"2'))
    (line,) = lines(capsys, settings, ('librdkafka was given sasl.password=hunter"2', {}))
    assert "hunter" not in line
    assert "********" in line
