"""`foreshock chaos`: faults on purpose, the invariants that must survive them, and the scorecard."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from schemas.errors import SettingsError
from streams.commands.checks import require_writable
from streams.commands.screen import console
from streams.following import Followed
from streams.settings import Settings
from streams.simulation.command import simulate

if TYPE_CHECKING:
    from streams.chaos.scenario import Outcome, Scenario

app = typer.Typer(help="Faults on purpose, on a private Kafka and Triton, and one verifier.", no_args_is_help=True)
app.command()(simulate)


@app.command(name="list")
def list_scenarios() -> None:
    """Print which scenarios there are."""
    from streams.chaos.scenario import scenarios

    shown = Table("", "fault", "needs", "seeds", "about")
    for each in scenarios().values():
        shown.add_row(each.name, each.fault, ", ".join(each.services), str(each.seeds), f"{each.seconds} s")
    console().print(shown)


@app.command()
def run(
    scenario: Annotated[list[str] | None, typer.Option(help="Which; may be given more than once.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All scenarios, each with the seeds of its table.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds 1 to N of each scenario. Default: 1.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="This seed alone.", min=0)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Outages of 10 s, small markets, as in the tests.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write all outcomes into this file, as JSON.")] = None,
) -> None:
    """Run scenarios and check all invariants after each; exits 1 when one has failed."""
    from streams.chaos.scorecard import problems, table
    from streams.chaos.suite import QUICK, chosen

    if seeds is not None and seed is not None:
        raise SettingsError("expected --seeds or --seed, got both")
    if everything and scenario:
        raise SettingsError("expected --all or --scenario, got both")
    require_writable(report=report)
    names = scenario or ([] if everything else list(QUICK))
    wanted = [(each, number) for each in chosen(names) for number in _seeds(each, seeds, seed, everything=everything)]
    outcomes = _followed(wanted, quick=quick, report=report)
    console().print(table(outcomes))
    for line in problems(outcomes):
        typer.echo(line)
    if not all(each.passed for each in outcomes):
        raise typer.Exit(1)


def _seeds(each: "Scenario", seeds: int | None, seed: int | None, *, everything: bool) -> range:
    if seed is not None:
        return range(seed, seed + 1)
    return range(1, 1 + (seeds or (each.seeds if everything else 1)))


def _followed(wanted: "list[tuple[Scenario, int]]", *, quick: bool, report: Path | None) -> "list[Outcome]":
    """Run all and keep the report true after each: a suite of hours may be interrupted."""
    from streams.chaos import scorecard, suite

    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    with Followed(*columns, console=screen) as progress:
        task = progress.add_task("starting the stack", total=len(wanted))

        def told(each: "Scenario", number: int, what: str) -> None:
            progress.update(task, description=f"{each.name} seed {number}: {what}")

        for outcome in suite.run(Settings.from_environment(), wanted, quick=quick, told=told):
            outcomes.append(outcome)
            progress.advance(task)
            verdict = "passed" if outcome.passed else "[red]failed[/red]"
            screen.print(f"{outcome.scenario} seed {outcome.seed}: {verdict} in {outcome.seconds:.0f} s")
            if report is not None:
                scorecard.write(scorecard.Report(cores=os.cpu_count() or 1, outcomes=outcomes), report)
    return outcomes


@app.command()
def card(
    reports: Annotated[list[Path], typer.Argument(help="Files that `chaos run --report` wrote.")],
    into: Annotated[Path | None, typer.Option(help="Put the scorecard into this Markdown file, at its marks.")] = None,
) -> None:
    """Make the scorecard of one or more reports; of a trial that is in several the last one counts."""
    from streams.chaos import scorecard

    found = [scorecard.read(path) for path in reports]
    if into is None:
        typer.echo(scorecard.block(found))
    else:
        require_writable(into=into)
        scorecard.put_into(into, found)
