import threading
import time

from streams import watchdog as module
from streams.watchdog import STUCK, Pulse, Watchdog

PLACE = ("feature.row.v1", 2)


def watchdog():
    return Watchdog(Pulse(60), 60, dict, dict, lambda: 0.0, lambda: 0.0)


def test_standing_still_while_the_log_grows_is_stuck():
    # position 7, the log goes to 9
    # 0 s -------- 60 s - 61 s
    watched = watchdog()
    assert watched.stuck({PLACE: 7}, {PLACE: 9}, 0.0) is None
    assert watched.stuck({PLACE: 7}, {PLACE: 9}, 60.0) is None
    assert watched.stuck({PLACE: 7}, {PLACE: 9}, 61.0) == (
        "feature.row.v1[2]: stands at 7 for 61 s while the log goes to 9"
    )


def test_the_end_of_the_log_a_moving_offset_and_a_silent_broker_are_not():
    watched = watchdog()
    for second in range(0, 300, 50):
        assert watched.stuck({PLACE: 9}, {PLACE: 9}, second) is None
    for second in range(300, 600, 50):
        assert watched.stuck({PLACE: second}, {PLACE: 10_000}, second) is None
    for second in range(600, 900, 50):
        assert watched.stuck({PLACE: 7}, {PLACE: 9} if second % 100 else None, second) is None


def test_a_partition_that_was_elsewhere_meanwhile_starts_anew():
    watched = watchdog()
    watched.stuck({PLACE: 7}, {PLACE: 9}, 0.0)
    watched.stuck({}, {}, 50.0)
    assert watched.stuck({PLACE: 7}, {PLACE: 9}, 100.0) is None


def test_waiting_for_partitions_counts_from_when_the_broker_answers():
    # silent until 500 s; partitions asked for at 0 s
    watched = watchdog()
    assert watched.outside(59.0, 59.0) is None
    assert watched.outside(61.0, 61.0) == "waiting for partitions for 61 s"
    watched.stuck({}, None, 500.0)
    assert watched.outside(501.0, 501.0) is None
    assert watched.outside(561.0, 561.0) == "waiting for partitions for 61 s"


def test_a_watchdog_that_fails_ends_the_process_and_not_its_own_thread(monkeypatch):
    ended = threading.Event()
    told = []

    def end(*reason):
        told.append(reason)
        ended.set()

    def broken():
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(module, "exit_now", end)
    watched = Watchdog(Pulse(60), 0.04, broken, dict, lambda: 0.0, lambda: 0.0)
    watched.start()
    assert ended.wait(5)
    watched.stop()
    code, reason, error = told[0]
    assert (code, reason, str(error)) == (STUCK, "the watchdog failed", "dictionary changed size during iteration")


def test_the_time_before_a_process_watches_itself_does_not_count(monkeypatch):
    ended = []
    monkeypatch.setattr(module, "exit_now", lambda *reason: ended.append(reason))
    pulse = Pulse(1.0)
    time.sleep(1.1)  # a model that loads, a broker that answers late
    watched = Watchdog(pulse, 60, dict, dict, lambda: 0.0, lambda: 0.0)
    watched.start()
    time.sleep(0.6)
    watched.stop()
    assert not ended
