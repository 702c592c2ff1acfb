"""Triton away: killed, frozen, silent, refusing, slow."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc  # type: ignore[import-untyped]

from deploy.ports import LOOPBACK
from schemas.errors import StackError
from schemas.metrics import INFERENCE_DURATION
from streams.chaos.live import Live
from streams.chaos.outages import (
    INTENSITY,
    MARKET_SECONDS,
    PATIENCE_SECONDS,
    WARM_SECONDS,
    Outage,
    Watch,
    judge,
    suffered,
)
from streams.chaos.proxy import Proxy
from streams.chaos.scenario import Playing, Trial, scenario
from streams.scrape import scrape

_SECONDS = 60
_START_SECONDS = 6.0
"""How long Triton takes to start on two cores: it is away for so long less before it is started."""
_SLOWER = 10


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
        with trial.running() as live, Watch(live) as watch:
            market = trial.market(MARKET_SECONDS, INTENSITY)
            with Playing(trial.settings, market, ahead_seconds=WARM_SECONDS) as playing:
                outages = [_suffered(trial, live, watch, proxy, kind) for kind in chosen]
            live.wait_until_done(seconds=PATIENCE_SECONDS)
            trial.require(not live.said, f"processes ended: {live.said}")
    judge(trial, watch.looks, outages, playing.ahead_ms)
    trial.verify()


def _suffered(trial: Trial, live: Live, watch: Watch, proxy: Proxy, kind: str) -> Outage:
    return suffered(trial, live, watch, kind, lambda: _FAULTS[kind](trial, proxy, live), opens=kind != "slow")


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
