"""More than usual comes, or the usual for long."""

import time
from typing import NamedTuple

import numpy as np
import psutil

from schemas.forecasts import Forecast, decode_json
from schemas.topics import FORECAST
from streams.chaos.live import Live
from streams.chaos.looking import Looking
from streams.chaos.scenario import Playing, Trial, scenario, since
from streams.chaos.timing import forecasts_made, percentile, rows_written
from streams.kafka import read_topic

_BURST = 10
_BURST_SECONDS = 60
_QUICK_BURST_SECONDS = 10
_BACKLOG_SECONDS = 3_600
_DRAINED_SECONDS = 600
_MOST_MB = 1_024
"""Of one worker, whatever waits for it: what is read ahead is bounded."""
_SOAK_MINUTES = 60
_QUICK_SOAK_MINUTES = 1.0
_SOAK_SPEED = 4.0
"""Times the built-in market's own: about 60 % of what the stages and Triton keep up with on two cores."""
_WARM_SHARE = 1 / 3
_MB_AN_HOUR = 1.0
_TOTAL_MB = 100
_DRIFT = 1.10
_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_MB = 1 << 20


class _Look(NamedTuple):
    at: float
    megabytes: dict[str, float]
    files: dict[str, int]


class _Sizes(Looking):
    """Looks at the memory and the file handles of all workers while its block runs."""

    def __init__(self, live: Live) -> None:
        super().__init__(_LOOK_SECONDS)
        self._live = live
        self.looks: list[_Look] = []

    def look(self) -> None:
        """Keep what the workers hold now."""
        megabytes, files = {}, {}
        for name in self._live.supervisor.names:
            pid = self._live.supervisor.pid(name)
            try:
                process = psutil.Process(pid) if pid else None
                if process is not None:
                    megabytes[name] = process.memory_info().rss / _MB
                    files[name] = process.num_fds()
            except psutil.Error:
                continue
        self.looks.append(_Look(time.monotonic(), megabytes, files))

    @property
    def most_mb(self) -> float:
        """The most that one worker held."""
        return max((size for look in self.looks for size in look.megabytes.values()), default=float("inf"))

    def growth(self, name: str) -> tuple[float, float]:
        """Return by how much a worker grew behind the first third: MB an hour by a line, and MB in all."""
        seen = [(look.at, look.megabytes[name]) for look in self._later if name in look.megabytes]
        hours = (np.array([at for at, _ in seen]) - seen[0][0]) / 3_600
        sizes = np.array([size for _, size in seen])
        return float(np.polyfit(hours, sizes, 1)[0]), float(sizes[-1] - sizes[0])

    def files_grown(self, name: str) -> int:
        """Return by how many the file handles of a worker grew behind the first third, at their least and last."""
        seen = [look.files[name] for look in self._later if name in look.files]
        return min(seen[len(seen) // 2 :]) - min(seen[: len(seen) // 2 + 1])

    @property
    def _later(self) -> list[_Look]:
        return self.looks[int(len(self.looks) * _WARM_SHARE) :]


@scenario(
    "F18",
    "a burst of ten times the rate for 60 s; a backlog of an hour",
    services=("kafka", "triton"),
    seeds=3,
    seconds=600,
)
def overload(trial: Trial) -> None:
    """Memory stays bounded, all is worked off, and forecasts that come too late say so or are counted."""
    seconds = _QUICK_BURST_SECONDS if trial.quick else _BURST_SECONDS
    with trial.running() as live, _Sizes(live) as sizes:
        with Playing(trial.settings, trial.market(seconds * _BURST), speed=_BURST) as playing:
            live.wait(lambda: playing.is_ending, _BURST * seconds + _PATIENCE_SECONDS, "the burst to end")
        _drained(trial, live, "burst")
    _judge_load(trial, live, sizes)
    if not trial.quick:
        trial.verify()  # of the burst: the backlog is a log of its own
        _catch_up(trial)
    _count_expired(trial)
    trial.verify()


def _catch_up(trial: Trial) -> None:
    """Work off an hour that came before the stages were started; the log is a new one."""
    trial.reset(keep=())
    trial.fill(trial.market(_BACKLOG_SECONDS, intensity=0.3))
    with trial.running() as live, _Sizes(live) as sizes:
        _drained(trial, live, "backlog of an hour")
    _judge_load(trial, live, sizes)


def _drained(trial: Trial, live: Live, what: str) -> None:
    started = time.monotonic()
    live.wait_until_done(seconds=_DRAINED_SECONDS + _PATIENCE_SECONDS)
    trial.figure(f"{what} worked off after", since(started), "s", limit=_DRAINED_SECONDS)


def _judge_load(trial: Trial, live: Live, sizes: _Sizes) -> None:
    trial.require(not live.said, f"processes ended: {live.said}")
    trial.figure("the most memory of a worker", sizes.most_mb, "MB", limit=_MOST_MB)


def _count_expired(trial: Trial) -> None:
    """Count the forecasts that were written when their time had passed, by the market's own clock at its end."""
    made = [decode_json(message.value or b"", Forecast) for message in read_topic(trial.settings, FORECAST)]
    last_ns = max((each.origin_time_ns for each in made), default=0)
    trial.figure("forecasts whose time had passed at the end", sum(each.valid_until_ns < last_ns for each in made))


@scenario("F19", "a soak of an hour under steady load", services=("kafka", "triton"), seeds=1, seconds=3_900)
def soak(trial: Trial) -> None:
    """Play the market for long (quick: a minute) and look whether memory, file handles or latency grow."""
    minutes = _QUICK_SOAK_MINUTES if trial.quick else _SOAK_MINUTES
    with trial.running() as live, _Sizes(live) as sizes:
        market = trial.market(int(_SOAK_SPEED * (60 * minutes + 30)))
        with Playing(trial.settings, market, speed=_SOAK_SPEED):
            began = time.monotonic()
            live.wait(lambda: since(began) > 60 * minutes, 60 * minutes + _PATIENCE_SECONDS, "the soak to end")
        live.wait_until_done(seconds=_PATIENCE_SECONDS)
        trial.figure("ends of workers", len(live.said), limit=0)
    grown = {name: sizes.growth(name) for name in live.supervisor.names}
    # Slopes of a minute say nothing of an hour: a quick soak shows them, and limits the total alone.
    limit = None if trial.quick else _MB_AN_HOUR
    for name, (slope, total) in grown.items():
        trial.figure(f"memory of {name} grows by", slope, "MB/h", limit=limit)
        trial.figure(f"memory of {name} grew by", total, "MB", limit=_TOTAL_MB)
    files = max(sizes.files_grown(name) for name in live.supervisor.names)
    trial.figure("file handles grew by", files, limit=0)
    _judge_drift(trial)
    trial.verify()


def _judge_drift(trial: Trial) -> None:
    """Compare the latency of forecasts in the second third with that in the last."""
    rows, made = rows_written(trial.settings), forecasts_made(trial.settings)
    slots = sorted((at_ms, made[slot].written_ms - at_ms) for slot, at_ms in rows.items() if slot in made)
    third = len(slots) // 3
    middle, last = (percentile((ms for _, ms in part), 0.99) for part in (slots[third:-third], slots[-third:]))
    trial.figure("latency p99 of the middle third", middle, "ms")
    limit = None if trial.quick else _DRIFT
    trial.figure("p99 of the last third over that of the middle", last / max(middle, 1.0), limit=limit)
