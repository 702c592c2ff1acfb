"""An inference server that is away or wrong while the market is played: what was seen of it, and the figures of it."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas.metrics import BREAKER_STATE, FORECASTS_PUBLISHED, INFERENCE_REQUESTS
from streams.breaker import State
from streams.chaos.live import Live
from streams.chaos.looking import Looking
from streams.chaos.scenario import Trial
from streams.chaos.timing import Made, Slot, forecasts_made, in_time, most_behind, rows_written
from streams.scrape import by_label, scrape, total

MARKET_SECONDS = 3_600
INTENSITY = 0.3
WARM_SECONDS = 90
"""Of the market, before which networks have not seen enough."""
PATIENCE_SECONDS = 90.0
_FIRST_FORECASTS = 20
_AFTER_MS = 2_000
_LOOK_SECONDS = 0.1
_OPEN_SECONDS = 2


class Look(NamedTuple):
    """What metrics said at one moment."""

    at_ms: int
    is_closed: bool
    failures: int
    """Requests without a usable answer so far, of the model that has the most."""


class Watch(Looking):
    """Looks at the breaker while its block runs."""

    def __init__(self, live: Live) -> None:
        super().__init__(_LOOK_SECONDS)
        self._ports = live.ports
        self.looks: list[Look] = []

    def look(self) -> None:
        """Keep what metrics say now."""
        samples = scrape(self._ports)
        if samples is None:
            return
        failed = {
            key: value
            for key, value in samples.items()
            if key[0] == INFERENCE_REQUESTS.name and dict(key[1])["outcome"] in ("error", "deadline", "unusable")
        }
        counts = by_label(failed, INFERENCE_REQUESTS, "model").values()
        is_closed = total(samples, BREAKER_STATE) == State.CLOSED
        self.looks.append(Look(now_ms(), is_closed, max(counts, default=0)))

    @property
    def is_closed(self) -> bool:
        """Whether requests are sent, by the last look."""
        return bool(self.looks) and self.looks[-1].is_closed


class Outage(NamedTuple):
    """When nothing usable came, and why."""

    kind: str
    began_ms: int
    healed_ms: int
    opens: bool
    """Whether the breaker has to open for it: a slow answer before the deadline is an answer."""


def suffered(
    trial: Trial, live: Live, watch: Watch, kind: str, fault: Callable[[], None], *, opens: bool = True
) -> Outage:
    """Wait for forecasts of the models, have one outage, and wait until models may be asked again."""
    before = _of_models(live)
    live.wait(lambda: _of_models(live) - before >= _FIRST_FORECASTS, PATIENCE_SECONDS, "forecasts of the models")
    trial.say(f"Triton is {kind}")
    began_ms = now_ms()
    fault()
    healed_ms = now_ms()
    live.wait(lambda: watch.is_closed and now_ms() - healed_ms > _AFTER_MS, PATIENCE_SECONDS, "a canary's answer")
    return Outage(kind, began_ms, healed_ms, opens)


def _of_models(live: Live) -> int:
    return by_label(scrape(live.ports) or {}, FORECASTS_PUBLISHED, "status")["model"]


def judge(trial: Trial, looks: list[Look], outages: list[Outage], ahead_ms: float) -> None:
    """Turn what was seen into figures: the worst of all outages counts."""
    rows, made = rows_written(trial.settings), forecasts_made(trial.settings)
    timely = set(in_time(trial.settings, rows, made))
    during = [slot for slot, at in rows.items() if any(one.began_ms <= at <= one.healed_ms for one in outages)]
    opened = [_opened(looks, one) for one in outages if one.opens]
    share = 100 * len(timely & set(during)) / max(len(during), 1)
    trial.figure("scheduled while Triton is away", len(during), limit=1, at_least=True)
    trial.figure("in time while Triton is away", share, "%", limit=99.9, at_least=True)
    if opened:
        trial.figure("breaker opens after", max(seconds for seconds, _ in opened), "s")
        # Two seconds or ten failures, whichever is later: rows come once a second.
        late = [failures for seconds, failures in opened if seconds > _OPEN_SECONDS]
        trial.figure("failures of a breaker that took above 2 s", max(late, default=0), limit=10)
    back = max(_back(looks, made, one) for one in outages)
    trial.figure("models again after a canary's answer", back, "s", limit=10)
    behind = most_behind(rows, ahead_ms, outages[0].began_ms, trial.settings.rules)
    trial.figure("rows behind their time", behind, "s", limit=5)
    _require_marked(trial, looks, rows, made, outages)


def _opened(looks: list[Look], outage: Outage) -> tuple[float, int]:
    """Return after how many seconds the breaker was seen open, and how many failures it took."""
    before = [look.failures for look in looks if look.at_ms <= outage.began_ms][-1]
    for look in looks:
        if outage.began_ms < look.at_ms and not look.is_closed:
            return (look.at_ms - outage.began_ms) / 1e3, look.failures - before
    return float("inf"), 0


def _back(looks: list[Look], made: Mapping[Slot, Made], outage: Outage) -> float:
    """Return the seconds from when requests were sent again to the first forecast of the models."""
    closed_ms = next((look.at_ms for look in looks if look.at_ms >= outage.healed_ms and look.is_closed), None)
    after = [one.written_ms for one in made.values() if one.status == "model" and one.written_ms >= outage.healed_ms]
    return max(0, min(after) - closed_ms) / 1e3 if after and closed_ms is not None else float("inf")


def _require_marked(
    trial: Trial, looks: list[Look], rows: Mapping[Slot, int], made: Mapping[Slot, Made], outages: list[Outage]
) -> None:
    """Note what was made while nothing answered and is not marked as a fallback."""
    for outage in outages:
        if not outage.opens:
            continue
        seconds, _ = _opened(looks, outage)
        told = {
            made[slot].status
            for slot, at in rows.items()
            if slot in made and outage.began_ms + 1e3 * seconds < at <= made[slot].written_ms < outage.healed_ms
        }
        trial.require(told <= {"fallback"}, f"{outage.kind}: forecasts are {sorted(told)}, expected fallbacks alone")


def now_ms() -> int:
    """Return the time in ms since 1970, as Kafka stamps records."""
    return time.time_ns() // 1_000_000
