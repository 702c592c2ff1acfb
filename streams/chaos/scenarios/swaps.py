"""New versions of the networks, one after another, while forecasts are made."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
from msgspec import structs

from deploy.stack import Stack, private_stack
from deploy.triton import repository_models
from schemas.errors import StackError
from schemas.metrics import INFERENCE_REQUESTS
from schemas.rules import SECOND_NS
from streams.chaos.live import Live
from streams.chaos.outages import INTENSITY, MARKET_SECONDS, WARM_SECONDS
from streams.chaos.scenario import Playing, Trial, scenario
from streams.chaos.timing import Made, Slot, forecasts_made, percentile, rows_written
from streams.decisions import read_decisions
from streams.scrape import Samples, scrape
from streams.switching import Switching
from triton_models.bundle import read
from triton_models.export import REPOSITORY, publish

_SWAPS = 20
_QUICK_SWAPS = 2
_USUAL_SECONDS = 20
"""Of forecasts before the first swap, whose latency is that to compare with."""
_DEADLINE_SECONDS = 10.0
"""Networks load on the cores that also answer: that a deadline of 0.9 s holds beside it is a matter of cores."""
_PATIENCE_SECONDS = 120.0
_UNLOAD_SECONDS = 150.0
_MOST_GROWTH_MB = 100
_PROCESSES = 4
"""Of two networks the active version, and the one that a rollback would go to."""
_MB = 1 << 20


@scenario(
    "F9",
    "20 swaps of the networks under load: loaded, answering, switched to, the old ones unloaded",
    seeds=3,
    seconds=900,
)
def swap_models(trial: Trial) -> None:
    """Publish, ask in shadow and promote one version after another, on a Triton of its own."""
    repository = trial.settings.state_dir / "models"
    _publish(repository, 1)
    models = repository_models(repository)
    trial.say("starting a Triton of its own")
    folder = trial.settings.state_dir / "triton"
    with private_stack(folder, ("triton",), repository=repository, models=models) as triton:
        trial.settings = replace(
            trial.settings,
            triton_url=triton.triton_grpc,
            model_repository=str(repository),
            inference_deadline_seconds=_DEADLINE_SECONDS,
        )
        with trial.running() as live:
            market = trial.market(MARKET_SECONDS, INTENSITY)
            with Playing(trial.settings, market, ahead_seconds=WARM_SECONDS):
                live.wait(lambda: _answered(live) > 0, _PATIENCE_SECONDS, "the first answer")
                began_ms = time.time() * 1e3
                time.sleep(_USUAL_SECONDS)
                swapped_ms = _swapped(trial, live, triton)
            live.wait_until_done(seconds=_PATIENCE_SECONDS)
            trial.require(not live.said, f"processes ended: {live.said}")
            trial.figure("failed requests", _failed(live), limit=0)
    _judge(trial, began_ms, swapped_ms)
    trial.verify()


def _publish(repository: Path, version: int) -> None:
    """Write the deployed networks once more as this version."""
    for source in sorted(REPOSITORY.glob("*-ticks/1")):
        bundle = read(source)
        publish(structs.replace(bundle.spec, version=str(version)), bundle.weights, repository)


def _swapped(trial: Trial, live: Live, triton: Stack) -> float:
    """Swap as often as asked, look at Triton's memory, and return when the first swap began, in ms since 1970."""
    swaps = _QUICK_SWAPS if trial.quick else _SWAPS
    sizes = []
    began_ms = time.time() * 1e3
    for version in range(2, swaps + 2):
        trial.say(f"swap {version - 1} of {swaps}")
        _swap(trial, live, triton, version)
        if version in (2, swaps + 1):
            live.wait(lambda: _processes(triton) <= _PROCESSES, _UNLOAD_SECONDS, "old versions to be unloaded")
            sizes.append(_resident_mb(triton))
    trial.figure("Triton's memory grew by", sizes[-1] - sizes[0], "MB", limit=_MOST_GROWTH_MB)
    trial.figure("swaps", swaps, limit=swaps, at_least=True)
    return began_ms


