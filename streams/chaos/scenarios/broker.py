"""The broker away, at the start and under load, and the network between it and the stages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from deploy.ports import free_ports
from schemas.topics import FEATURE_ROW
from streams.chaos.live import Live, ends, row_messages
from streams.chaos.outages import now_ms
from streams.chaos.proxy import Proxy
from streams.chaos.scenario import Playing, Trial, scenario, since
from streams.chaos.timing import rows_written

_AWAY_SECONDS = 70.0
_RESUME_SECONDS = 120.0
_RUN_SECONDS = 5.0
_BOUNCES = 5
_QUICK_BOUNCES = 2
_BOUNCE_SECONDS = 30.0
_MARKET_SECONDS = 7_200
_INTENSITY = 0.3
_DONE_SECONDS = 300.0
_LATENCY_SECONDS = 0.1
_BYTES_PER_SECOND = 3e6 / 8
_BAD_SECONDS = 60.0
_CUTS = 5
_AS_BEFORE_SECONDS = 2.0


@scenario("F5", "the broker is gone for 70 s under load, and is not there when the stages start", seconds=260)
def lose_broker(trial: Trial) -> None:
    """SIGTERM or SIGKILL; what is played meanwhile waits in its producer, what is made in those of the stages."""
    away = trial.outage_seconds(_AWAY_SECONDS)
    with trial.running() as live:
        with Playing(trial.settings, trial.market(_MARKET_SECONDS, _INTENSITY)):
            time.sleep(_RUN_SECONDS)
            _end_broker(trial)
            time.sleep(away)
            trial.stack.start("kafka")
            trial.figure("until rows go on", _resumed(trial, live), "s", limit=_RESUME_SECONDS)
            time.sleep(_RUN_SECONDS)
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = live.exits()
    trial.figure("ends of processes under way", len(exits), limit=0)
    _start_without(trial, away)
    trial.verify()


def _start_without(trial: Trial, away: float) -> None:
    """Start all stages while the broker is away."""
    _end_broker(trial)
    with trial.running(starting_seconds=0.0) as live:
        time.sleep(away)
        trial.stack.start("kafka")
        began = time.monotonic()
        live.wait(live.reads_all, _DONE_SECONDS, "the stages to start")
        trial.figure("until all read after a start without it", since(began), "s", limit=_RESUME_SECONDS)
        live.wait_until_done(seconds=_DONE_SECONDS)
        most = max(len(live.exits(name)) for name in live.supervisor.names)
    trial.figure("ends of one process without it", most, limit=1)


@scenario("F6", "the broker is killed and started again 5 times under load", seconds=150)
def bounce_broker(trial: Trial) -> None:
    """How long rows stand in all, against the broker's own time to start and 30 s each."""
    bounces = _QUICK_BOUNCES if trial.quick else _BOUNCES
    stood = allowed = 0.0
    with trial.running() as live:
        with Playing(trial.settings, trial.market(_MARKET_SECONDS, _INTENSITY)):
            for bounce in range(bounces):
                trial.say(f"bounce {bounce + 1} of {bounces}")
                time.sleep(trial.draw.uniform(2.0, _RUN_SECONDS))
                began = time.monotonic()
                trial.stack.kill("kafka")
                trial.stack.start("kafka")
                allowed += since(began) + _BOUNCE_SECONDS
                _resumed(trial, live)
                stood += since(began)
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = live.exits()
    trial.figure("rows stood in all", stood, "s", limit=round(allowed, 1))
    trial.figure("ends of processes", len(exits), limit=0)
    trial.verify()


@scenario("F7", "Kafka's network: 100 ms and 3 Mbit/s for 60 s, resets, silence for 60 s", seconds=330)
def spoil_network(trial: Trial) -> None:
    """The stages reach the broker through a proxy, which the broker names to them as its own address."""
    bad = trial.outage_seconds(_BAD_SECONDS)
    with _behind_proxy(trial) as proxy:
        direct = trial.settings
        trial.settings = replace(direct, bootstrap_servers=proxy.address)
        with trial.running() as live:
            trial.settings = direct
            with Playing(direct, trial.market(_MARKET_SECONDS, _INTENSITY)):
                began = time.monotonic()
                time.sleep(3 * _RUN_SECONDS)
                baseline = _behind(trial, began)
                _narrow(trial, proxy, bad)
                _wait_for_lag(trial, live, began, baseline, "narrow")
                for _ in range(_CUTS):
                    proxy.cut()
                    time.sleep(trial.draw.uniform(0.5, 3.0))
                _wait_for_lag(trial, live, began, baseline, "cut")
                trial.say(f"silence for {bad:.0f} s")
                proxy.hold()
                held_ms = now_ms()
                time.sleep(bad)
                released_ms = now_ms()
                proxy.release()
                _wait_for_lag(trial, live, began, baseline, "silent")
            live.wait_until_done(seconds=_DONE_SECONDS)
            most = max(len(live.exits(name)) for name in live.supervisor.names)
    trial.figure("ends of one process", most, limit=1)
    # Asked now: in the silence nobody would have been answered.
    silent_ms = (held_ms + released_ms) / 2
    passed = sum(silent_ms < at_ms < released_ms for at_ms in rows_written(trial.settings).values())
    trial.figure("rows in the second half of the silence", passed, limit=0)
    trial.verify()


@contextmanager
def _behind_proxy(trial: Trial) -> Iterator[Proxy]:
    """Have the broker advertise a proxy's port while the block runs."""
    ports = trial.stack.plan.ports
    with Proxy(ports.kafka, free_ports().kafka) as proxy:
        trial.stack.stop("kafka")
        trial.stack.up(("kafka",), ports=replace(ports, kafka_advertised=proxy.port))
        try:
            yield proxy
        finally:
            trial.stack.stop("kafka")
            trial.stack.up(("kafka",), ports=ports)


def _narrow(trial: Trial, proxy: Proxy, seconds: float) -> None:
    trial.say(f"slow for {seconds:.0f} s")
    wide = proxy.bytes_per_second
    proxy.latency_seconds, proxy.bytes_per_second = _LATENCY_SECONDS, _BYTES_PER_SECOND
    time.sleep(seconds)
    proxy.latency_seconds, proxy.bytes_per_second = 0.0, wide


def _wait_for_lag(trial: Trial, live: Live, began: float, baseline: float, fault: str) -> None:
    """Wait until rows are no more behind the play than before the fault."""
    healed = time.monotonic()
    live.wait(lambda: _behind(trial, began) <= baseline + _AS_BEFORE_SECONDS, _DONE_SECONDS, "the lag to go")
    trial.figure(f"until the lag has gone ({fault})", since(healed), "s", limit=_RESUME_SECONDS)


def _behind(trial: Trial, began: float) -> float:
    """Return by how many seconds rows are behind a market that is played since `began`, their start included."""
    # A partition whose instruments are none has no rows at all.
    written = [end for (topic, _), end in ends(trial.settings).items() if topic == FEATURE_ROW and end > 0]
    return since(began) - min(written, default=0)


def _end_broker(trial: Trial) -> None:
    if trial.draw.random() < 0.5:  # noqa: PLR2004 - one way or the other
        trial.say("SIGKILL to the broker")
        trial.stack.kill("kafka")
    else:
        trial.say("SIGTERM to the broker")
        trial.stack.stop("kafka")


def _resumed(trial: Trial, live: Live) -> float:
    """Wait until there are more rows than the broker came back with, and return how long it took."""
    began, before = time.monotonic(), row_messages(trial.settings)
    live.wait(lambda: row_messages(trial.settings) > before, _DONE_SECONDS, "rows to go on")
    return since(began)
