"""How long the simulated histories take: what the tests pay for 1,000 of them."""

from collections.abc import Callable

from streams.bench.report import Figure, Outcome, after, machine
from streams.simulation import campaign

Said = Callable[[str], None]


def run(seeds: int, processes: int, say: Said) -> Outcome:
    """Play the histories of `seeds` seeds in `processes` processes."""
    before, done = machine(), 0

    def told(_: object) -> None:
        nonlocal done
        done += 1
        say(f"{done:,} of {seeds:,} histories")

    found = campaign.run(range(seeds), processes, told)
    return Outcome(
        bench="simulation",
        machine=after(before),
        run={"histories": f"{found.seeds:,}", "processes": str(processes), "failed": str(len(found.failed))},
        figures=[
            Figure(what="time of all histories", value=found.seconds, unit="s", wanted="60 for 1,000"),
            Figure(what="histories", value=found.seeds / found.seconds, unit="/s"),
            Figure(what="CPU time of one", value=found.cpu_seconds / found.seeds, unit="s", wanted="0.12"),
            Figure(what="records written", value=found.records, unit="records"),
        ],
    )
