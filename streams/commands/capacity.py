"""`foreshock capacity`: what a load needs."""

from typing import Annotated

import msgspec
import typer


def capacity(
    instruments: Annotated[int, typer.Option(help="Instruments that forecasts are made for.", min=1)],
    events_per_second: Annotated[float, typer.Option(help="Events of all instruments together.", min=0)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Plan partitions, workers, Triton instances, memory and disk for a load, from measured costs."""
    from streams.capacity import plan
    from streams.capacity.page import table

    found = plan(instruments, events_per_second)
    typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() if as_json else table(found))
