"""What goes wrong in a history, and when: drawn from its seed, kept short so that people can read it."""

from random import Random
from typing import Literal, NamedTuple

from streams.simulation.triton import MOODS, Mood

Kind = Literal[
    "kill", "kill-all", "freeze", "cut-off", "rebalance", "leave", "join", "triton", "slow-log", "lost-acks", "skip",
    "compact",
]  # fmt: skip
WEIGHTS: dict[Kind, int] = {
    "kill": 30,
    "kill-all": 4,
    "freeze": 10,
    "cut-off": 10,
    "rebalance": 8,
    "leave": 6,
    "join": 6,
    "triton": 14,
    "slow-log": 8,
    "lost-acks": 6,
    "skip": 8,
    "compact": 8,
}
STAGES = ("ingest", "featurize", "infer", "score")
FIRST_SECONDS = 0.1
LAST_SECONDS = 2.6
"""Faults begin so long after the history; the last of them end a little later."""


class Fault(NamedTuple):
    """One fault: `stage` it is done to, `size` in the unit of its kind (steps, seconds, records)."""

    at: float
    kind: Kind
    stage: str
    size: float
    mood: Mood = "well"

    def __str__(self) -> str:
        """Return the fault as one line."""
        what = f"Triton is {self.mood}" if self.kind == "triton" else f"{self.kind} of {self.stage}"
        return f"{what}, {self.size:g}"


def faults_of(seed: int, most: int = 8) -> list[Fault]:
    """Return the faults of a seed, in the order of their times; every twentieth history has none."""
    draw = Random(f"faults {seed}")
    if seed % 20 == 0:
        return []
    return sorted(_fault(draw) for _ in range(draw.randint(1, most)))


def _fault(draw: Random) -> Fault:
    kind = draw.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
    at = round(draw.uniform(FIRST_SECONDS, LAST_SECONDS), 3)
    stage = draw.choice(STAGES)
    size: float = {
        "kill": draw.randint(1, 60),
        "kill-all": draw.randint(1, 30),
        "freeze": round(draw.choice((draw.uniform(0.1, 0.9), draw.uniform(1.0, 3.0))), 2),
        "cut-off": round(draw.uniform(0.0, 0.4), 3),
        "triton": round(draw.uniform(0.3, 2.0), 2),
        "slow-log": round(draw.uniform(0.2, 1.0), 2),
        "lost-acks": draw.randint(1, 4),
        "skip": draw.randint(1, 5),
    }.get(kind, 1)
    mood: Mood = draw.choice(MOODS) if kind == "triton" else "well"
    return Fault(at, kind, stage, size, mood)
