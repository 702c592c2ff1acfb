"""Groups of workers: all gone at once, one frozen and back as a zombie, a storm of joins and leaves."""

import signal
import time
from itertools import pairwise

from schemas.topics import FEATURE_ROW
from streams.chaos.live import Live, row_messages
from streams.chaos.reading import truth_of
from streams.chaos.scenario import Playing, Trial, scenario, since
from streams.kafka import read_topic
from streams.run import STAGES
from streams.watchdog import STUCK

_SECONDS = 240
_QUICK_SECONDS = 60
_MASSACRES = 5
_QUICK_MASSACRES = 2
_RESTORED_SECONDS = 60.0
_CATCH_UP = 3.0
_DONE_SECONDS = 240.0
_MARKET_SECONDS = 7_200
_INTENSITY = 0.3
_SPEED = 3.0
_ZOMBIE_SESSIONS = 1.5
_STORM = 60
_QUICK_STORM = 4
_EVERY_SECONDS = 5.0
_STABLE_SECONDS = 60.0
_MOST_STUCK_SECONDS = 30.0
_DYNAMIC = {"FORESHOCK_WORKER": "-1"}
"""Without static membership every join and every leave is a rebalance."""


@scenario("F2", "kill -9 all workers at once, 5 times", seconds=150)
def kill_all(trial: Trial) -> None:
    """Whenever another part of the rows is written; how fast they restore, and then catch up."""
    kills = _QUICK_MASSACRES if trial.quick else _MASSACRES
    trial.fill(trial.market(_QUICK_SECONDS if trial.quick else _SECONDS))
    truth = truth_of(trial.settings)
    restored, speed = 0.0, 0.0
    with trial.running(workers={} if trial.quick else {"ingest": 2, "featurize": 2}) as live:
        processes = len(live.supervisor.names)
        for kill in range(1, kills + 1):
            due = kill * len(truth.rows) / (kills + 1)
            live.wait(lambda due=due: row_messages(trial.settings) >= due, _DONE_SECONDS, f"{due:.0f} row messages")  # type: ignore[misc]
            for name in live.supervisor.names:
                live.supervisor.kill(name)
            live.wait(lambda kill=kill: len(live.exits()) == kill * processes, 10.0, "all to end")  # type: ignore[misc]
            killed, left = time.monotonic(), len(truth.rows) - row_messages(trial.settings)
            live.wait(live.reads_all, _DONE_SECONDS, "the stages to come back")
            restored = max(restored, since(killed))
        back = time.monotonic()
        live.wait(lambda: row_messages(trial.settings) >= len(truth.rows), _DONE_SECONDS, "the last row")
        partitions = len({partition for partition, _ in truth.rows})
        event_seconds = left / partitions * trial.settings.rules.row_interval_ns / 1e9
        speed = event_seconds / max(since(back), 0.1)
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = live.exits()
    trial.require(set(exits) == {-9}, f"expected kills and no other end, got exits {exits}")
    trial.figure("longest until all read again", restored, "s", limit=_RESTORED_SECONDS)
    if left:  # fast enough, nothing is left to catch up with behind the last kill
        trial.figure("catching up", speed, "times real time", limit=_CATCH_UP, at_least=True)
    trial.verify(truth)


@scenario("F4", "SIGSTOP of a worker for one and a half session timeouts, then SIGCONT", seconds=70)
def wake_zombie(trial: Trial) -> None:
    """Another worker of the stage has its partitions by then; what the zombie still writes must mix with nobody."""
    stage = trial.draw.choice(STAGES)
    zombie = f"{stage}-{trial.draw.randrange(2)}"
    with trial.running(workers={stage: 2}) as live:
        with Playing(trial.settings, trial.market(_MARKET_SECONDS, _INTENSITY), _SPEED):
            time.sleep(trial.draw.uniform(2.0, 5.0))
            live.supervisor.kill(zombie, signal.SIGSTOP)
            time.sleep(_ZOMBIE_SESSIONS * trial.settings.session_timeout_seconds)
            live.supervisor.kill(zombie, signal.SIGCONT)
            live.wait(lambda: bool(live.exits(zombie)), _RESTORED_SECONDS, f"{zombie} to end itself")
            live.wait(live.reads_all, _DONE_SECONDS, "all partitions to have a reader")
            time.sleep(trial.draw.uniform(2.0, 5.0))
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = live.exits()
    trial.require(exits == [STUCK], f"expected {zombie} alone to end, with {STUCK}; got exits {exits}")
    trial.verify()
    twice = [each.invariant for each in trial.outcome.findings]
    trial.figure("duplicates that count", twice.count("I2"), limit=0)
    trial.figure("latest forecasts that went back", twice.count("I3"), limit=0)


@scenario("F16", "a worker joins or leaves every 5 s for 5 minutes", seconds=420)
def storm(trial: Trial) -> None:
    """Two of three featurize and infer workers come and go; each time all partitions change hands."""
    changes = _QUICK_STORM if trial.quick else _STORM
    guests = [f"{stage}-{worker}" for stage in ("featurize", "infer") for worker in (1, 2)]
    with trial.running(workers={"featurize": 3, "infer": 3}, environment=_DYNAMIC) as live:
        with Playing(trial.settings, trial.market(_MARKET_SECONDS, _INTENSITY)):
            began_ms = time.time() * 1e3
            for _ in range(changes):
                _change(trial, live, trial.draw.choice(guests))
                time.sleep(_EVERY_SECONDS)
            over = time.monotonic()
            live.wait(live.reads_all, _DONE_SECONDS, "all partitions to have a reader")
            trial.figure("until all partitions are read", since(over), "s", limit=_STABLE_SECONDS)
            time.sleep(_EVERY_SECONDS)
            ended_ms = time.time() * 1e3
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = live.exits()
    trial.require(set(exits) <= {0}, f"expected nobody to end but those that left, got exits {exits}")
    trial.figure("joins and leaves", changes)
    trial.figure("longest a partition stood", _longest_gap(trial, began_ms, ended_ms), "s", limit=_MOST_STUCK_SECONDS)
    trial.verify()


def _change(trial: Trial, live: Live, guest: str) -> None:
    if live.supervisor.pid(guest) is None:
        trial.say(f"{guest} joins")
        live.start(guest)
    else:
        trial.say(f"{guest} leaves")
        live.stop(guest)


def _longest_gap(trial: Trial, began_ms: float, ended_ms: float) -> float:
    """Return the longest time in which one partition got no row, in seconds."""
    written: dict[int, list[float]] = {}  # of partitions that have rows at some time
    for message in read_topic(trial.settings, FEATURE_ROW):
        times = written.setdefault(message.partition, [began_ms])
        if began_ms < message.timestamp_ms < ended_ms:
            times.append(message.timestamp_ms)
    return max(later - at for times in written.values() for at, later in pairwise([*sorted(times), ended_ms])) / 1e3
