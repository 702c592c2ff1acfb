"""Many seeds, over several processes: what each history came to, in the order of the seeds."""

import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from streams.simulation.history import History, play

_SEEDS_AT_ONCE = 10

Told = Callable[[History], None]


class Campaign(msgspec.Struct, kw_only=True):
    """What many seeds came to. `cpu_seconds`: of all processes; `digest`: of all histories, in the order of seeds."""

    seeds: int
    records: int
    faults: dict[str, int]
    failed: list[History]
    seconds: float
    cpu_seconds: float


def run(seeds: Sequence[int], processes: int, told: Told = lambda _: None) -> Campaign:
    """Play all seeds; `told` hears of each history when it is over."""
    campaign = Campaign(seeds=0, records=0, faults={}, failed=[], seconds=0.0, cpu_seconds=0.0)
    started = time.monotonic()
    for history, cpu_seconds in _histories(seeds, processes):
        campaign.seeds += 1
        campaign.records += history.records
        campaign.cpu_seconds += cpu_seconds
        for kind in history.faults:
            campaign.faults[kind] = campaign.faults.get(kind, 0) + 1
        if not history.holds:
            campaign.failed.append(history)
        told(history)
    campaign.seconds = time.monotonic() - started
    return campaign


def _histories(seeds: Sequence[int], processes: int) -> Iterator[tuple[History, float]]:
    if processes <= 1:
        for seed in seeds:
            yield from _played((seed,))
        return
    # A fork would copy what threads of this process hold; the children import anew instead.
    context = multiprocessing.get_context("spawn")
    parts = [tuple(seeds[start : start + _SEEDS_AT_ONCE]) for start in range(0, len(seeds), _SEEDS_AT_ONCE)]
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:
        for found in pool.map(_played, parts):
            yield from found


def _begin() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # What stages say of faults that are meant is no news.
    logging.disable(logging.ERROR)


def _played(seeds: tuple[int, ...]) -> list[tuple[History, float]]:
    found = []
    for seed in seeds:
        started = time.process_time()
        history = play(seed)
        found.append((history, time.process_time() - started))
    return found
