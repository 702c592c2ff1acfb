"""Which log lines are written."""

import logging

from streams.logs import Seldom


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