def _swap(trial: Trial, live: Live, triton: Stack, version: int) -> None:
    _publish(Path(trial.settings.model_repository), version)
    Switching(trial.settings, "ticks").shadow(str(version))
    live.wait(lambda: _served(triton, version), _PATIENCE_SECONDS, f"version {version} to load")
    Switching(trial.settings, "ticks").promote(str(version), force="a swap of a chaos run")
    live.wait(lambda: _switched(trial, version), _PATIENCE_SECONDS, f"version {version} to answer")


def _triton(triton: Stack) -> psutil.Process:
    pid = triton.pid("triton")
    if pid is None:
        raise StackError(f"Triton does not run; its log: {triton.log('triton')}")
    return psutil.Process(pid)


def _served(triton: Stack, version: int) -> bool:
    """Return whether both networks of a version have a process."""
    return sum(f"/{version}/model.py" in line for line in _lines(triton)) == len(tuple(REPOSITORY.glob("*-ticks")))


def _processes(triton: Stack) -> int:
    return sum("/model.py" in line for line in _lines(triton))


def _lines(triton: Stack) -> Iterator[str]:
    """Yield the command lines of the server's living children: those of unloaded models stay as zombies."""
    for each in _triton(triton).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is one of these
            yield " ".join(each.cmdline())


def _resident_mb(triton: Stack) -> float:
    """Return what the server and the processes of its models hold for themselves alone."""
    server = _triton(triton)
    held = 0
    for each in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            held += each.memory_full_info().uss
    return held / _MB


def _switched(trial: Trial, version: int) -> bool:
    """Return whether the border of the version's promotion is behind the last forecast."""
    border_ns = max(
        each.border_ns for each, _ in read_decisions(trial.settings).decisions if each.version == str(version)
    )
    return any(
        slot[1] >= border_ns + SECOND_NS and made.status == "model"
        for slot, made in forecasts_made(trial.settings).items()
    )


def _requests(samples: Samples) -> Mapping[str, float]:
    """Return requests by outcome, of the versions that made forecasts: those in shadow have an @ in their names."""
    found: dict[str, float] = defaultdict(float)
    for (name, labels), value in samples.items():
        if name == INFERENCE_REQUESTS.name and "@" not in dict(labels)["model"]:
            found[dict(labels)["outcome"]] += value
    return found


def _answered(live: Live) -> float:
    return _requests(scrape(live.ports) or {}).get("ok", 0.0)


def _failed(live: Live) -> float:
    found = _requests(scrape(live.ports) or {})
    return sum(count for outcome, count in found.items() if outcome != "ok")


def _judge(trial: Trial, began_ms: float, swapped_ms: float) -> None:
    rows, made = rows_written(trial.settings), forecasts_made(trial.settings)
    latency = {slot: (made[slot].written_ms - at_ms) / 1e3 for slot, at_ms in rows.items() if slot in made}
    usual = percentile((latency[slot] for slot in latency if began_ms <= rows[slot] < swapped_ms), 0.99)
    swapping = percentile((latency[slot] for slot in latency if rows[slot] >= swapped_ms), 0.99)
    trial.figure("latency p99 before", usual, "s")
    trial.figure("latency p99 while swapping", swapping, "s")
    trial.figure("p99 while swapping over p99 before", swapping / max(usual, 1e-3), limit=2)
    trial.figure("forecasts of mixed versions", _mixed(made, began_ms), limit=0)
    # Those of an instrument's first minute are unavailable: there is nothing to ask a network of.
    fallbacks = sum(one.status == "fallback" for one in made.values() if one.written_ms >= began_ms)
    trial.figure("fallbacks", fallbacks, limit=0)


def _mixed(made: Mapping[Slot, Made], began_ms: float) -> int:
    """Return how many forecasts are of two versions at once, or of another than others of their origin."""
    by_origin: dict[int, set[str]] = defaultdict(set)
    for (_, origin_ns), one in made.items():
        if one.written_ms >= began_ms and one.status == "model":
            by_origin[origin_ns].add(one.version)
    both = sum(len(set(version.split("+"))) > 1 for found in by_origin.values() for version in found)
    return both + sum(len(found) > 1 for found in by_origin.values())
