"""Tables on a terminal, and whole where they go into a file or another program."""

import sys

from rich.console import Console

_PIPED_COLUMNS = 1_000


def console() -> Console:
    """Return the terminal; what is piped is not cut to a screen's width."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPED_COLUMNS)
