"""When the breaker opens and closes."""

from streams.breaker import Breaker, State


def closed():
    breaker = Breaker(failures=3, patience_seconds=2.0)
    breaker.close()
    return breaker


def test_it_is_open_before_the_first_canary():
    assert Breaker(3, 2.0).state is State.OPEN


def test_failures_in_a_row_open_it_and_an_answer_in_between_does_not():
    breaker = closed()
    for now in (0.0, 0.1):
        breaker.fail("lstm", now)
    breaker.succeed("lstm")
    for now in (0.2, 0.3):
        breaker.fail("lstm", now)
    assert breaker.is_closed
    breaker.fail("lstm", 0.4)
    assert breaker.state is State.OPEN


def test_one_dead_model_opens_it_though_the_other_answers():
    breaker = closed()
    for now in (0.0, 0.1, 0.2):
        breaker.fail("lstm", now)
        breaker.succeed("performer")
    assert not breaker.is_closed


def test_few_failures_open_it_when_they_last():
    breaker = closed()
    breaker.fail("lstm", 10.0)
    breaker.fail("lstm", 12.0)
    assert not breaker.is_closed


def test_a_canary_half_opens_it_and_decides():
    breaker = closed()
    breaker.probe()
    assert breaker.is_closed  # an idle check of a healthy model stops nothing
    breaker.open()
    breaker.probe()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.is_closed
    breaker.close()
    breaker.fail("lstm", 0.0)
    assert breaker.is_closed  # what was counted before is forgotten
