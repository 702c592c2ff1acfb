"""What each kind of fault does to a world."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from streams.simulation.clock import Process
from streams.simulation.faults import Fault, Kind

if TYPE_CHECKING:
    from streams.simulation.world import World

Strike = Callable[["World", Fault], None]
STRIKES: dict[Kind, Strike] = {}


def _strike(kind: Kind) -> Callable[[Strike], Strike]:
    def add(strike: Strike) -> Strike:
        STRIKES[kind] = strike
        return strike

    return add


def _alive(world: "World", stage: str) -> list[Process]:
    return [process for (name, _), process in world.slots.items() if name == stage and process is not None]


def _one(world: "World", stage: str) -> Process | None:
    found = _alive(world, stage)
    return world.draw.choice(found) if found else None


@_strike("kill")
def kill(world: "World", fault: Fault) -> None:
    """Kill one process in some steps from now, wherever it then is."""
    process = _one(world, fault.stage)
    if process is not None:
        process.fuse = int(fault.size)


@_strike("kill-all")
def kill_all(world: "World", fault: Fault) -> None:
    """Kill all processes of a stage."""
    for process in _alive(world, fault.stage):
        process.fuse = int(fault.size)


@_strike("freeze")
def freeze(world: "World", fault: Fault) -> None:
    """Stop a process for some seconds; the group may go on without it."""
    process = _one(world, fault.stage)
    if process is None or process.frozen:
        return
    world.loop.freeze(process)
    world.groups[process.stage].watch(process)
    world.network.at(world.loop.now + fault.size, partial(_thaw, world, process))


def _thaw(world: "World", process: Process) -> None:
    if process.alive:
        world.say(f"{process.name} goes on")
        world.loop.thaw(process)


@_strike("cut-off")
def cut_off(world: "World", fault: Fault) -> None:
    """Have the group take a process for dead that goes on, and learns of it some seconds later."""
    process, group = _one(world, fault.stage), world.groups[fault.stage]
    for member in [member for member in group.members if member.process is process]:
        group.evict(member, fault.size)


@_strike("rebalance")
def rebalance(world: "World", fault: Fault) -> None:
    """Share the partitions of a stage out anew."""
    world.groups[fault.stage].rebalance()


@_strike("join")
def join(world: "World", fault: Fault) -> None:
    """Start one process more."""
    number = max(number for name, number in world.slots if name == fault.stage) + 1
    if number < _MOST_WORKERS:
        world.slots[fault.stage, number] = None
        world.begin(fault.stage, number)


_MOST_WORKERS = 3


@_strike("leave")
def leave(world: "World", fault: Fault) -> None:
    """Ask one process to save and go; another comes in its place."""
    process = _one(world, fault.stage)
    if process is None:
        return
    process.stopping = True
    host = world.hosts.get(process)
    if host is not None:
        host.stop()


@_strike("triton")
def trouble_triton(world: "World", fault: Fault) -> None:
    """Have Triton answer late, wrongly or not at all for some seconds."""
    world.mood = fault.mood
    world.network.at(world.loop.now + fault.size, partial(setattr, world, "mood", "well"))


@_strike("slow-log")
def slow_log(world: "World", fault: Fault) -> None:
    """Have records and acknowledgements take long for some seconds."""
    world.slow_until = world.loop.now + fault.size


@_strike("lost-acks")
def lose_acknowledgements(world: "World", fault: Fault) -> None:
    """Have the next records of a process written, and never acknowledged."""
    process = _one(world, fault.stage)
    if process is not None:
        world.deaf[process] = int(fault.size)


@_strike("skip")
def skip(world: "World", fault: Fault) -> None:
    """Have a consumer lose records that it had fetched."""
    process = _one(world, fault.stage)
    if process is None:
        return
    host = world.hosts.get(process)
    reader = process.consumer if host is None else host
    if reader is not None:
        reader.skip(int(fault.size))


@_strike("compact")
def compact(world: "World", _: Fault) -> None:
    """Have the log cleaner run over all compacted topics."""
    removed = sum(world.broker.compact(place) for place in world.broker.written if place[0] in world.broker.compacted)
    world.say(f"{removed} records compacted away")
