"""Plays the history of a seed and says what the invariants make of it."""

from collections.abc import Sequence

import msgspec

from streams.chaos.reading import read_logs
from streams.chaos.verifier import Finding, verify
from streams.simulation.clock import START_SECONDS, Stalled
from streams.simulation.faults import Fault, faults_of
from streams.simulation.stand_ins import standing_in
from streams.simulation.world import SETTINGS, World


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one seed. `digest`: of all that was written, when and where; the same seed has the same."""

    seed: int
    digest: int
    findings: list[Finding]
    faults: list[str]
    """Kinds of the faults that it had."""
    trace: list[tuple[float, str]]
    records: int
    topics: dict[str, int]
    """Records of each topic."""
    virtual_seconds: float

    @property
    def holds(self) -> bool:
        """Whether every invariant held."""
        return not self.findings


def play(seed: int, faults: Sequence[Fault] | None = None) -> History:
    """Play the history of a seed, with its own faults or with others."""
    world = World(seed, faults_of(seed) if faults is None else faults)
    loop = world.loop
    with standing_in(world.surroundings, world.served, world.models, world.ended, world.draw):
        try:
            loop.run_until_complete(world.play())
        except Stalled as error:
            world.problems.append(str(error))
        finally:
            loop.close()
        problems = world.problems + loop.problems
        findings = [Finding("ends", text) for text in problems] + _broken(world)
    topics: dict[str, int] = {}
    for (topic, _), written in world.broker.written.items():
        topics[topic] = topics.get(topic, 0) + len(written)
    return History(
        seed=seed,
        digest=world.broker.digest,
        findings=findings,
        faults=[fault.kind for fault in world.faults],
        trace=world.trace,
        records=sum(topics.values()),
        topics=topics,
        virtual_seconds=round(loop.now - START_SECONDS, 1),
    )


def _broken(world: World) -> list[Finding]:
    world.broker.show_all()
    logs = read_logs(SETTINGS)
    logs.samples = world.samples
    return verify(logs, world.truth)
