"""`foreshock parity`: rows recomputed from the canonical log and compared."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from streams.commands.checks import require_broker
from streams.commands.screen import console
from streams.settings import Settings


def parity(
    once: Annotated[bool, typer.Option("--once", help="Check all rows that are there now, then end.")] = False,
    share: Annotated[
        float | None,
        typer.Option(help="Share of the row messages; else the setting FORESHOCK_PARITY_SHARE, or all.", min=0, max=1),
    ] = None,
) -> None:
    """Recompute rows from the canonical log and compare bits; tells on ops.parity.v1 and as metrics.

    With --once the exit status is 1 where a row is not as recomputed.
    """
    from streams.parity import check_once, run_parity

    settings = Settings.from_environment()
    require_broker(settings)
    share = share if share is not None else settings.parity_share or 1.0
    if not once:
        run_parity(settings, share)
        return
    with Console(stderr=True).status("reading rows") as status:
        account = check_once(settings, share, status.update)
    checked = sum(tally.checked for tally in account.tallies.values())
    if account.mismatches:
        table = Table("partition", "row time, ns", "offset", "reason", "values", "instruments", "columns")
        for each in islice(account.mismatches, 20):
            place = (str(each.partition), str(each.row_time_ns), str(each.offset))
            table.add_row(*place, each.reason, str(each.values), ", ".join(each.instruments), ", ".join(each.columns))
        console().print(table)
    typer.echo(f"{checked:,} row messages recomputed, {len(account.mismatches):,} of them are not as on the topic")
    if account.mismatches:
        raise typer.Exit(1)
