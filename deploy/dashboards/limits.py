"""Where alerts fire, as lines in panels: the numbers are those of deploy/thresholds.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from grafana_foundation_sdk.models.dashboard import Threshold as Step

from deploy.monitoring.thresholds import Thresholds

GOOD, BAD = "green", "red"


@dataclass(frozen=True)
class Limit:
    """A value that is bad to be above, or `below`."""

    value: float
    below: bool = False


@cache
def thresholds() -> Thresholds:
    """Return the thresholds of production."""
    return Thresholds()


def limit(name: str, *, below: bool = False) -> Limit:
    """Return a threshold by its name in deploy/thresholds.yaml; KeyError where there is none."""
    return Limit(float(thresholds()[name]), below)


def steps(limits: Iterable[Limit]) -> list[Step]:
    """Return Grafana's colours from the lowest value on.

    >>> [(step.value, step.color) for step in steps([Limit(0.985), Limit(0.8, below=True)])]
    [(None, 'red'), (0.8, 'green'), (0.985, 'red')]
    """
    found = sorted(limits, key=lambda limit: limit.value)
    lowest = BAD if any(limit.below for limit in found) else GOOD
    return [
        Step(value=None, color=lowest),
        *(Step(value=limit.value, color=GOOD if limit.below else BAD) for limit in found),
    ]
