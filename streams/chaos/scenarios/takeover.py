"""A worker that is gone for good, and another one that holds a copy of its state."""

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from schemas.topics import FEATURE_ROW
from streams.bench.traffic import Traffic
from streams.chaos.live import Live
from streams.chaos.scenario import ROWS_ONLY, Playing, Trial, scenario
from streams.kafka import read_topic
from streams.sources import RawMessage

_DAY_SECONDS = 86_400
_QUICK_SECONDS = 300
_LIVE_SECONDS = 120
_INSTRUMENTS = 1_000
_QUICK_INSTRUMENTS = 50
_PER_SECOND = 5
_ROW_SECONDS = 5.0
"""Rows of a day at every second would fill the disk, not the state."""
_AFTER_SECONDS = 20.0
_FILL_SECONDS = 3_600.0
_DONE_SECONDS = 300.0
_LIMIT_SECONDS = 5.0


@scenario(
    "F1s",
    "a worker is gone for good, a standby has its state: 1,000 instruments, windows of a day",
    seeds=1,
    seconds=2_400,
)
def take_over(trial: Trial) -> None:
    """Fill the windows, freeze one of two featurize workers under live traffic, and wait for rows of its partitions.

    For the group a frozen worker is a dead one, and nobody starts it again. Once without a standby (full runs
    alone, to compare), once with one.
    """
    for standbys in (1,) if trial.quick else (0, 1):
        if standbys and not trial.quick:
            trial.reset(keep=())
        trial.settings = replace(trial.settings, standby_replicas=standbys, row_interval_seconds=_ROW_SECONDS)
        seconds = _takeover(trial)
        limit = _LIMIT_SECONDS + _ROW_SECONDS if standbys else None
        trial.figure(f"first row after the session timeout, standbys {standbys}", seconds, "s", limit=limit)
        trial.verify()


def _takeover(trial: Trial) -> float:
    """Return the seconds from the session timeout to the first row of the slowest partition."""
    warm = _QUICK_SECONDS if trial.quick else _DAY_SECONDS
    with trial.running(ROWS_ONLY, workers={"featurize": 2}) as live:
        trial.say("filling the windows")
        with Playing(trial.settings, _traffic(trial, warm), ahead_seconds=warm) as playing:
            live.wait(lambda: _is_live(trial, playing), _FILL_SECONDS, "the windows to be full")
            trial.say("a worker is gone")
            timeout_ms = time.time() * 1e3 + 1e3 * trial.settings.session_timeout_seconds
            live.supervisor.kill("featurize-0", signal.SIGSTOP)
            time.sleep(trial.settings.session_timeout_seconds + _AFTER_SECONDS)
        _end(live)
        live.wait_until_done(seconds=_DONE_SECONDS)
    return (max(_first_rows(trial, timeout_ms).values()) - timeout_ms) / 1e3


def _traffic(trial: Trial, warm: int) -> Iterator[RawMessage]:
    instruments = _QUICK_INSTRUMENTS if trial.quick else _INSTRUMENTS
    traffic = Traffic(instruments=instruments, per_second=_PER_SECOND, seconds=warm + _LIVE_SECONDS, quotes=True)
    return traffic.frames()


def _is_live(trial: Trial, playing: Playing) -> bool:
    """Return whether the last row of each partition is of the last half minute, and the market is still played."""
    last: dict[int, int] = {}
    for message in read_topic(trial.settings, FEATURE_ROW, last=5):
        last[message.partition] = max(last.get(message.partition, 0), int(message.headers["row_time_ns"]))
    due_ms = time.time() * 1e3 - playing.ahead_ms
    return len(last) == trial.settings.partitions and min(last.values()) / 1e6 > due_ms - 3e4


def _end(live: Live) -> None:
    """Let the frozen worker end, and be started again, so that all partitions have a reader that tells its lag."""
    live.supervisor.kill("featurize-0")
    live.wait(lambda: bool(live.supervisor.exits("featurize-0")), _DONE_SECONDS, "the frozen worker to end")


def _first_rows(trial: Trial, since_ms: float) -> dict[int, float]:
    """Return by partition when its first row since a moment was written, inf where none was."""
    found: dict[int, float] = defaultdict(lambda: float("inf"))
    for message in read_topic(trial.settings, FEATURE_ROW):
        if message.timestamp_ms >= since_ms:
            found[message.partition] = min(found[message.partition], message.timestamp_ms)
    return {partition: found[partition] for partition in range(trial.settings.partitions)}
