"""`foreshock chaos simulate`: the stages under many seeds' faults, in memory and in virtual time."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from streams.commands.checks import require_writable
from streams.commands.screen import console
from streams.following import Followed

Seeds = Annotated[int, typer.Option("--seeds", min=1, help="How many histories to play.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Play this seed alone, twice, and tell its faults.")]
First = Annotated[int, typer.Option("--first", min=0, help="The first of the seeds.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Processes that share the seeds.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write the outcome into this JSON file too.")]


def simulate(
    seeds: Seeds = 1_000, seed: Seed = None, first: First = 0, processes: Processes = 2, report: ReportFile = None
) -> None:
    """Play random histories of the stages: crashes, rebalances, zombies, a broken Triton; no broker is needed.

    Each seed is a history of its own and fails the same way when it runs alone. Ends with 1 where an
    invariant was broken.
    """
    from streams.simulation import campaign

    require_writable(report=report)
    if seed is not None:
        raise typer.Exit(_one(seed))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Followed(*columns) as screen:
        task = screen.add_task("histories", total=seeds)
        found = campaign.run(range(first, first + seeds), processes, lambda _: screen.advance(task))
    console().print(table(found, processes))
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    if found.failed:
        _tell(found.failed[0].seed)
        raise typer.Exit(1)


def table(found: "campaign.Campaign", processes: int) -> Table:  # type: ignore[name-defined]  # noqa: F821 - imported late
    """Return what a campaign came to."""
    shown = Table("simulation", "", title="simulated histories")
    shown.add_row("histories", f"{found.seeds:,}")
    shown.add_row("that broke an invariant", f"{len(found.failed):,}")
    shown.add_row("records written", f"{found.records:,}")
    faults = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.faults.items()))
    shown.add_row("faults", faults or "none")
    shown.add_row("time", f"{found.seconds:.1f} s in {processes} processes")
    shown.add_row("CPU time of a history", f"{found.cpu_seconds / max(found.seeds, 1):.2f} s")
    if found.failed:
        shown.add_row("seeds that failed", ", ".join(str(each.seed) for each in found.failed[:20]))
    return shown


def _one(seed: int) -> int:
    """Play one seed twice, tell what happened, and return the exit code."""
    from streams.simulation.history import play

    history, again = play(seed), play(seed)
    if history.digest != again.digest:
        typer.echo(
            f"seed {seed}: two runs differ ({history.digest:08x}, {again.digest:08x}): report this seed", err=True
        )
        return 1
    for at, what in history.trace:
        typer.echo(f"{at:9.4f} s  {what}")
    typer.echo(f"seed {seed}: {history.records:,} records, digest {history.digest:08x}, the same twice")
    if history.holds:
        typer.echo("every invariant holds")
        return 0
    _tell(seed)
    return 1


def _tell(seed: int) -> None:
    """Tell the fewest faults that make a seed fail, and what they break."""
    from streams.simulation.history import play
    from streams.simulation.shrink import shortest

    faults, history = shortest(play(seed))
    typer.echo(f"seed {seed} fails with {len(faults)} of its faults:", err=True)
    for fault in faults:
        typer.echo(f"  {fault.at:7.3f} s  {fault}", err=True)
    for at, what in history.trace:
        typer.echo(f"  {at:7.3f} s  {what}", err=True)
    for finding in history.findings:
        typer.echo(f"{finding.invariant}: {finding.text}", err=True)
    typer.echo(f"again, alone: foreshock chaos simulate --seed {seed}", err=True)


if __name__ == "__main__":
    typer.run(simulate)
