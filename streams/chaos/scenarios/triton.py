"""Triton away: killed, frozen, silent, refusing, slow."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, Self

import grpc  # type: ignore[import-untyped]

from deploy.ports import LOOPBACK
from schemas.errors import StackError
from schemas.metrics import BREAKER_STATE, FORECASTS_PUBLISHED, INFERENCE_DURATION, INFERENCE_REQUESTS
from streams.breaker import State
from streams.chaos.live import Live
from streams.chaos.proxy import Proxy
from streams.chaos.scenario import Playing, Trial, scenario
from streams.chaos.timing import Made, Slot, behind, forecasts_made, in_time, rows_written
from streams.scrape import by_label, scrape, total

_SECONDS = 60
_MARKET_SECONDS = 3_600
_INTENSITY = 0.3
_WARM_SECONDS = 90
"""Of the market, before which networks have not seen enough."""
_START_SECONDS = 6.0
"""How long Triton takes to start on two cores: it is away for so long less before it is started."""
_FIRST_FORECASTS = 20
_PATIENCE_SECONDS = 90.0
_LOOK_SECONDS = 0.1
_AFTER_MS = 2_000
_SLOWER = 10
_OPEN_SECONDS = 2


class _Look(NamedTuple):
    at_ms: int
    is_closed: bool
    failures: int
    """Requests without a usable answer so far, of the model that has the most."""


class _Watch:
    """A thread that looks at the breaker while its block runs."""

    def __init__(self, live: Live) -> None:
        self._ports = live.ports
        self.looks: list[_Look] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            samples = scrape(self._ports)
            if samples is None:
                continue
            failed = {
                key: value
                for key, value in samples.items()
                if key[0] == INFERENCE_REQUESTS.name and dict(key[1])["outcome"] in ("error", "deadline", "unusable")
            }
            counts = by_label(failed, INFERENCE_REQUESTS, "model").values()
            is_closed = total(samples, BREAKER_STATE) == State.CLOSED
            self.looks.append(_Look(_now_ms(), is_closed, max(counts, default=0)))

    @property
    def is_closed(self) -> bool:
        """Whether requests are sent, by the last look."""
        return bool(self.looks) and self.looks[-1].is_closed


class _Outage(NamedTuple):
    kind: str
    began_ms: int
    healed_ms: int


@scenario(
    "F8",
    "Triton killed, frozen, silent, answering errors, ten times slower: 60 s each",
    services=("kafka", "triton"),
    seeds=3,
    seconds=480,
)
def lose_triton(trial: Trial) -> None:
    """Play the market at its own speed, take Triton away in each way (quick: one), and bring it back."""
    kinds = list(_FAULTS)
    chosen = [kinds[(trial.outcome.seed - 1) % len(kinds)]] if trial.quick else kinds
    with Proxy(int(trial.settings.triton_url.rpartition(":")[2])) as proxy:
        trial.settings = replace(trial.settings, triton_url=proxy.address)
        with trial.running() as live, _Watch(live) as watch:
            market = trial.market(_MARKET_SECONDS, _INTENSITY)
            with Playing(trial.settings, market, ahead_seconds=_WARM_SECONDS) as playing:
                outages = [_suffered(trial, live, watch, proxy, kind) for kind in chosen]
            live.wait_until_done(seconds=_PATIENCE_SECONDS)
            trial.require(not live.said, f"processes ended: {live.said}")
    _judge(trial, watch.looks, outages, playing.ahead_ms)
    trial.verify()


def _suffered(trial: Trial, live: Live, watch: _Watch, proxy: Proxy, kind: str) -> _Outage:
    """Wait for forecasts of the models, have one outage, and wait until models may be asked again."""
    before = _of_models(live)
    live.wait(lambda: _of_models(live) - before >= _FIRST_FORECASTS, _PATIENCE_SECONDS, "forecasts of the models")
    trial.say(f"Triton is {kind}")
    began_ms = _now_ms()
    _FAULTS[kind](trial, proxy, live)
    healed_ms = _now_ms()
    live.wait(lambda: watch.is_closed and _now_ms() - healed_ms > _AFTER_MS, _PATIENCE_SECONDS, "a canary's answer")
    return _Outage(kind, began_ms, healed_ms)


def _of_models(live: Live) -> int:
    return by_label(scrape(live.ports) or {}, FORECASTS_PUBLISHED, "status")["model"]


def _killed(trial: Trial, _: Proxy, __: Live) -> None:
    trial.stack.kill("triton")
    time.sleep(trial.outage_seconds(_SECONDS) - _START_SECONDS)
    trial.stack.start("triton")


def _frozen(trial: Trial, _: Proxy, __: Live) -> None:
    pid = trial.stack.pid("triton")
    if pid is None:
        raise StackError(f"Triton does not run; its log: {trial.stack.log('triton')}")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(trial.outage_seconds(_SECONDS))
    finally:
        os.kill(pid, signal.SIGCONT)


def _silent(trial: Trial, proxy: Proxy, _: Live) -> None:
    proxy.hold()
    time.sleep(trial.outage_seconds(_SECONDS))
    proxy.release()


def _refusing(trial: Trial, proxy: Proxy, _: Live) -> None:
    """Have every request answered by an error, as a gateway would whose Triton has gone."""
    there = proxy.target
    with _refusals() as port:
        proxy.target = port
        proxy.cut()
        time.sleep(trial.outage_seconds(_SECONDS))
        proxy.target = there
        proxy.cut()


def _slow(trial: Trial, proxy: Proxy, live: Live) -> None:
    """Have every answer take ten times the mean of those before."""
    samples = scrape(live.ports) or {}
    sums = {
        part: sum(value for (name, _), value in samples.items() if name == f"{INFERENCE_DURATION.name}_{part}")
        for part in ("sum", "count")
    }
    # Half of it on the way there, half on the way back.
    proxy.latency_seconds = (_SLOWER - 1) * sums["sum"] / max(sums["count"], 1) / 2
    trial.figure("slow: a request takes longer by", 2 * proxy.latency_seconds, "s")
    time.sleep(trial.outage_seconds(_SECONDS))
    proxy.latency_seconds = 0.0


_FAULTS: dict[str, Callable[[Trial, Proxy, Live], None]] = {
    "killed": _killed,
    "frozen": _frozen,
    "silent": _silent,
    "refusing": _refusing,
    "slow": _slow,
}
_OPENS = tuple(kind for kind in _FAULTS if kind != "slow")
"""What the breaker has to open for: a slow answer before the deadline is an answer."""


@contextmanager
def _refusals() -> Iterator[int]:
    """Serve gRPC that answers every call with an error, and yield its port."""

    class Refuse(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
            )

    server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=[Refuse()])
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def _judge(trial: Trial, looks: list[_Look], outages: list[_Outage], ahead_ms: float) -> None:
    """Turn what was seen into figures: the worst of all outages counts."""
    rows, made = rows_written(trial.settings), forecasts_made(trial.settings)
    timely = set(in_time(trial.settings, rows, made))
    during = [slot for slot, at in rows.items() if any(one.began_ms <= at <= one.healed_ms for one in outages)]
    opened = [_opened(looks, one) for one in outages if one.kind in _OPENS]
    share = 100 * len(timely & set(during)) / max(len(during), 1)
    trial.figure("scheduled while Triton is away", len(during), limit=1, at_least=True)
    trial.figure("in time while Triton is away", share, "%", limit=99.9, at_least=True)
    if opened:
        trial.figure("breaker opens after", max(seconds for seconds, _ in opened), "s")
        # Two seconds or ten failures, whichever is later: rows come once a second.
        late = [failures for seconds, failures in opened if seconds > _OPEN_SECONDS]
        trial.figure("failures of a breaker that took above 2 s", max(late, default=0), limit=10)
    trial.figure("models again after", max(_back(made, one) for one in outages), "s", limit=10)
    found = behind(rows, ahead_ms, outages[0].began_ms)
    trial.figure("rows behind", found.most, "s")
    trial.figure("rows further behind than before", found.further, "s", limit=5)
    _require_marked(trial, looks, rows, made, outages)


def _opened(looks: list[_Look], outage: _Outage) -> tuple[float, int]:
    """Return after how many seconds the breaker was seen open, and how many failures it took."""
    before = [look.failures for look in looks if look.at_ms <= outage.began_ms][-1]
    for look in looks:
        if outage.began_ms < look.at_ms and not look.is_closed:
            return (look.at_ms - outage.began_ms) / 1e3, look.failures - before
    return float("inf"), 0


def _back(made: Mapping[Slot, Made], outage: _Outage) -> float:
    after = [one.written_ms for one in made.values() if one.status == "model" and one.written_ms >= outage.healed_ms]
    return (min(after) - outage.healed_ms) / 1e3 if after else float("inf")


def _require_marked(
    trial: Trial, looks: list[_Look], rows: Mapping[Slot, int], made: Mapping[Slot, Made], outages: list[_Outage]
) -> None:
    """Note what was made while nothing answered and is not marked as a fallback."""
    for outage in outages:
        if outage.kind not in _OPENS:
            continue
        seconds, _ = _opened(looks, outage)
        told = {
            made[slot].status
            for slot, at in rows.items()
            if slot in made and outage.began_ms + 1e3 * seconds < at <= made[slot].written_ms < outage.healed_ms
        }
        trial.require(told == {"fallback"}, f"{outage.kind}: forecasts are {sorted(told)}, expected fallbacks alone")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
