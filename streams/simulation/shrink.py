"""From a history that fails to the fewest of its faults that still make it fail."""

from streams.simulation.faults import Fault, faults_of
from streams.simulation.history import History, play


def shortest(failed: History) -> tuple[list[Fault], History]:
    """Return the faults of a failed seed that its failure needs, and the history that has no others.

    Leaves out one fault after the other for as long as one of the same invariants is broken.
    """
    faults, found = faults_of(failed.seed), failed
    broken = {finding.invariant for finding in failed.findings}
    place = 0
    while place < len(faults):
        fewer = faults[:place] + faults[place + 1 :]
        again = play(failed.seed, fewer)
        if broken & {finding.invariant for finding in again.findings}:
            faults, found = fewer, again
        else:
            place += 1
    return faults, found
