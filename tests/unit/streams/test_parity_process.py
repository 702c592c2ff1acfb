"""What the watchdog is told of a parity process; Kafka is played by hand."""

import threading
from types import SimpleNamespace

import pytest

from featurestore.catalogue import Catalogue
from schemas.forecasts import Announcement, encode_json
from schemas.metrics import OFFSET_LAG
from schemas.topics import FEATURE_ROW, OPS_MODEL
from streams import watchdog as dog
from streams.announcements import ANNOUNCED
from streams.metrics_server import Metrics
from streams.parity import process as module
from streams.parity.account import Account
from streams.parity.process import ParityProcess, watchdog
from streams.settings import Settings
from streams.stage import Message

SETTINGS = Settings(stall_seconds=5.0, partitions=2)
CATALOGUE = Catalogue.discover(SETTINGS.rules).subset(["realised_variance_1m"])
LOG_ENDS_AT = 9


class Broker:
    """A consumer of logs that end at 9, and the follower of the announcements; `stuck` never answers."""

    def __init__(self, stuck=None):
        self.stuck = stuck
        self.paused = []

    def read(self):
        first = Announcement(border_ns=0, feature_set_id="0123456789ab", features=CATALOGUE.versions)
        return [Message(OPS_MODEL, 0, 0, ANNOUNCED, {}, encode_json(first), 0)]

    def list_topics(self, timeout):
        pass

    def get_watermark_offsets(self, place, timeout=None, cached=None):
        return 0, LOG_ENDS_AT

    def assign(self, places):
        pass

    def consume(self, count, timeout):
        if self.stuck is not None:
            self.stuck.wait()
        return []

    def pause(self, places):
        self.paused += [(place.topic, place.partition) for place in places]

    def resume(self, places):
        pass


@pytest.fixture
def begun(monkeypatch):
    """Yield what starts a process on a broker, and its metrics."""

    def begin(broker):
        monkeypatch.setattr(module, "consumer", lambda *_: broker)
        monkeypatch.setattr(module, "Follower", lambda *_: broker)
        metrics = Metrics()
        account = Account(SETTINGS, metrics, SimpleNamespace(poll=lambda: None, send=lambda *_: None), 1.0)
        return ParityProcess(SETTINGS, CATALOGUE, account, 1.0), metrics

    return begin


def test_a_log_that_is_not_read_is_told_by_its_lag_and_ends_the_process(begun):
    process, metrics = begun(Broker())
    process._look()
    assert metrics.value(OFFSET_LAG, topic=FEATURE_ROW, partition="1") == LOG_ENDS_AT
    watched = watchdog(process, SETTINGS)
    assert watched.stuck(process.positions(), process.ends(), 0.0) is None
    assert "stands at 0 for 26 s while the log goes to 9" in watched.stuck(process.positions(), process.ends(), 26.0)


def test_topics_that_are_held_may_stand(begun, monkeypatch):
    broker = Broker()
    process, _ = begun(broker)
    monkeypatch.setattr(module, "_MAX_WAITING", -1)
    process._look()
    assert broker.paused == [(FEATURE_ROW, 0), (FEATURE_ROW, 1)]
    assert not {place for place in process.positions() if place[0] == FEATURE_ROW}


def test_a_process_whose_loop_does_not_go_round_is_ended(begun, monkeypatch):
    told, ended, released = [], threading.Event(), threading.Event()

    def end(*reason):
        told.append(reason)
        ended.set()

    monkeypatch.setattr(dog, "exit_now", end)
    monkeypatch.setattr(module, "_PATIENCE", 0.02)
    process, _ = begun(Broker(stuck=released))
    stopping = threading.Event()
    reading = threading.Thread(target=process.run, args=[stopping])
    watched = watchdog(process, SETTINGS)
    reading.start()
    watched.start()
    assert ended.wait(5)
    watched.stop()
    stopping.set()
    released.set()
    reading.join(5)
    code, reason = told[0]
    assert code == dog.STUCK
    assert reason.startswith("the event loop did not run for")


@pytest.fixture
def watched(monkeypatch):
    """What happens to the watchdog of `run_parity`, and what ends the process; `run` says how it goes."""
    seen = []
    quiet = SimpleNamespace(flush_acknowledged=lambda: None, close=lambda: None)
    for name in ("Outbox", "MetricsServer", "require_topics_of", "log_to_stderr"):
        monkeypatch.setattr(module, name, lambda *_: quiet)
    monkeypatch.setattr(module.os, "nice", lambda _: None)
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(module, "exit_now", lambda _, reason, error: seen.append(f"{reason}: {error}"))
    dog_of = SimpleNamespace(start=lambda: seen.append("start"), stop=lambda: seen.append("stop"))
    monkeypatch.setattr(module, "watchdog", lambda *_: dog_of)

    def go(run):
        process = SimpleNamespace(run=run, close=lambda: seen.append("close"))
        monkeypatch.setattr(module, "ParityProcess", lambda *_: process)
        module.run_parity(SETTINGS, 1.0)
        return seen

    return go


def test_the_watchdog_watches_as_long_as_the_process_runs(watched):
    assert watched(lambda _: None) == ["start", "stop", "close"]


def test_whatever_goes_wrong_ends_the_process_with_its_reason(watched):
    def fail(_):
        raise KeyError("row_id")

    assert watched(fail)[:2] == ["start", "parity failed: 'row_id'"]
